"""PNG, JPEG, WebP, GIF and BMP.

pillow decodes what has 8 bits. It silently reduces 16-bit RGB to 8 bits and does not read JPEGs of
12 bits or without loss, so those go through imagecodecs.
"""

import io
import struct

import imagecodecs
import numpy as np
import PIL.Image

from data_pipeline.errors import UnusableError
from data_pipeline.files import jpeg
from data_pipeline.files.levels import (
    CONVERT,
    ONE_IMAGE,
    ORIENTATION_TAG,
    check_size,
    gray_if_equal,
    oriented,
    scaled,
)

_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes, by which its versions differ
_TURNED = ("JPEG", "WEBP")  # formats whose EXIF orientation viewers follow


def _format(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    # Two letters alone would take many a text for a bitmap.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def is_raster(head: bytes) -> bool:
    """Whether a file that starts so is one of these."""
    return bool(_format(head))


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`; with an alpha channel where the file has one."""
    name = _format(data)
    if name == "PNG" and data[12:16] == b"IHDR" and data[24] == 16:  # its bit depth
        return _decode_png16(data)
    if name == "JPEG":
        frame = jpeg.read_frame(data)
        if frame.bits != 8 or frame.marker in (jpeg.LOSSLESS, jpeg.JPEG_LS):
            return _decode_jpeg(data, frame, upright)
    return _decode_pillow(data, name, upright)


def _decode_png16(data: bytes) -> np.ndarray:
    check_size(*struct.unpack(">II", data[16:24]))
    if frames := _png_frames(data):
        raise UnusableError(f"is an animation of {frames} images", ONE_IMAGE)
    pixels = imagecodecs.png_decode(data)  # tRNS comes back as an alpha channel
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _png_frames(data: bytes) -> int:
    """How many images a PNG holds besides its first, or instead of it; 0 where it is one image."""
    place = 8
    while data[place + 4 : place + 8] not in (b"", b"IDAT", b"IEND"):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"acTL":
            (count,) = struct.unpack(">I", data[place + 8 : place + 12])
            return int(count) if count > 1 else 0
        place += 12 + length
    return 0


def _decode_jpeg(data: bytes, frame: jpeg.Frame, upright: bool) -> np.ndarray:
    """One that pillow does not read."""
    if frame.marker == jpeg.JPEG_LS:
        raise UnusableError("is a JPEG-LS image", CONVERT)
    pixels = jpeg.decode(data, frame)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] not in (1, 3):
        raise UnusableError(f"has {pixels.shape[2]} channels", CONVERT)
    exif = PIL.Image.Exif()
    exif.load(frame.exif)
    turn = exif.get(ORIENTATION_TAG, 1) if upright else 1
    return oriented(scaled(pixels, 2**frame.bits - 1), turn)


def _decode_pillow(data: bytes, name: str, upright: bool) -> np.ndarray:
    if name == "WEBP":
        check_size(*_webp_size(data))  # pillow makes room for its pixels when it opens it
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


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) as the first chunk says: RFC 9649, sections 2.5 to 2.7."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(body[4:7], "little"),
            1 + int.from_bytes(body[7:10], "little"),
        )
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF
