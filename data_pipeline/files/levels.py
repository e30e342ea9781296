"""Gray levels and orientation: what decoders of several formats share."""

import numpy as np

from data_pipeline.errors import UnusableError

READ = "PNG, JPEG, TIFF, PGM, PPM, PBM, BMP, WebP, GIF and DICOM"
CONVERT = "convert it to an 8- or 16-bit grayscale or RGB PNG"
REPLACE = "replace the file with an intact copy or leave it out"
ONE_IMAGE = "save one image to a file"
ORIENTATION_TAG = 0x0112  # the same number in EXIF and TIFF

_BLOCK = 2**20  # pixels
_MAX_PIXELS = 89_478_485  # pillow's own limit, here for every format


def check_size(width: int, height: int) -> None:
    """Raises `UnusableError` where an image has too many pixels, ValueError where it has none."""
    if width < 1 or height < 1:
        raise ValueError(f"its size is {width}x{height}")
    if width * height > _MAX_PIXELS:
        problem = f"has {width}x{height} pixels, more than {_MAX_PIXELS}"
        raise UnusableError(problem, "crop or shrink it")


def scaled(levels: np.ndarray, top: int) -> np.ndarray:
    """Integer levels 0 to `top` to the nearest of 255 (uint8) or, above 255, of 65535 (uint16).

    Raises:
      ValueError: a level is out of range.
    """
    if levels.size and (levels.min() < 0 or levels.max() > top):
        raise ValueError("samples are above the maximum level")
    full, dtype = (255, np.uint8) if top <= 255 else (65535, np.uint16)
    return levels.astype(dtype) if top == full else _multiplied(levels, top, np.dtype(dtype))


def stretched(pixels: np.ndarray) -> np.ndarray:
    """Levels of an image that needs fewer bits than its type has, scaled to the type's range.

    Levels of 12 bits in 16, whatever the highest of them, are multiplied by 65535 / 4095: images of
    one scanner keep their brightness relative to each other.

    Args:
      pixels: uint8 or uint16 of any shape, not empty.
    """
    full, top = np.iinfo(pixels.dtype).max, 2 ** int(pixels.max()).bit_length() - 1
    if top in (0, full):
        return pixels
    return _multiplied(pixels, top, pixels.dtype)


def _multiplied(levels: np.ndarray, top: int, dtype: np.dtype) -> np.ndarray:
    """Levels 0 to `top` to the nearest of all that a type has."""
    full = int(np.iinfo(dtype).max)
    every = np.arange(top + 1, dtype=np.int64)
    return looked_up(((2 * every * full + top) // (2 * top)).astype(dtype), levels)


def looked_up(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`table[levels]`, without indices of 8 bytes for all pixels at once."""
    found = np.empty(levels.shape, table.dtype)
    flat, source = found.reshape(-1), levels.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        flat[start : start + _BLOCK] = table[source[start : start + _BLOCK].astype(np.intp)]
    return found


def gray_if_equal(pixels: np.ndarray) -> np.ndarray:
    """Merges three colour channels, not alpha, where they are equal everywhere."""
    if pixels.shape[2] < 3 or not (pixels[..., :3] == pixels[..., :1]).all():
        return pixels
    return np.delete(pixels, (1, 2), axis=2)


def oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels stored in one of EXIF's eight orientations upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])
