"""Where a lesion is: outlines and mask files to masks, masks to boxes."""

import pathlib
from collections.abc import Sequence

import numpy as np
from skimage import draw

from data_pipeline import mammogram_files
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Lesion

# A mask must share this fraction of its union with the outline. Programs differ in whether they
# fill the pixels on the outline itself, which for a lesion of ten pixels gives 0.67; two different
# lesions, or a shifted or mirrored mask, give less than 0.5.
MIN_AGREEMENT = 0.5

_MIN_SIDE = 2  # pixels; a point or a line has no area


def lesion_mask(lesion: Lesion, shape: tuple[int, int]) -> np.ndarray:
    """Makes the mask of a lesion, from its mask file where it has one, else from its outline.

    What lies outside the image is clipped.

    Args:
      lesion: with an outline, a mask file or both; they are then checked against each other.
      shape: (H, W) of its mammogram.

    Returns:
      (H, W) bool, True in the lesion; its bounding box is at least 2 x 2 pixels.

    Raises:
      DataError: the outline is wholly outside the image, the lesion has no area,
        the mask file cannot be read or is of another size, or mask and outline disagree.
    """
    name = f"lesion {lesion.lesion_id}"
    mask = None
    if lesion.outline:
        mask = rasterise(lesion.outline, shape)
        if not mask.any():
            raise DataError(f"{name}: its outline is outside the {_size(shape)} image; correct it")
    if lesion.mask_file is not None:
        outlined, mask = mask, _read_mask(lesion.mask_file, shape)
        agreement = 1.0 if outlined is None else _intersection_over_union(outlined, mask)
        if agreement < MIN_AGREEMENT:
            problem = f"shares {agreement:.0%} of its area with the outline of {name}"
            remedy = f"at least {MIN_AGREEMENT:.0%} is expected; correct or remove one of them"
            raise DataError(f"{lesion.mask_file}: {problem}; {remedy}")
    if mask is None:
        raise DataError(f"{name}: it has neither an outline nor a mask; add one")
    box = bounding_box(mask)
    if min(box.width, box.height) < _MIN_SIDE or _is_line(lesion.outline):
        raise DataError(f"{name}: it is a point or a line, without an area; correct its outline")
    return mask


def rasterise(outline: Sequence[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Fills a polygon: the pixels whose centres are inside it (even-odd) or on it.

    Args:
      outline: (x, y) vertices; the last is joined to the first.
      shape: (H, W); what is outside is clipped.

    Returns:
      (H, W) bool.
    """
    points = np.asarray(outline, np.float64).reshape(-1, 2)
    mask = np.zeros(shape, bool)
    mask[draw.polygon(points[:, 1], points[:, 0], shape)] = True
    return mask


def bounding_box(mask: np.ndarray) -> Box:
    """Finds the smallest box around everything that is True.

    Args:
      mask: (H, W) bool.

    Returns:
      The box, in pixels.

    Raises:
      DataError: nothing is True.
    """
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    if not len(rows):
        raise DataError("the mask is empty; correct it or leave the lesion out")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _read_mask(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
    mask = mammogram_files.load(path) > 0
    if mask.shape != shape:
        problem = f"the mask is {_size(mask.shape)} pixels, its mammogram {_size(shape)}"
        raise DataError(f"{path}: {problem}; make it anew or remove it")
    if not mask.any():
        raise DataError(f"{path}: the mask is empty; make it anew or remove it")
    return mask


def _intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def _is_line(outline: Sequence[tuple[int, int]]) -> bool:
    """Whether all vertices are on one line, in exact integers."""
    points = sorted(set(outline))
    if not points:
        return False
    (x0, y0), (x1, y1) = points[0], points[-1]
    return all((x1 - x0) * (y - y0) == (y1 - y0) * (x - x0) for x, y in points)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
