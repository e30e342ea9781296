"""An image file's bytes to pixels, at full precision or with a clear refusal.

What all formats share; each format's own is in the module named after it.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image

from data_pipeline.errors import UnusableError
from data_pipeline.files import dicom, netpbm, raster, refused, tiff
from data_pipeline.files.levels import REPLACE

# What decoders raise on damaged files. pillow, tifffile and pydicom parse in Python and document no
# common base class; imagecodecs' errors are RuntimeErrors.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
)


class _Format(NamedTuple):
    """How a format is known by its first bytes, and what decodes it."""

    is_its: Callable[[bytes], bool]
    decode: Callable[[bytes, bool], np.ndarray]


_FORMATS = (
    _Format(tiff.is_tiff, tiff.decode),
    _Format(netpbm.is_netpbm, netpbm.decode),
    _Format(dicom.is_dicom, dicom.decode),
    _Format(raster.is_raster, raster.decode),
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{5}")
HEAD = 132  # bytes of a file that `is_image` needs


def is_image(head: bytes) -> bool:
    """Whether a file that starts with these `HEAD` bytes claims to be of a format that is read."""
    return any(known.is_its(head) for known in _FORMATS)


def decode(data: bytes, *, upright: bool = True, keep_alpha: bool = False) -> np.ndarray:
    """Decodes an image file; its content decides how, not its name.

    Palettes are resolved, levels of 1 to 7 or 9 to 15 bits are scaled to the nearest of 8 or 16
    bits, inverted (MINISWHITE, MONOCHROME1) levels are inverted back, DICOM's rescaling and first
    window are applied. An alpha channel that is opaque throughout is dropped.

    Args:
      data: the whole file.
      upright: turn the image as its file says (EXIF, TIFF); else leave it as it is stored.
      keep_alpha: return an alpha channel that is not opaque throughout, rather than refuse it.

    Returns:
      (H, W, C) uint8 or uint16, over the type's whole range. C is 1 or 3, or with alpha 2 or 4.

    Raises:
      UnusableError: the file is of no format that is read, is damaged, too large, or holds several
        images, or samples or colours that are not read, or transparency.
    """
    try:
        pixels = _decoder(data)(data, upright)
    except UnusableError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise UnusableError("has too many pixels to be read safely", "crop or shrink it") from error
    except _DAMAGE as error:
        raise UnusableError(f"is damaged or truncated ({_reason(error)})", REPLACE) from error
    return pixels if keep_alpha and _is_transparent(pixels) else _without_alpha(pixels)


def _decoder(data: bytes) -> Callable[[bytes, bool], np.ndarray]:
    for known in _FORMATS:
        if known.is_its(data[:HEAD]):
            return known.decode
    raise refused.explain(data)


def _is_transparent(pixels: np.ndarray) -> bool:
    has_alpha = pixels.shape[2] in (2, 4)
    return has_alpha and bool((pixels[..., -1] != np.iinfo(pixels.dtype).max).any())


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    if _is_transparent(pixels):
        raise UnusableError("has transparent pixels", "flatten it onto a background")
    return pixels[..., : 1 if pixels.shape[2] < 3 else 3]


def _reason(error: BaseException) -> str:
    """An error's first line, unless it names a place in memory, which tells a user nothing."""
    line = next(iter(str(error).splitlines()), "")
    return line if line and not _ADDRESS.search(line) else type(error).__name__
