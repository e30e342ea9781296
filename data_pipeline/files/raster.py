"""PNG, JPEG, WebP, GIF and BMP.

pillow decodes what has 8 bits. It silently reduces 16-bit RGB to 8 bits and does not read JPEGs of
12 bits or without loss, so those go through imagecodecs.
"""

import io
import struct
from typing import NamedTuple

import imagecodecs
import numpy as np
import PIL.Image

from data_pipeline.errors import UnusableError
from data_pipeline.files.levels import (
    CONVERT,
    ONE_IMAGE,
    ORIENTATION_TAG,
    check_size,
    gray_if_equal,
    oriented,
    scaled,
)

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
}
_TURNED = ("JPEG", "WEBP")  # formats whose EXIF orientation viewers follow
_LOSSLESS = 0xC3  # the marker of a lossless JPEG's frame


def _format(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def is_raster(head: bytes) -> bool:
    """Whether a file that starts so is one of these."""
    return bool(_format(head))


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`; with an alpha channel where the file has one."""
    name = _format(data)
    if name == "PNG" and data[24] == 16:  # IHDR's bit depth
        return _decode_png16(data)
    if name == "JPEG":
        frame = _jpeg_frame(data)
        if frame.bits != 8 or frame.marker == _LOSSLESS:
            return _decode_jpeg(data, frame, upright)
    return _decode_pillow(data, name, upright)


def _decode_png16(data: bytes) -> np.ndarray:
    check_size(*struct.unpack(">II", data[16:24]))
    if b"acTL" in data[:200]:
        raise UnusableError("is an animation", ONE_IMAGE)
    pixels = imagecodecs.png_decode(data)  # tRNS comes back as an alpha channel
    return pixels[..., None] if pixels.ndim == 2 else pixels


class _Frame(NamedTuple):
    """The header of a JPEG's pixels."""

    marker: int
    bits: int
    width: int
    height: int
    exif: bytes  # empty where there is none


def _jpeg_frame(data: bytes) -> _Frame:
    """Walks through the segments of a JPEG to its frame."""
    place, exif = 2, b""
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise ValueError("its segments cannot be told apart")
        marker = data[place + 1]
        if marker in (0xFF, 0x01, *range(0xD0, 0xD9)):  # fill bytes, and markers that stand alone
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack(">BHH", data[place + 4 : place + 9])
            return _Frame(marker, bits, width, height, exif)
        segment = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif = segment
        place += 2 + length
    raise ValueError("it has no frame")


def _decode_jpeg(data: bytes, frame: _Frame, upright: bool) -> np.ndarray:
    check_size(frame.width, frame.height)
    if frame.marker == _LOSSLESS:
        pixels = imagecodecs.jpegsof3_decode(data)
    else:
        pixels = imagecodecs.jpeg8_decode(data)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] not in (1, 3):
        raise UnusableError(f"has {pixels.shape[2]} channels", CONVERT)
    exif = PIL.Image.Exif()
    exif.load(frame.exif)
    turn = exif.get(ORIENTATION_TAG, 1) if upright else 1
    return oriented(scaled(pixels, 2**frame.bits - 1), turn)


def _decode_pillow(data: bytes, name: str, upright: bool) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(data), formats=[name]) as file:
        check_size(*file.size)
        frames = getattr(file, "n_frames", 1)
        if name != "JPEG" and frames > 1:  # in a JPEG the others are its previews
            raise UnusableError(f"is an animation of {frames} images", ONE_IMAGE)
        file.load()
        turns = upright and name in _TURNED
        orientation = file.getexif().get(ORIENTATION_TAG, 1) if turns else 1
        image: PIL.Image.Image = file
        mode = image.mode
        if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise UnusableError(f"has colour mode {mode}", CONVERT)
        if "transparency" in image.info or mode == "PA":
            image = image.convert("RGBA")
        elif mode in ("1", "P"):
            image = image.convert("L" if mode == "1" else "RGB")
        pixels = np.array(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if mode in ("1", "L") and pixels.shape[2] == 4:  # gray with a transparent level
        pixels = pixels[..., [0, 3]]
    return oriented(gray_if_equal(pixels) if mode in ("P", "PA") else pixels, orientation)
