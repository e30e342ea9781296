"""Image files' bytes to pixels, at full precision or with a clear refusal.

pillow decodes 8-bit files. It silently reduces 16-bit RGB to 8 bits, so 16-bit PNG goes through
imagecodecs, TIFF through tifffile, and netpbm, simple enough, is parsed here.
"""

import io
import re
import struct
import zlib
from collections.abc import Sequence

import imagecodecs
import numpy as np
import PIL.Image
import tifffile

CONVERT = "convert it to an 8- or 16-bit grayscale or RGB PNG"
REPLACE = "replace the file with an intact copy or leave it out"

_MAX_PIXELS = 89_478_485  # pillow's own limit, here for every format
_ORIENTATION_TAG = 0x0112  # the same number in EXIF and TIFF
_PILLOW_FORMATS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"P1": "PPM",
    b"P4": "PPM",
}
_NETPBM = (b"P2", b"P3", b"P5", b"P6")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What decoders raise on damaged files. pillow and tifffile parse in Python and document no common
# base class; imagecodecs' errors are RuntimeErrors.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
)


class UnusableError(Exception):
    """A file's `problem` and its `remedy`; the caller adds the path."""

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy


def decode(data: bytes) -> np.ndarray:
    """Decodes a PNG, JPEG, TIFF, PGM, PPM, PBM or BMP file.

    Args:
        data: the whole file, not empty.

    Returns:
        (H, W, C) uint8 or uint16, C 1 or 3, scaled to the whole range of the type.

    Raises:
        UnusableError: data is none of these, is damaged, too large, or has transparency or an
            unsupported colour space or sample format.
    """
    try:
        pixels = _samples(data)
    except UnusableError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as e:
        raise UnusableError("has too many pixels to be read safely", "crop or shrink it") from e
    except _DAMAGE as e:
        raise UnusableError(f"is damaged or truncated ({_first_line(e)})", REPLACE) from e
    return _without_alpha(pixels)


def _samples(data: bytes) -> np.ndarray:
    """(H, W, C) uint8 or uint16, C 1 to 4, an even C with alpha."""
    if data.startswith(_TIFF):
        return _decode_tiff(data)
    if data.startswith(_NETPBM):
        return _decode_netpbm(data)
    for magic, name in _PILLOW_FORMATS.items():
        if data.startswith(magic):
            is_16_bit = name == "PNG" and data[24] == 16  # IHDR's bit depth
            return _decode_png16(data) if is_16_bit else _decode_pillow(data, name)
    raise UnusableError("is not a PNG, JPEG, TIFF, PGM, PPM or BMP image", CONVERT)


def _decode_png16(data: bytes) -> np.ndarray:
    _check_size(*struct.unpack(">II", data[16:24]))
    pixels = imagecodecs.png_decode(data)  # tRNS comes back as an alpha channel
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decode_pillow(data: bytes, name: str) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(data), formats=[name]) as file:
        _check_size(*file.size)
        file.load()
        orientation = file.getexif().get(_ORIENTATION_TAG, 1) if name == "JPEG" else 1
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
    return _oriented(_gray_palette(pixels) if mode in ("P", "PA") else pixels, orientation)


def _decode_tiff(data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if not len(tiff.pages):
            raise ValueError("it has no readable page")
        if len(tiff.pages) > 1:
            raise UnusableError(f"has {len(tiff.pages)} pages", "save one page to a file")
        page = tiff.pages.first
        _check_size(page.imagewidth, page.imagelength)
        _check_tiff(page)
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not all(page.databytecounts) or max(ends) > len(data):  # else decoded as blank
            raise ValueError("the file ends before its pixels do")
        pixels = page.asarray(maxworkers=1)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else _native(pixels)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)  # (3, levels)
            pixels = _gray_palette(np.moveaxis(colours[:, pixels[..., 0]], 0, -1))
        orientation = page.tags.get(_ORIENTATION_TAG)
        return _oriented(pixels, orientation.value if orientation else 1)


def _check_tiff(page: tifffile.TiffPage) -> None:
    bits, photometric = page.bitspersample, page.photometric
    kinds = tifffile.PHOTOMETRIC
    if page.sampleformat != tifffile.SAMPLEFORMAT.UINT or bits not in (1, 8, 16):
        names = {1: "unsigned", 2: "signed", 3: "floating-point"}
        kind = names.get(page.sampleformat, "unknown")
        raise UnusableError(f"has {bits}-bit {kind} samples", CONVERT)
    # A JPEG inside a TIFF is stored as YCbCr and comes out as RGB.
    is_jpeg = photometric == kinds.YCBCR and page.compression == tifffile.COMPRESSION.JPEG
    colours: dict[int, int] = {
        kinds.MINISWHITE: 1,
        kinds.MINISBLACK: 1,
        kinds.PALETTE: 1,
        kinds.RGB: 3,
    }
    base = 3 if is_jpeg else colours.get(photometric)
    if base is None or (photometric == kinds.PALETTE and (bits != 8 or page.samplesperpixel != 1)):
        raise UnusableError(f"has colour space {getattr(photometric, 'name', '?')}", CONVERT)
    if page.samplesperpixel not in (base, base + 1) or page.imagedepth != 1:
        raise UnusableError(f"has {page.samplesperpixel} channels", CONVERT)


def _decode_netpbm(data: bytes) -> np.ndarray:
    header = re.match(rb"P(\d)" + rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})" * 3 + rb"\s", data)
    if header is None:
        raise ValueError("its header is not complete")
    kind, width, height, maxval = (int(field) for field in header.groups())
    _check_size(width, height)
    if not 0 < maxval < 65536:
        raise ValueError(f"its maximum level is {maxval}")
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    if kind in (2, 3):
        text = re.sub(rb"#[^\n\r]*", b"", data[header.end() :])
        levels = np.fromiter((int(t) for t in text.split(None, count)[:count]), np.int64)
    else:
        dtype = np.dtype(">u2" if maxval > 255 else "u1")
        levels = np.frombuffer(data, dtype, count, header.end()).astype(np.int64)
    if levels.size != count or levels.min() < 0 or levels.max() > maxval:
        raise ValueError("samples are missing or above the maximum level")
    top = 255 if maxval <= 255 else 65535
    levels = (2 * levels * top + maxval) // (2 * maxval)  # to the nearest
    return levels.reshape(height, width, channels).astype(np.uint8 if top == 255 else np.uint16)


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[2] in (1, 3):
        return pixels
    if (pixels[..., -1] != np.iinfo(pixels.dtype).max).any():
        raise UnusableError("has transparent pixels", "flatten it onto a background")
    return pixels[..., :-1]


def _gray_palette(pixels: np.ndarray) -> np.ndarray:
    """Merges the three colour channels, not alpha, where they are equal everywhere."""
    is_gray = (pixels[..., :3] == pixels[..., :1]).all()
    return np.delete(pixels, (1, 2), axis=2) if is_gray else pixels


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels stored in one of EXIF's eight orientations upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _native(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"its size is {width}x{height}")
    if width * height > _MAX_PIXELS:
        problem = f"has {width}x{height} pixels, more than {_MAX_PIXELS}"
        raise UnusableError(problem, "crop or shrink it")


def _first_line(error: BaseException) -> str:
    lines: Sequence[str] = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
