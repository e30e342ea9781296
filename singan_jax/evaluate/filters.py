"""A distance between two images' textures that needs no trained weights. It is not SIFID.

SIFID's formula, but on the responses of fixed filters: derivatives of Gaussians at several widths
(the local jet; Koenderink and van Doorn, "Representation of local geometry in the visual system",
1987). Compare its numbers only with each other, never with published SIFIDs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from singan_jax.evaluate.frechet import moments

SIGMAS = (1.0, 2.0, 4.0)  # pixels
_DERIVATIVES = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0))  # orders in y and x
_LEAST_SPREAD = 0.5 / 255  # responses that vary by less than half a level of 8 bits are flat


@functools.cache
def _matrix(size: int, sigma: float, order: int) -> np.ndarray:
    """(size, size): a derivative of a Gaussian along one axis, mirrored at the edges."""
    matrix = ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, order=order)
    matrix *= sigma**order  # so that no width weighs more than others
    return matrix.astype(np.float32)


def responses(image: jax.Array) -> jax.Array:
    """The responses of the filters at each pixel.

    Args:
      image: (H, W, C) in [0, 1].

    Returns:
      (H, W, 3 (C + 6)): for each width the blurred channels, the first and second derivatives of
      the intensity (the channels' mean) times the width to their order, and its gradient's length.
    """
    found = []
    intensity = image.mean(axis=-1, keepdims=True)
    for sigma in SIGMAS:
        blurred = _filtered(image, sigma, (0, 0))
        derivatives = [_filtered(intensity, sigma, orders) for orders in _DERIVATIVES]
        length = jnp.hypot(derivatives[0], derivatives[1])
        found += [blurred, *derivatives, length]
    return jnp.concatenate(found, axis=-1)


def _filtered(image: jax.Array, sigma: float, orders: tuple[int, int]) -> jax.Array:
    rows, cols = (_matrix(image.shape[axis], sigma, orders[axis]) for axis in (0, 1))
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("oh,hwc,pw->opc", rows, image, cols, precision=highest)


def response_moments(
    real: jax.Array, samples: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Moments of the responses, each filter's in units of its spread over the real image.

    So a weak fine texture counts as much as the strong layout, and low contrast as much as high.

    Args:
      real: (H, W, C) in [0, 1].
      samples: (n, H, W, C), likewise.

    Returns:
      Mean and covariance of the real image, (c,) and (c, c), and of the samples, with a leading n;
      their Fréchet distance is the filter-bank distance.
    """
    of_real = responses(real)
    spread = jnp.maximum(of_real.std(axis=(0, 1)), _LEAST_SPREAD)
    of_samples = jax.lax.map(lambda sample: moments(responses(sample) / spread), samples)
    return moments(of_real / spread), of_samples
