"""PNG, JPEG, WebP, GIF and BMP: what each does differently."""

import struct
import zlib

import image_files
import imagecodecs
import numpy as np
import PIL.Image
import pytest
from image_files import GRAY, GRAY16, RGB, RGB16, drawn, pillow_bytes, squeezed, with_png_chunk

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import decode


def refusal(data):
    with pytest.raises(UnusableError) as caught:
        decode(data)
    return caught.value.about("x")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(mode):
    pillow = PIL.Image.fromarray(RGB).convert(mode)
    data = pillow_bytes(pillow, "JPEG", quality=95)
    expected = imagecodecs.jpeg8_decode(data)
    pixels = decode(data)
    assert pixels.shape[2] == len(mode)
    assert np.abs(squeezed(pixels).astype(int) - expected).max() <= 4  # decoders differ a little


def smooth(bits):
    """A gradient with a wave, (H, W) from 0 to the highest level."""
    rows, cols = np.mgrid[:40, :48]
    share = (rows / 39 + cols / 47 + np.sin(rows / 5) * np.cos(cols / 7)) / 4 + 0.25
    return np.rint(np.clip(share, 0, 1) * (2**bits - 1)).astype(np.uint16)


def test_jpeg_of_12_bits_fills_the_range():
    levels = smooth(12)
    data = imagecodecs.jpeg8_encode(levels, bitspersample=12, level=99)
    pixels = decode(data)
    assert (pixels.shape, pixels.dtype) == ((40, 48, 1), np.uint16)
    assert np.abs(pixels[..., 0] / 65535 - levels / 4095).max() < 0.005
    colour = np.stack([levels, levels[::-1], levels[:, ::-1]], -1)
    data = imagecodecs.jpeg8_encode(colour, bitspersample=12, level=99, subsampling="444")
    assert np.abs(decode(data) / 65535 - colour / 4095).max() < 0.02


@pytest.mark.parametrize("bits", [2, 7, 8, 10, 12, 15, 16])
def test_lossless_jpeg_is_scaled_to_the_nearest(bits):
    levels = np.random.default_rng(bits).integers(0, 2**bits, (30, 41)).astype(np.uint16)
    levels = levels.astype(np.uint8) if bits <= 8 else levels
    data = imagecodecs.jpeg8_encode(levels, bitspersample=bits, lossless=True)
    top = 255 if bits <= 8 else 65535
    expected = np.floor(levels / (2**bits - 1) * top + 0.5)
    np.testing.assert_array_equal(decode(data)[..., 0], expected)


def test_jpegs_with_padding_between_segments():
    data = image_files.jpeg_bytes(GRAY16 >> 4, bitspersample=12)
    expected = decode(data)
    assert data[2:4] == b"\xff\xe0"  # the first segment is 18 bytes long
    for padding in (b"\xff\xff", b"\0\0", b"\xff\x01"):
        np.testing.assert_array_equal(decode(data[:20] + padding + data[20:]), expected)


def test_jpeg_ls_is_called_what_it_is():
    assert refusal(imagecodecs.jpegls_encode(GRAY[..., 0])).startswith("x: is a JPEG-LS image; ")


def test_a_jpeg_with_a_preview_behind_it():
    preview = PIL.Image.fromarray(RGB[:8, :8])
    data = pillow_bytes(PIL.Image.fromarray(RGB), "MPO", save_all=True, append_images=[preview])
    np.testing.assert_array_equal(decode(data), decode(pillow_bytes(RGB, "JPEG")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused(kind):
    frames = [PIL.Image.fromarray(drawn(3, seed=n)) for n in range(3)]
    data = pillow_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refusal(data) == "x: is an animation of 3 images; save one image to a file"
    alone = pillow_bytes(frames[0], kind, save_all=True)
    assert decode(alone).shape == (30, 41, 3)


def test_animations_of_16_bits_are_refused():
    data = imagecodecs.png_encode(RGB16)
    profile = with_png_chunk(data, b"iCCP", b"name\0\0" + zlib.compress(bytes(500)))
    for still in (data, profile, with_png_chunk(data, b"acTL", struct.pack(">II", 1, 0))):
        np.testing.assert_array_equal(decode(still), RGB16)
    moving = with_png_chunk(data, b"acTL", struct.pack(">II", 4, 0))
    comment = with_png_chunk(moving, b"tEXt", b"Comment\0" + b"x" * 400)  # in front of it
    assert "is an animation of 4 images" in refusal(comment)
    harmless = with_png_chunk(data, b"tEXt", b"Comment\0acTL")
    np.testing.assert_array_equal(decode(harmless), RGB16)


def test_four_bit_gray_png_fills_the_range():
    levels = drawn(1, 4)[..., 0]
    padded = np.pad(levels, ((0, 0), (0, levels.shape[1] % 2)))
    rows = (padded[:, ::2] << 4 | padded[:, 1::2]).astype(np.uint8)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    data = image_files.png_header(levels.shape[1], levels.shape[0], 4, 0)
    data += image_files.png_chunk(b"IDAT", body) + image_files.png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(data)[..., 0], levels * 17)


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY16, RGB16], ids=["L", "RGB", "L16", "RGB16"])
def test_transparent_level_of_a_png(pixels):
    pixels = pixels | 1
    data = imagecodecs.png_encode(squeezed(pixels))
    unused = with_png_chunk(data, b"tRNS", np.zeros(pixels.shape[2], ">u2").tobytes())
    np.testing.assert_array_equal(decode(unused), pixels)
    used = with_png_chunk(data, b"tRNS", pixels[3, 4].astype(">u2").tobytes())
    assert "transparent" in refusal(used)
    kept = decode(used, keep_alpha=True)
    np.testing.assert_array_equal(kept[..., :-1], pixels)
    is_it = (pixels == pixels[3, 4]).all(axis=2)
    np.testing.assert_array_equal(kept[..., -1] == 0, is_it)


def test_transparent_palette_entry():
    pillow = PIL.Image.fromarray(RGB).convert("P")
    index = int(np.array(pillow)[2, 3])
    for kind in ("PNG", "GIF"):
        assert "transparent" in refusal(pillow_bytes(pillow, kind, transparency=index))


def test_webp_with_alpha():
    pixels = drawn(4)
    pixels[..., 3] = 255
    opaque = pillow_bytes(pixels, "WEBP", lossless=True)
    np.testing.assert_array_equal(decode(opaque), pixels[..., :3])
    pixels[0, 0] = 0
    assert "has transparent pixels" in refusal(pillow_bytes(pixels, "WEBP", lossless=True))


def test_a_text_that_starts_like_a_bitmap_is_a_text():
    assert refusal(b"BMI,age\n21.4,57\n") == "x: is a text, not an image; leave it out"
