"""The Fréchet distance between Gaussians, and that between the features of two images."""

import numpy as np


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """The squared Fréchet (2-Wasserstein) distance between two Gaussians (Dowson, Landau 1982).

    ||mean_a - mean_b||^2 + Tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))

    The trace of the last root is that of the root of A^(1/2) B A^(1/2), which has the same
    eigenvalues and is symmetric: no complex numbers arise, singular covariances included.

    Args:
      mean_a: (c,).
      cov_a: (c, c), symmetric, no eigenvalue below 0.
      mean_b: (c,).
      cov_b: (c, c), likewise.

    Returns:
      The distance, computed in float64; 0 or more, up to rounding.
    """
    mean_a, cov_a, mean_b, cov_b = (np.asarray(x, float) for x in (mean_a, cov_a, mean_b, cov_b))
    values, vectors = np.linalg.eigh(cov_a)
    root_a = vectors * np.sqrt(values.clip(0)) @ vectors.T  # (c, c); rounding gives values below 0
    squares = np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(0)
    difference = mean_a - mean_b
    traces = np.trace(cov_a) + np.trace(cov_b)
    return float(difference @ difference + traces - 2 * np.sqrt(squares).sum())


def single_image_distance(map_a: np.ndarray, map_b: np.ndarray) -> float:
    """The Fréchet distance between the features of two images (SIFID; Shaham et al. 2019).

    The features at all places of an image are taken as draws of one Gaussian. SIFID's own are
    those of Inception before its first max-pool; the formula serves any other network's.

    Args:
      map_a: (h, w, c), features of one image.
      map_b: (h', w', c), those of the other.

    Returns:
      The distance; covariances are divided by the number of places less 1.
    """
    (mean_a, cov_a), (mean_b, cov_b) = map(_moments, (map_a, map_b))
    return frechet_distance(mean_a, cov_a, mean_b, cov_b)


def _moments(feature_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = np.float64(feature_map).reshape(-1, feature_map.shape[-1])  # (h * w, c)
    return places.mean(axis=0), np.atleast_2d(np.cov(places, rowvar=False))
