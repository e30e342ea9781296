"""Image files drawn for tests, as bytes, and the pixels that they hold."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import tifffile

HEIGHT, WIDTH = 30, 41


def drawn(channels=3, bits=8, seed=0, size=(HEIGHT, WIDTH)):
    """Noise that reaches both ends of the range, (H, W, channels)."""
    top = 2**bits - 1
    pixels = np.random.default_rng(seed).integers(0, top + 1, (*size, channels))
    pixels[0, 0], pixels[0, 1] = 0, top
    return pixels.astype(np.uint8 if bits <= 8 else np.uint16)


def squeezed(pixels):
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def pillow_bytes(image, kind, **options):
    """A file by pillow, of a pillow image or of pixels (H, W, C)."""
    image = PIL.Image.fromarray(squeezed(image)) if isinstance(image, np.ndarray) else image
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


def png_header(width, height, bits, kind):
    """The start of a PNG, to its first chunk."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    )


def with_png_chunk(data, kind, body):
    """Puts a chunk behind the header's."""
    return data[:33] + png_chunk(kind, body) + data[33:]


def jpeg_bytes(pixels, **options):
    """By imagecodecs, which writes 8 and 12 bits and, with lossless=True, 2 to 16."""
    return imagecodecs.jpeg8_encode(squeezed(pixels), **options)


GRAY, RGB, GRAY16, RGB16 = drawn(1), drawn(3), drawn(1, 16), drawn(3, 16)
LOSSLESS = {
    "png-gray": (GRAY, pillow_bytes(GRAY, "PNG")),
    "png-rgb": (RGB, pillow_bytes(RGB, "PNG")),
    "png-gray16": (GRAY16, imagecodecs.png_encode(GRAY16[..., 0])),
    "png-gray16-pillow": (GRAY16, pillow_bytes(GRAY16, "PNG")),
    "png-rgb16": (RGB16, imagecodecs.png_encode(RGB16)),
    "bmp-rgb": (RGB, pillow_bytes(RGB, "BMP")),
    "bmp-gray": (GRAY, pillow_bytes(GRAY, "BMP")),
    "webp-rgb": (RGB, pillow_bytes(RGB, "WEBP", lossless=True)),
    "gif-gray": (GRAY, pillow_bytes(GRAY, "GIF")),
    "jpeg-lossless-gray": (GRAY, jpeg_bytes(GRAY, lossless=True)),
    "jpeg-lossless-gray16": (GRAY16, jpeg_bytes(GRAY16, lossless=True, bitspersample=16)),
    "pgm": (GRAY, netpbm_bytes(GRAY, 255)),
    "ppm": (RGB, netpbm_bytes(RGB, 255)),
    "pgm16": (GRAY16, netpbm_bytes(GRAY16, 65535)),
    "ppm16": (RGB16, netpbm_bytes(RGB16, 65535)),
    "pgm-plain": (GRAY, netpbm_bytes(GRAY, 255, plain=True)),
    "ppm16-plain": (RGB16, netpbm_bytes(RGB16, 65535, plain=True)),
    "pgm-pillow": (GRAY, pillow_bytes(GRAY, "PPM")),
    "tiff-pillow-lzw": (RGB, pillow_bytes(RGB, "TIFF", compression="tiff_lzw")),
    "tiff-pillow": (GRAY16, pillow_bytes(GRAY16, "TIFF")),
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
