"""Image files of all formats: full precision, or one clear refusal, whatever the bytes."""

import contextlib
import io
import pathlib
import re
import resource
import struct
import subprocess
import sys
import zlib

import hypothesis
import hypothesis.strategies as st
import image_files
import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GRAY, GRAY16, LOSSLESS, RGB, RGB16, drawn, pillow_bytes, tiff_bytes

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import HEAD, decode, is_image

FUZZ_TRIALS = 40  # a format


def refusal(data, **options):
    with pytest.raises(UnusableError) as caught:
        decode(data, **options)
    line = caught.value.about("x.png")
    assert line == f"x.png: {caught.value.problem}; {caught.value.remedy}"
    assert "\n" not in line
    assert not re.search(r"\b0x[0-9a-f]{5}", line)  # a place in memory tells nothing
    return line


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_every_bit(kind):
    expected, data = LOSSLESS[kind]
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    assert is_image(data[:HEAD])
    pixels[0, 0] = 1  # an array of its own, not a view of the file


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
def test_orientation(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    for kind, options in (("JPEG", {}), ("WEBP", {"lossless": True})):
        turned = pillow_bytes(RGB, kind, exif=exif.tobytes(), **options)
        plain = decode(pillow_bytes(RGB, kind, **options))
        np.testing.assert_array_equal(decode(turned), UPRIGHT[orientation](plain))
        np.testing.assert_array_equal(decode(turned, upright=False), plain)
    deep = bytearray(image_files.jpeg_bytes(GRAY16 >> 4, bitspersample=12))
    segment = b"\xff\xe1" + (2 + len(exif.tobytes())).to_bytes(2, "big") + exif.tobytes()
    turned = bytes(deep[:2] + segment + deep[2:])
    np.testing.assert_array_equal(decode(turned), UPRIGHT[orientation](decode(bytes(deep))))
    tag = (0x0112, "H", 1, orientation, True)
    tiff = tiff_bytes(RGB16, photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(decode(tiff), UPRIGHT[orientation](RGB16))
    np.testing.assert_array_equal(decode(tiff, upright=False), RGB16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit_becomes_black_and_white(kind):
    bits = drawn(1, 1)[..., 0] == 1
    pixels = decode(pillow_bytes(PIL.Image.fromarray(bits), kind))
    np.testing.assert_array_equal(pixels[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("is_gray", [False, True])
def test_palette(kind, is_gray):
    rng = np.random.default_rng(1)
    index = rng.integers(0, 256, (30, 41)).astype(np.uint8)
    colours = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    colours[:, 1:] = colours[:, :1] if is_gray else colours[:, 1:]
    pillow = PIL.Image.fromarray(index)
    pillow.putpalette(colours.tobytes())
    assert pillow.mode == "P"
    expected = colours[index][..., :1] if is_gray else colours[index]
    np.testing.assert_array_equal(decode(pillow_bytes(pillow, kind)), expected)


def test_gray_that_is_stored_as_colour_stays_colour():
    """Who reads decides: training merges the channels, measures of samples must not."""
    gray = GRAY.repeat(3, axis=2)
    np.testing.assert_array_equal(decode(pillow_bytes(gray, "PNG")), gray)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_alpha(bits, channels, kind):
    pixels = drawn(channels + 1, bits)
    pixels[..., -1] = 2**bits - 1
    photometric = "rgb" if channels == 3 else "minisblack"

    def encode(pixels):
        if kind == "png":
            return imagecodecs.png_encode(pixels)
        return tiff_bytes(
            pixels, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]
        )

    for keep in (False, True):  # opaque throughout
        np.testing.assert_array_equal(decode(encode(pixels), keep_alpha=keep), pixels[..., :-1])
    pixels[-1, -1, -1] -= 1
    assert "has transparent pixels; flatten it" in refusal(encode(pixels))
    np.testing.assert_array_equal(decode(encode(pixels), keep_alpha=True), pixels)


REFUSED = {
    "cmyk-jpeg": (pillow_bytes(PIL.Image.fromarray(RGB).convert("CMYK"), "JPEG"), "mode CMYK"),
    "cmyk-tiff": (pillow_bytes(PIL.Image.fromarray(RGB).convert("CMYK"), "TIFF"), "SEPARATED"),
    "lab-tiff": (pillow_bytes(PIL.Image.fromarray(RGB).convert("LAB"), "TIFF"), "space CIELAB"),
    "float-tiff": (tiff_bytes(GRAY[..., 0] / np.float32(255)), "32-bit floating-point samples"),
    "32-bit-tiff": (tiff_bytes(GRAY[..., 0].astype(np.uint32)), "32-bit unsigned samples"),
    "signed-tiff": (tiff_bytes(GRAY[..., 0].astype(np.int16)), "16-bit signed samples"),
    "5-channels": (tiff_bytes(drawn(5), photometric="rgb"), "has 5 channels"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_say_what_is_wrong(kind):
    data, problem = REFUSED[kind]
    assert problem in refusal(data)


def patched(data, place, content):
    """A file with other bytes at a place, or behind a marker."""
    place = data.index(place) + len(place) if isinstance(place, bytes) else place
    return data[:place] + content + data[place + len(content) :]


def huge_png(bits):
    return image_files.png_header(100_000, 100_000, bits, 2) + image_files.png_chunk(b"IDAT", b"")


def huge_jpeg(marker, **options):
    data = image_files.jpeg_bytes(GRAY16 >> 4, bitspersample=12, **options)
    return patched(data, marker + b"\0\x0b\x0c", b"\xff" * 4)


def huge_webp(kind, place, content, **options):
    data = pillow_bytes(RGB, "WEBP", **options)
    assert data[12:16] == kind
    return patched(data, place, content)


def huge_tiff(tags, **options):
    data = tiff_bytes(RGB, photometric="rgb", **options)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        places = {tag.code: tag.offset for tag in file.pages[0].tags}
    for tag in tags:
        data = patched(data, places[tag], struct.pack("<HHII", tag, 4, 1, 65520))
    return data


# The starts of files that claim more than 15,000 x 15,000 pixels.
HUGE = {
    "png8": huge_png(8),
    "png16": huge_png(16),
    "pgm": b"P5 100000 100000 255\n",
    "plain": b"P2 100000 100000 255\n1 2 3",
    "bits": b"P1 100000 100000\n1 0 1",
    "bmp": patched(pillow_bytes(RGB, "BMP"), 18, (100_000).to_bytes(4, "little") * 2),
    "gif": patched(pillow_bytes(GRAY, "GIF"), 6, b"\xff" * 4),
    "jpeg": patched(pillow_bytes(GRAY, "JPEG"), b"\xff\xc0\0\x0b\x08", b"\xff" * 4),
    "jpeg12": huge_jpeg(b"\xff\xc1"),
    "lossless": huge_jpeg(b"\xff\xc3", lossless=True),
    "webp": huge_webp(b"VP8X", 24, b"\xff\x3f\0" * 2, exif=b"Exif\0\0" + bytes(20)),
    "webp-lossy": huge_webp(b"VP8 ", 26, b"\xff\x3f" * 2),
    "webp-lossless": huge_webp(b"VP8L", 21, b"\xff\xff\xff\x0f", lossless=True),
    "tiff": huge_tiff((256, 257)),
    "tiles": huge_tiff((322, 323), tile=(16, 16), compression="zlib"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", HUGE)
def test_size_is_checked_before_pixels_are_decoded(kind):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28, hard))
    try:
        message = refusal(HUGE[kind])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert re.search(r"\d{5}x\d{5,} pixels|too many pixels", message)


TRUNCATED = {kind: data for kind, (_, data) in LOSSLESS.items() if "plain" not in kind} | {
    "jpeg": pillow_bytes(RGB, "JPEG"),
    "jpeg12": image_files.jpeg_bytes(GRAY16 >> 4, bitspersample=12),
    "tiff-jpeg": tiff_bytes(drawn(3, size=(48, 64)), photometric="rgb", compression="jpeg"),
    "webp": pillow_bytes(RGB, "WEBP"),
    "pbm": pillow_bytes(PIL.Image.fromarray(GRAY[..., 0] > 99), "PPM"),
}


@pytest.mark.parametrize("kind", TRUNCATED)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9, 0.97])
def test_truncated_files_are_refused(kind, kept):
    data = TRUNCATED[kind]
    message = refusal(data[: int(len(data) * kept)])
    assert "damaged or truncated" in message or "is not" in message


@pytest.mark.parametrize("kind", LOSSLESS)
def test_truncation_is_refused_to_the_last_pixel(kind):
    pixels, data = LOSSLESS[kind]
    # A PNG's last 20 bytes are checksums and the end mark, no pixels.
    for cut in range(25, 33):
        with pytest.raises(UnusableError):
            decode(data[:-cut])
    assert decode(data).shape == pixels.shape


def with_exif():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return pillow_bytes(RGB, "JPEG", exif=exif.tobytes())


FUZZED = TRUNCATED | {
    "pgm-plain": LOSSLESS["pgm-plain"][1],
    "palette": pillow_bytes(PIL.Image.fromarray(RGB).convert("P"), "PNG", transparency=9),
    "orientation": with_exif(),
}


@pytest.mark.filterwarnings("ignore")  # decoders warn about what the damage makes of the file
@pytest.mark.parametrize("kind", FUZZED)
def test_damaged_files_give_an_image_or_a_refusal(kind):
    original = FUZZED[kind]
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
            pixels = decode(bytes(data), keep_alpha=True)
        except UnusableError:  # any other exception fails the test
            continue
        assert pixels.dtype in (np.uint8, np.uint16)
        assert pixels.shape[2] in (1, 2, 3, 4)


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    kind=st.sampled_from(sorted(FUZZED)), flips=st.lists(st.integers(0, 10**9), max_size=4)
)
def test_any_flipped_bits_give_an_image_or_a_refusal(kind, flips):
    data = bytearray(FUZZED[kind])
    for flip in flips:
        data[flip // 8 % len(data)] ^= 1 << flip % 8
    with contextlib.suppress(UnusableError):  # any other exception fails the test
        pixels = decode(bytes(data))
        assert pixels.dtype in (np.uint8, np.uint16)
        assert pixels.shape[2] in (1, 3)


MAGICS = sorted({data[: 2 if data.startswith(b"P") else 8] for data in TRUNCATED.values()})


@pytest.mark.parametrize("magic", MAGICS)
def test_random_bytes_behind_each_magic_number(magic):
    rng = np.random.default_rng(3)
    for _ in range(20):
        with pytest.raises(UnusableError):
            decode(magic + rng.bytes(rng.integers(0, 300)))


def test_importing_the_room_loads_neither_jax_nor_pydicom():
    code = (
        "import sys, data_pipeline.files.decode, data_pipeline.files.find, "
        "data_pipeline.files.tables, data_pipeline.files.locking, data_pipeline.files.limits; "
        "print({'jax', 'pandas', 'torch', 'pydicom', 'singan_jax'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
