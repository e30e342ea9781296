"""The Fréchet distance between Gaussians, and that between the features of two images."""

from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", np.ndarray, jax.Array)


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> np.ndarray:
    """The squared Fréchet (2-Wasserstein) distance between two Gaussians (Dowson, Landau 1982).

    ||mean_a - mean_b||^2 + Tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))

    The trace of the last root is that of the root of A^(1/2) B A^(1/2), which has the same
    eigenvalues and is symmetric: no complex numbers arise, singular covariances included.

    Args:
      mean_a: (..., c).
      cov_a: (..., c, c), symmetric, no eigenvalue below 0.
      mean_b: (..., c); leading axes broadcast against a's.
      cov_b: (..., c, c), likewise.

    Returns:
      (...) distances, computed in float64; 0 or more, up to rounding.
    """
    mean_a, cov_a, mean_b, cov_b = (np.asarray(x, float) for x in (mean_a, cov_a, mean_b, cov_b))
    values, vectors = np.linalg.eigh(cov_a)
    scaled = vectors * np.sqrt(values.clip(0))[..., None, :]  # rounding gives values below 0
    root_a = scaled @ np.swapaxes(vectors, -1, -2)  # (..., c, c)
    squares = np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(0)
    between_means = ((mean_a - mean_b) ** 2).sum(axis=-1)
    traces = np.trace(cov_a, axis1=-2, axis2=-1) + np.trace(cov_b, axis1=-2, axis2=-1)
    distance: np.ndarray = between_means + traces - 2 * np.sqrt(squares).sum(axis=-1)
    return distance


def moments(feature_map: Array) -> tuple[Array, Array]:
    """Mean and covariance of an image's features, all its places taken as draws of one Gaussian.

    Args:
      feature_map: (h, w, c); the results are of its type and precision.

    Returns:
      (c,) and (c, c); covariances are divided by the number of places less 1.
    """
    places = feature_map.reshape(-1, feature_map.shape[-1])  # (h * w, c)
    mean = places.mean(axis=0)
    centred = places - mean
    return mean, centred.T @ centred / (len(places) - 1)


def single_image_distance(map_a: np.ndarray, map_b: np.ndarray) -> float:
    """The Fréchet distance between the features of two images (SIFID; Shaham et al. 2019).

    SIFID's own features are those of Inception (`inception`); the formula serves any other
    network's.

    Args:
      map_a: (h, w, c), features of one image.
      map_b: (h', w', c), features of the other.
    """
    (mean_a, cov_a), (mean_b, cov_b) = (moments(np.asarray(x, float)) for x in (map_a, map_b))
    return float(frechet_distance(mean_a, cov_a, mean_b, cov_b))
