"""Resizing of 8-bit images in two ways: by areas, and by samples as OpenCV does."""

import functools

import numpy as np
from scipy import sparse

_BITS = 11  # of OpenCV's coefficients for 8-bit images, INTER_RESIZE_COEF_BITS


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image, each axis by itself.

    Along an axis that shrinks, an output pixel is the exact mean over the area it covers, with
    parts of input pixels weighted by their share. Along one that grows it is interpolated linearly
    between the two nearest input pixels' centres; beyond the outermost centres it is constant.

    Args:
      pixels: (H, W) uint8.
      height: of the result, in pixels.
      width: of the result, in pixels.

    Returns:
      (height, width) uint8, computed in float64 and rounded to the nearest level, halves to even.
    """
    vertical = _axis_weights(pixels.shape[0], height)
    horizontal = _axis_weights(pixels.shape[1], width)
    rows = vertical @ pixels  # (height, W) float64
    return np.rint((horizontal @ rows.T).T).astype(np.uint8, order="C")


@functools.lru_cache(maxsize=64)
def _axis_weights(source: int, target: int) -> sparse.csr_array:
    """The linear map of one axis, (target, source) float64, each row summing to 1.

    Sparse not for speed alone: a dense product may round differently with each machine's BLAS and
    number of threads, and patches must not.
    """
    index = np.arange(source)
    if target <= source:
        edges = np.arange(target + 1) * source / target
        overlap = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
        weights = np.maximum(overlap, 0) * (target / source)
    else:
        centres = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
        weights = np.maximum(1 - np.abs(centres[:, None] - index), 0)
    return sparse.csr_array(weights)


def resize_as_opencv(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image to the bits of OpenCV's `resize` with INTER_LINEAR, its default.

    An output pixel is interpolated between the four input pixels around its centre, whether the
    image grows or shrinks: nothing keeps finer detail from aliasing. Beyond the outermost centres
    the image is constant. OpenCV computes this in whole numbers: coefficients are rounded to 11
    bits, and the two rows that it interpolates between are cut, not rounded, on the way.

    Args:
      pixels: (H, W) uint8.
      height: of the result, in pixels.
      width: of the result, in pixels.

    Returns:
      (height, width) uint8, as OpenCV 4 and 5 give on x86.
    """
    left, towards_right = _positions(pixels.shape[1], width)
    # Where one of the two columns would be outside, the other one counts alone; rows differ.
    is_inside = (left >= 0) & (left < pixels.shape[1] - 1)
    columns = _pairs(left, pixels.shape[1])
    first, second = _coefficients(np.where(is_inside, towards_right, np.float32(0)))
    levels = pixels.astype(np.int32)
    lines = levels[:, columns[0]] * first + levels[:, columns[1]] * second  # (H, width)
    top, towards_bottom = _positions(pixels.shape[0], height)
    rows = _pairs(top, pixels.shape[0])
    first, second = (c[:, None] for c in _coefficients(towards_bottom))
    upper, lower = (lines[row] >> 4 for row in rows)  # (height, width)
    halves = (first * upper >> 16) + (second * lower >> 16)
    return ((halves + 2) >> 2).astype(np.uint8)


def _positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each output pixel the input pixel before its centre, and how far it is beyond that."""
    scale = 1.0 / (target / source)  # not source / target, which may round differently
    centres = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(centres)
    return before.astype(np.int32), centres - before


def _pairs(before: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and those behind them, within the axis."""
    return before.clip(0, length - 1), (before + 1).clip(0, length - 1)


def _coefficients(fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole-number weights of the pixel before and the one behind; float32 to int32."""
    scale = np.float32(2**_BITS)
    weights = (np.rint(part * scale) for part in (np.float32(1) - fraction, fraction))
    first, second = (weight.astype(np.int32) for weight in weights)
    return first, second
