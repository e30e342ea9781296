"""The descriptors of BCDR's features tables, computed from the pixels within an outline.

The columns follow the tables as published, not the textbooks: intensities and the centre of mass
are fractions of their range, elongation is the minor over the major axis, form is perimeter times
elongation over eight areas, textures come from 32 grey levels counted from 1, the variances
`t_sosvh` and `t_svarh` are taken about 0 and about the sum entropy, and `t_dvarh` is the contrast.
Texture: Haralick, Shanmugam and Dinstein, Textural features for image classification, IEEE
Transactions on Systems, Man and Cybernetics 3 (1973) 610-621.
"""

from typing import Any

import numpy as np
from skimage import feature, measure

INTENSITY_COLUMNS = ("i_mean", "i_std_dev", "i_maximum", "i_minimum", "i_kurtosis", "i_skewness")
SHAPE_COLUMNS = (
    *("s_area", "s_perimeter", "s_x_center_mass", "s_y_center_mass", "s_circularity"),
    *("s_elongation", "s_form", "s_solidity", "s_extent"),
)
TEXTURE_COLUMNS = (
    *("t_energ", "t_contr", "t_corr", "t_sosvh", "t_homo", "t_savgh", "t_svarh"),
    *("t_senth", "t_entro", "t_dvarh", "t_denth", "t_inf1h", "t_inf2h"),
)
COLUMNS = (*INTENSITY_COLUMNS, *SHAPE_COLUMNS, *TEXTURE_COLUMNS)
LEVELS = 32  # of the co-occurrence matrix


def describe(pixels: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Computes every descriptor of a lesion.

    Args:
      pixels: (H, W) uint8.
      mask: (H, W) bool, not empty.

    Returns:
      A finite number for each of `COLUMNS`; where a lesion is too flat or too small for one to be
      defined (such as the skewness of equal pixels), 0.
    """
    (region,) = measure.regionprops(mask.astype(np.uint8))
    crop, inside = pixels[region.slice], region.image
    texture = _texture(co_occurrence(crop, inside))
    values = _intensity(crop[inside].astype(np.float64)) | _shape(region, mask.shape) | texture
    return {name: float(np.nan_to_num(values[name])) for name in COLUMNS}


def co_occurrence(crop: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Counts grey levels of neighbouring pixels, in eight directions, both within the outline.

    Args:
      crop: (h, w) uint8.
      inside: (h, w) bool.

    Returns:
      (32, 32) float64, symmetric; sums to 1, or to 0 where no two pixels are neighbours.
    """
    levels = np.where(inside, 1 + crop // (256 // LEVELS), 0).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = feature.graycomatrix(levels, [1], angles, levels=LEVELS + 1, symmetric=True)
    within = counts[1:, 1:].sum(axis=(2, 3)).astype(np.float64)  # level 0 is outside
    return within / max(within.sum(), 1)


def _intensity(levels: np.ndarray) -> dict[str, float]:
    mean, spread = levels.mean(), levels.std()
    with np.errstate(invalid="ignore"):
        score = (levels - mean) / spread
    shape = np.mean(score**4) - 3, np.mean(score**3)
    numbers = (*(np.array([mean, spread, levels.max(), levels.min()]) / 255), *shape)
    return dict(zip(INTENSITY_COLUMNS, numbers, strict=True))


def _shape(region: Any, shape: tuple[int, ...]) -> dict[str, float]:
    row, column = region.centroid
    perimeter = max(region.perimeter, 1.0)
    elongation = region.axis_minor_length / max(region.axis_major_length, 1e-9)
    numbers = (
        *(region.area, perimeter, column / shape[1], row / shape[0]),
        4 * np.pi * region.area / perimeter**2,
        elongation,
        perimeter * elongation / (8 * region.area),
        *(region.solidity, region.extent),
    )
    return dict(zip(SHAPE_COLUMNS, numbers, strict=True))


def _texture(p: np.ndarray) -> dict[str, float]:
    """Haralick's descriptors of a symmetric co-occurrence matrix, as published; see above."""
    level = np.arange(1, LEVELS + 1)
    i, j = level[:, None], level
    sums = np.bincount((i + j).ravel(), p.ravel())  # by i + j
    differences = np.bincount(np.abs(i - j).ravel(), p.ravel())  # by |i - j|
    marginal = p.sum(axis=1)
    mean = level @ marginal
    variance = (level - mean) ** 2 @ marginal
    contrast = np.sum((i - j) ** 2 * p)
    sum_entropy, entropy, alone = _entropy(sums), _entropy(p), _entropy(marginal)
    shared = 2 * alone - entropy  # mutual information, as rows and columns have equal marginals
    numbers = (
        np.sum(p**2),
        contrast,
        (np.sum(i * j * p) - mean**2) / max(variance, 1e-12),
        level**2 @ marginal,
        np.sum(p / (1 + np.abs(i - j))),
        2 * mean,
        (np.arange(len(sums)) - sum_entropy) ** 2 @ sums,
        sum_entropy,
        entropy,
        contrast,
        _entropy(differences),
        -shared / max(alone, 1e-12),
        np.sqrt(1 - np.exp(-2 * max(shared, 0.0))),
    )
    return dict(zip(TEXTURE_COLUMNS, numbers, strict=True))


def _entropy(p: np.ndarray) -> float:
    return float(-np.sum(p * np.log(np.where(p > 0, p, 1))))
