"""How much the samples of one generator differ from each other."""

import jax
import jax.numpy as jnp
import numpy as np

# Wang, Simoncelli and Bovik, "Multiscale structural similarity", 2003: exponents from fine to
# coarse; window and constants as Wang et al., "Image quality assessment", 2004.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_MAX_PAIRS = 300


def diversity(real: jax.Array, samples: jax.Array) -> jax.Array:
    """The SinGAN paper's diversity (Shaham et al. 2019, table 1).

    The standard deviation of each pixel's intensity over the samples, averaged over pixels and
    divided by the standard deviation of the intensities of the training image. The paper finds 0.5
    from start scale 0, and 0.35 from start scale 1, on its landscapes.

    Args:
      real: (H, W, C), not constant.
      samples: (n, H, W, C) in the same units, n at least 2. The deviation over them is divided by
        n - 1, so that few samples seem no more alike than many.
    """
    return samples.std(axis=0, ddof=1).mean() / real.std()


def num_scales(size: tuple[int, int]) -> int:
    """Number of MS-SSIM scales for images of (height, width): up to 5, while its window fits."""
    shorter = min(size)
    return sum(shorter >> scale >= _WINDOW for scale in range(len(_WEIGHTS)))


def ms_ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multi-scale structural similarity of two images.

    Args:
      a: (H, W, C) in [0, 1], both sides at least 11. Below 176 pixels fewer than 5 scales fit; the
        exponents of those that do are divided by their sum.
      b: likewise.

    Returns:
      The mean over channels, 1 for equal images. A scale's mean contrast-and-structure term below
      0 counts as 0.
    """
    scales = num_scales((a.shape[0], a.shape[1]))
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    product = jnp.ones(a.shape[-1])
    for scale, weight in enumerate(weights):
        luminance, structure = _ssim_terms(a, b)
        if scale == scales - 1:
            structure = luminance * structure
        else:
            a, b = _halved(a), _halved(b)
        product *= structure.mean(axis=(0, 1)).clip(0) ** weight
    return product.mean()


def _ssim_terms(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(H - 10, W - 10, C) luminance, and contrast times structure, where the window fits."""
    rows, cols = (_window(side) for side in a.shape[:2])
    maps = jnp.stack([a, b, a * a, b * b, a * b])
    maps = jnp.einsum("oh,khwc,pw->kopc", rows, maps, cols, precision=jax.lax.Precision.HIGHEST)
    mean_a, mean_b, aa, bb, ab = maps
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    variances = aa - mean_a**2 + bb - mean_b**2
    return luminance, (2 * (ab - mean_a * mean_b) + _C2) / (variances + _C2)


def _window(side: int) -> np.ndarray:
    """(side - 10, side): Gaussian-weighted means along one axis, where the window fits."""
    offsets = np.arange(side) - np.arange(side - _WINDOW + 1)[:, None] - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2)) * (abs(offsets) <= _WINDOW // 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _halved(image: jax.Array) -> jax.Array:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    height, width, channels = image.shape
    image = image[: height // 2 * 2, : width // 2 * 2]
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def pairs(count: int) -> np.ndarray:
    """(pairs, 2) indices of samples to compare: all pairs, or 300 random ones if there are more."""
    if count * (count - 1) // 2 <= _MAX_PAIRS:
        return np.stack(np.triu_indices(count, 1), axis=1)
    rng = np.random.default_rng(count)
    first = rng.integers(count, size=_MAX_PAIRS)
    return np.stack([first, (first + rng.integers(1, count, _MAX_PAIRS)) % count], axis=1)


def mean_ms_ssim(samples: jax.Array) -> jax.Array:
    """Mean MS-SSIM between pairs of (n, H, W, C) samples in [0, 1]: 1 where all are equal."""
    chosen = jnp.asarray(pairs(len(samples)))
    return jax.lax.map(lambda pair: ms_ssim(samples[pair[0]], samples[pair[1]]), chosen).mean()
