"""Image files: every format at full precision, every fault as one clear line."""

import io
import os
import pickle
import struct
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile

from data_pipeline.files.find import find_images
from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images.read import (
    Image,
    from_float,
    member_name,
    read_image,
    read_images,
    write_png,
)

HEIGHT, WIDTH = 30, 41
FUZZ_TRIALS = int(os.environ.get("SINGAN_FUZZ_TRIALS", "60"))  # a format


def drawn(channels=3, bits=8, seed=0, size=(HEIGHT, WIDTH)):
    """Noise that reaches both ends of the range, (H, W, channels)."""
    top = 2**bits - 1
    pixels = np.random.default_rng(seed).integers(0, top + 1, (*size, channels))
    pixels[0, 0], pixels[0, 1] = 0, top
    return pixels.astype(np.uint8 if bits <= 8 else np.uint16)


def squeezed(pixels):
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def pillow_bytes(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def netpbm_bytes(pixels, maxval, plain=False):
    kind = {(1, False): 5, (3, False): 6, (1, True): 2, (3, True): 3}[pixels.shape[2], plain]
    header = f"P{kind}\n# a comment\n{pixels.shape[1]} {pixels.shape[0]}\n{maxval}\n".encode()
    if plain:
        return header + b" ".join(str(v).encode() for v in pixels.ravel())
    return header + pixels.astype(">u2" if maxval > 255 else "u1").tobytes()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_png_chunk(data, kind, body):
    """Puts a chunk behind the header's."""
    return data[:33] + png_chunk(kind, body) + data[33:]


@pytest.fixture
def read(tmp_path):
    """Writes bytes under a name and reads the image."""

    def write_and_read(data, name="image.bin", **settings):
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name, Config(**settings))

    return write_and_read


def refusal(read, data, **options):
    with pytest.raises(ImageError) as caught:
        read(data, **options)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{caught.value.path}: {caught.value.problem}; ")
    return str(caught.value)


GRAY, RGB, GRAY16, RGB16 = drawn(1), drawn(3), drawn(1, 16), drawn(3, 16)
LOSSLESS = {
    "png-gray": (GRAY, pillow_bytes(PIL.Image.fromarray(GRAY[..., 0]), "PNG")),
    "png-rgb": (RGB, pillow_bytes(PIL.Image.fromarray(RGB), "PNG")),
    "png-gray16": (GRAY16, imagecodecs.png_encode(GRAY16[..., 0])),
    "png-gray16-pillow": (GRAY16, pillow_bytes(PIL.Image.fromarray(GRAY16[..., 0]), "PNG")),
    "png-rgb16": (RGB16, imagecodecs.png_encode(RGB16)),
    "bmp-rgb": (RGB, pillow_bytes(PIL.Image.fromarray(RGB), "BMP")),
    "bmp-gray": (GRAY, pillow_bytes(PIL.Image.fromarray(GRAY[..., 0]), "BMP")),
    "pgm": (GRAY, netpbm_bytes(GRAY, 255)),
    "ppm": (RGB, netpbm_bytes(RGB, 255)),
    "pgm16": (GRAY16, netpbm_bytes(GRAY16, 65535)),
    "ppm16": (RGB16, netpbm_bytes(RGB16, 65535)),
    "pgm-plain": (GRAY, netpbm_bytes(GRAY, 255, plain=True)),
    "ppm16-plain": (RGB16, netpbm_bytes(RGB16, 65535, plain=True)),
    "pgm-pillow": (GRAY, pillow_bytes(PIL.Image.fromarray(GRAY[..., 0]), "PPM")),
    "tiff-pillow-lzw": (
        RGB,
        pillow_bytes(PIL.Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    ),
    "tiff-pillow": (GRAY16, pillow_bytes(PIL.Image.fromarray(GRAY16[..., 0]), "TIFF")),
}
for _pixels in (GRAY, RGB, GRAY16, RGB16):
    _kind = f"{_pixels.dtype}x{_pixels.shape[2]}"
    _photometric = "rgb" if _pixels.shape[2] == 3 else "minisblack"
    for _options in (
        {},
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "lzw", "predictor": 2},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 16), "compression": "zstd"},
    ):
        LOSSLESS[f"tiff-{_kind}-{'-'.join(map(str, _options))}"] = (
            _pixels,
            tiff_bytes(squeezed(_pixels), photometric=_photometric, **_options),
        )
LOSSLESS["tiff-planar"] = (
    RGB16,
    tiff_bytes(np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate"),
)
LOSSLESS["tiff-miniswhite"] = (GRAY, tiff_bytes(255 - GRAY[..., 0], photometric="miniswhite"))
LOSSLESS["tiff-miniswhite16"] = (GRAY16, tiff_bytes(~GRAY16[..., 0], photometric="miniswhite"))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_every_bit(read, kind):
    expected, data = LOSSLESS[kind]
    image = read(data)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == expected.dtype
    assert image.pixels.dtype.isnative
    assert image.bit_depth == expected.dtype.itemsize * 8
    assert image.shape == expected.shape


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(read, mode):
    pillow = PIL.Image.fromarray(RGB).convert(mode)
    data = pillow_bytes(pillow, "JPEG", quality=95)
    expected = imagecodecs.jpeg8_decode(data)
    pixels = read(data).pixels
    assert pixels.shape[2] == len(mode)
    assert np.abs(squeezed(pixels).astype(int) - expected).max() <= 4  # decoders differ a little


def test_jpeg_inside_tiff_comes_out_as_rgb(read):
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    smooth = np.stack([smooth, smooth * 2, 255 - smooth], -1)
    data = tiff_bytes(smooth, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR
    assert np.abs(read(data).pixels.astype(int) - smooth).mean() < 3


# Where the file's first row and first column end up, from the EXIF standard.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(read, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    jpeg = pillow_bytes(PIL.Image.fromarray(RGB), "JPEG", exif=exif.tobytes())
    plain = read(pillow_bytes(PIL.Image.fromarray(RGB), "JPEG")).pixels
    np.testing.assert_array_equal(read(jpeg).pixels, UPRIGHT[orientation](plain))
    tag = (0x0112, "H", 1, orientation, True)
    tiff = tiff_bytes(RGB16, photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(read(tiff).pixels, UPRIGHT[orientation](RGB16))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit_becomes_black_and_white(read, kind):
    bits = drawn(1, 1)[..., 0] == 1
    image = read(pillow_bytes(PIL.Image.fromarray(bits), kind))
    np.testing.assert_array_equal(image.pixels[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("compression", ["group4", "packbits"])
def test_one_bit_compressed_tiff(read, compression):
    bits = drawn(1, 1)[..., 0] == 1
    data = pillow_bytes(PIL.Image.fromarray(bits), "TIFF", compression=compression)
    np.testing.assert_array_equal(read(data).pixels[..., 0], np.where(bits, 255, 0))


def test_four_bit_gray_png_fills_the_range(read):
    levels = drawn(1, 4)[..., 0]
    padded = np.pad(levels, ((0, 0), (0, WIDTH % 2)))
    rows = (padded[:, ::2] << 4 | padded[:, 1::2]).astype(np.uint8)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 4, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    data += png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(data).pixels[..., 0], levels * 17)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("is_gray", [False, True])
def test_palette(read, kind, is_gray):
    rng = np.random.default_rng(1)
    index = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    colours = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    colours[:, 1:] = colours[:, :1] if is_gray else colours[:, 1:]
    pillow = PIL.Image.fromarray(index)
    pillow.putpalette(colours.tobytes())
    assert pillow.mode == "P"
    expected = colours[index][..., :1] if is_gray else colours[index]
    np.testing.assert_array_equal(read(pillow_bytes(pillow, kind)).pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_alpha_is_dropped_when_opaque_and_refused_when_not(read, bits, channels, kind):
    pixels = drawn(channels + 1, bits)
    pixels[..., -1] = 2**bits - 1
    photometric = "rgb" if channels == 3 else "minisblack"

    def encode(pixels):
        if kind == "png":
            return imagecodecs.png_encode(pixels)
        return tiff_bytes(
            pixels, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]
        )

    np.testing.assert_array_equal(read(encode(pixels)).pixels, pixels[..., :-1])
    pixels[-1, -1, -1] -= 1
    assert "has transparent pixels; flatten it" in refusal(read, encode(pixels))


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY16, RGB16], ids=["L", "RGB", "L16", "RGB16"])
def test_transparent_level_of_a_png(read, pixels):
    pixels = pixels | 1
    data = imagecodecs.png_encode(squeezed(pixels))
    unused = with_png_chunk(data, b"tRNS", np.zeros(pixels.shape[2], ">u2").tobytes())
    np.testing.assert_array_equal(read(unused).pixels, pixels)
    used = with_png_chunk(data, b"tRNS", pixels[3, 4].astype(">u2").tobytes())
    assert "transparent" in refusal(read, used)


def test_transparent_palette_entry(read):
    pillow = PIL.Image.fromarray(RGB).convert("P")
    index = int(np.array(pillow)[2, 3])
    assert "transparent" in refusal(read, pillow_bytes(pillow, "PNG", transparency=index))


@pytest.mark.parametrize("maxval", [1, 15, 100, 254, 256, 1023, 4095, 65534])
def test_netpbm_levels_fill_the_range(read, maxval):
    levels = np.random.default_rng(maxval).integers(0, maxval + 1, (HEIGHT, WIDTH, 1))
    top = 255 if maxval < 256 else 65535
    image = read(netpbm_bytes(levels, maxval))
    np.testing.assert_array_equal(image.pixels, np.floor(levels / maxval * top + 0.5))
    assert image.bit_depth == (8 if maxval < 256 else 16)


REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"patient,view\n1,RCC\n", "is not a PNG, JPEG, TIFF"),
    "gif": (pillow_bytes(PIL.Image.fromarray(GRAY[..., 0]), "GIF"), "is not a PNG, JPEG, TIFF"),
    "cmyk-jpeg": (pillow_bytes(PIL.Image.fromarray(RGB).convert("CMYK"), "JPEG"), "mode CMYK"),
    "cmyk-tiff": (pillow_bytes(PIL.Image.fromarray(RGB).convert("CMYK"), "TIFF"), "SEPARATED"),
    "lab-tiff": (pillow_bytes(PIL.Image.fromarray(RGB).convert("LAB"), "TIFF"), "space CIELAB"),
    "float-tiff": (tiff_bytes(GRAY[..., 0] / np.float32(255)), "32-bit floating-point samples"),
    "32-bit-tiff": (tiff_bytes(GRAY[..., 0].astype(np.uint32)), "32-bit unsigned samples"),
    "signed-tiff": (tiff_bytes(GRAY[..., 0].astype(np.int16)), "16-bit signed samples"),
    "pages": (tiff_bytes(np.stack([GRAY[..., 0]] * 4), photometric="minisblack"), "has 4 pages"),
    "5-channels": (tiff_bytes(drawn(5), photometric="rgb"), "has 5 channels"),
    "1x1": (pillow_bytes(PIL.Image.fromarray(RGB[:1, :1]), "PNG"), "is 1x1 pixels, but SinGAN's"),
    "small": (pillow_bytes(PIL.Image.fromarray(RGB[:, :24]), "PNG"), "is 24x30 pixels"),
    "constant": (netpbm_bytes(GRAY16 * 0 + 7, 65535), "all pixels are equal"),
    "constant-colour": (netpbm_bytes(RGB * 0 + RGB[5, 5], 255), "all pixels are equal"),
    "pgm-maxval-0": (netpbm_bytes(GRAY, 0), "is damaged"),
    "pgm-above-maxval": (netpbm_bytes(GRAY, 200), "is damaged"),
    "pgm-no-pixels": (b"P5 0 30 255\n", "is damaged"),
    "pgm-bomb": (b"P5 100000 100000 255\n", "has 100000x100000 pixels"),
    "png16-bomb": (
        with_png_chunk(
            b"\x89PNG\r\n\x1a\n"
            + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10**6, 10**6, 16, 2, 0, 0, 0)),
            b"IDAT",
            b"",
        ),
        "pixels",
    ),
    "png-bomb": (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", b""),
        "has too many pixels",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_say_what_is_wrong(read, kind):
    data, problem = REFUSED[kind]
    assert problem in refusal(read, data)


def test_min_size_is_the_callers(read):
    data = pillow_bytes(PIL.Image.fromarray(RGB[:, :24]), "PNG")
    assert read(data, min_size=24).shape == (30, 24, 3)
    long = pillow_bytes(PIL.Image.fromarray(np.tile(RGB, (1, 9, 1))), "PNG")
    assert "shrinks to 250x21 at max_size 250" in refusal(read, long)
    message = refusal(read, data)
    assert "needs 25; enlarge or crop it, or lower `config.min_size`" in message


TRUNCATED = {kind: data for kind, (_, data) in LOSSLESS.items() if "plain" not in kind} | {
    "jpeg": pillow_bytes(PIL.Image.fromarray(RGB), "JPEG"),
    "tiff-jpeg": tiff_bytes(drawn(3, size=(48, 64)), photometric="rgb", compression="jpeg"),
    "pbm": pillow_bytes(PIL.Image.fromarray(GRAY[..., 0] > 99), "PPM"),
}


@pytest.mark.parametrize("kind", TRUNCATED)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9, 0.97])
def test_truncated_files_are_refused(read, kind, kept):
    data = TRUNCATED[kind]
    message = refusal(read, data[: int(len(data) * kept)])
    assert "damaged or truncated" in message or "is not" in message


def test_truncation_is_refused_to_the_last_pixel(read):
    for pixels, data in LOSSLESS.values():
        # A PNG's last 20 bytes are checksums and the end mark, no pixels.
        for cut in range(25, 33):
            with pytest.raises(ImageError):
                read(data[:-cut])
        assert read(data).shape == pixels.shape


@pytest.mark.filterwarnings("ignore")  # decoders warn about what the damage makes of the file
@pytest.mark.parametrize("kind", [*TRUNCATED, "pgm-plain", "palette", "orientation"])
def test_damaged_files_give_an_image_or_an_image_error(read, kind):
    palette = pillow_bytes(PIL.Image.fromarray(RGB).convert("P"), "PNG", transparency=9)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    oriented = pillow_bytes(PIL.Image.fromarray(RGB), "JPEG", exif=exif.tobytes())
    extra = {"pgm-plain": LOSSLESS["pgm-plain"][1], "palette": palette, "orientation": oriented}
    original = (TRUNCATED | extra)[kind]
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    for trial in range(FUZZ_TRIALS):
        data = bytearray(original)
        # Headers are where most of the parsing happens: aim half of the damage there.
        reach = min(len(data), 400) if trial % 2 else len(data)
        for at in rng.integers(0, reach, rng.integers(1, 5)):
            data[at] = rng.integers(0, 256)
        if trial % 3 == 0:
            del data[rng.integers(1, len(data)) :]
        try:
            image = read(bytes(data))
        except ImageError:  # any other exception fails the test
            continue
        assert image.pixels.dtype in (np.uint8, np.uint16)
        assert image.shape[2] in (1, 3)


def test_random_bytes_behind_each_magic_number(read):
    rng = np.random.default_rng(3)
    magics = {data[: 2 if data.startswith(b"P") else 8] for data in TRUNCATED.values()}
    for magic in sorted(magics):  # a set's order is not the same in each run
        for _ in range(20):
            with pytest.raises(ImageError):
                read(magic + rng.bytes(rng.integers(0, 300)))


def test_paths_that_are_no_readable_file(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path, Config())
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png", Config())
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png", Config())
    (tmp_path / "locked.png").write_bytes(LOSSLESS["png-rgb"][1])

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)"):
        read_image(tmp_path / "locked.png", Config())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures in b, a and deep/c; a hidden one; a text; an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("b.PNG", "a.png", ".hidden.png", "deep/c.png"):
        write_png(tmp_path / "in" / name, RGB)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path


def test_find_images(folder):
    assert find_images(["in"]) == (["in/a.png", "in/b.PNG"], [])
    assert find_images(["in/b.PNG", "in"]) == (["in/b.PNG", "in/a.png"], [])
    assert find_images(["in/**/*.png"]) == (["in/a.png", "in/deep/c.png"], [])
    assert find_images(["in/*"])[0] == ["in/a.png", "in/b.PNG", "in/notes.txt"]
    assert find_images("in/a.png") == (["in/a.png"], [])
    os.symlink("a.png", "in/link.png")
    assert find_images(["in/a.png", "in/link.png", "in"]) == (["in/a.png", "in/b.PNG"], [])


def test_find_images_takes_a_name_with_brackets_literally(folder):
    (folder / "in" / "x[1].png").write_bytes(LOSSLESS["png-rgb"][1])
    assert find_images(["in/x[1].png"]) == (["in/x[1].png"], [])


def test_find_images_reports_patterns_that_give_nothing(folder):
    paths, errors = find_images(["none.png", "in/a.png", "empty", "no*.png", ""])
    assert paths == ["in/a.png"]
    assert [e.path for e in errors] == ["none.png", "empty", "no*.png", ""]
    problems = "does not exist", "folder without image files", "matches no file", "does not exist"
    for error, problem in zip(errors, problems, strict=True):
        assert problem in str(error)


def test_find_images_reports_a_folder_that_cannot_be_listed(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    _, (error,) = find_images(["in"])
    assert str(error) == "in: Permission denied; check its permissions"


def test_read_images_keeps_order_and_reports_the_rest(folder):
    (folder / "in" / "bad.png").write_bytes(b"")
    found, errors = read_images(["in", "in/deep", "gone.png", "in/notes.txt"], Config())
    assert [image.name for image in found] == ["a", "b", "c"]
    assert [image.source for image in found] == ["in/a.png", "in/b.PNG", "in/deep/c.png"]
    assert [e.path for e in errors] == ["gone.png", "in/bad.png", "in/notes.txt"]
    assert read_images(["in/a.png"], Config(min_size=31))[0] == []


def test_read_images_refuses_a_second_file_of_the_same_name(folder):
    write_png(folder / "in" / "deep" / "a.png", GRAY)
    (first,), (error,) = read_images(["in/a.png", "in/deep/a.png"], Config())
    assert first.source == "in/a.png"
    assert error.path == "in/deep/a.png"
    assert "in/a.png" in error.problem


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mdb001.png", "mdb001"),
        ("x.v2-_.tif", "x.v2-_"),
        ("two words é.png", "two_words__"),
        (".hidden.png", "_hidden"),
        ("..png", "_.png"),
        ("...", "_.."),
        ("a\nb.png", "a_b"),
    ],
)
def test_member_names_are_safe_folder_names(read, file, name):
    data = LOSSLESS["png-rgb"][1]
    assert read(data, name=file).name == name if file != "..." else True
    assert member_name(file) == name


def test_image_error_is_one_line_and_survives_pickling():
    error = ImageError("a\nb.png", "is bad", "mend it")
    assert str(error) == "a b.png: is bad; mend it"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.path, copy.problem, copy.remedy) == ("a\nb.png", "is bad", "mend it")
    assert isinstance(error, ValueError)


def test_digest_depends_on_type_shape_and_pixels_alone():
    digest = Image("a", "a.png", GRAY).digest
    assert len(digest) == 64
    assert Image("b", "b.png", np.asfortranarray(GRAY), {"patient": "7"}).digest == digest
    assert Image("a", "a.png", GRAY16.astype(">u2")).digest == Image("a", "a.png", GRAY16).digest
    others = [GRAY.astype(np.uint16), GRAY.reshape(WIDTH, HEIGHT, 1), GRAY ^ (GRAY == 9)]
    assert digest not in {Image("a", "a.png", pixels).digest for pixels in others}


def test_image_refuses_other_arrays():
    for pixels in (GRAY[..., 0], drawn(5), RGB.astype(np.float32), RGB.astype(np.int16)):
        with pytest.raises(ValueError, match="pixels"):
            Image("a", "a.png", pixels)
    for pixels in (GRAY[..., 0], drawn(2), drawn(4), RGB.astype(np.float32)):
        with pytest.raises(ValueError, match="pixels"):
            write_png("never-written.png", pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_from_float_inverts_to_float_at_every_level(bits):
    dtype = np.dtype(f"uint{bits}")
    levels = np.arange(2**bits).astype(dtype).reshape(-1, 16, 1)
    (x,) = Image("a", "a.png", levels).to_float()
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (-1, 1)
    np.testing.assert_allclose(x, levels / (2**bits - 1) * 2 - 1, rtol=0, atol=1e-7)
    back = from_float(x, bits)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, levels)


def test_from_float_clips_rounds_and_refuses():
    x = np.array([-np.inf, -1.5, -1, 1, 1.5, np.inf])
    np.testing.assert_array_equal(from_float(x, 8), [0, 0, 0, 255, 255, 255])
    step = 2 / 255
    near = np.array([100 - 0.49, 100, 100 + 0.49, 100.51]) * step - 1
    np.testing.assert_array_equal(from_float(near, 8), [100, 100, 100, 101])
    with pytest.raises(ValueError, match="NaN"):
        from_float(np.array([0.0, np.nan]), 8)
    with pytest.raises(ValueError, match="bit depth is 12"):
        from_float(x, 12)


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY16, RGB16, RGB16.astype(">u2"), RGB[::2, ::-1]])
def test_write_png_round_trip(tmp_path, pixels):
    path = tmp_path / "sample.png"
    path.write_text("replaced")
    write_png(path, pixels)
    np.testing.assert_array_equal(read_image(path, Config(min_size=11)).pixels, pixels)
    data = path.read_bytes()
    assert (data[24], data[25]) == (pixels.dtype.itemsize * 8, 0 if pixels.shape[2] == 1 else 2)
    assert os.listdir(tmp_path) == ["sample.png"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_write_png_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, error):
    path = tmp_path / "sample.png"
    write_png(path, RGB)

    def fail(*args):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        write_png(path, GRAY)
    assert os.listdir(tmp_path) == ["sample.png"]
    np.testing.assert_array_equal(read_image(path, Config()).pixels, RGB)
