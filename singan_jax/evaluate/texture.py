"""Texture measures that radiology uses, of the intensity (the channels' mean)."""

import jax
import jax.numpy as jnp
import numpy as np

GRAY_LEVELS = 32
MEASURES = ("spectrum_slope", "contrast", "homogeneity", "energy", "correlation")

# A range of intensities below this is no texture but rounding: half a level of 16 bits.
_FLAT = 0.5 / 65535

_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1))  # rows and columns: 0, 45, 90 and 135 degrees


def texture(image: jax.Array, low: jax.Array, high: jax.Array) -> dict[str, jax.Array]:
    """All measures of an image, by the names in `MEASURES`.

    Args:
      image: (H, W, C).
      low: intensity at the lower end of the first gray level of co-occurrences.
      high: intensity at the upper end of the last one.
    """
    intensity = image.mean(axis=-1)
    return {"spectrum_slope": spectrum_slope(intensity), **co_occurrence(intensity, low, high)}


def spectrum_slope(intensity: jax.Array) -> jax.Array:
    """How steeply the power spectrum falls: b where power goes with 1 / frequency^b.

    About 3 for mammograms (Burgess et al., "Human observer detection experiments with mammograms
    and power-law noise", 2001), 2 for photographs, 0 for white noise.

    Args:
      intensity: (H, W); it is multiplied by a Hann window, after its mean.

    Returns:
      The slope of a straight line through the logarithms of the radially averaged power, over rings
      as wide as the lowest frequency, from the second one up to half a cycle a pixel; NaN for a
      constant intensity, which has none.
    """
    height, width = intensity.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    mean = (intensity * window).sum() / window.sum()
    power = jnp.abs(jnp.fft.fft2((intensity - mean) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))  # cycles a pixel
    ring = np.rint(radius * min(height, width)).astype(int)
    num_rings = min(height, width) // 2 + 1  # those beyond are not whole
    counts, sums = (np.bincount(ring.ravel(), x)[2:num_rings] for x in (None, radius.ravel()))
    totals = jax.ops.segment_sum(power.ravel(), ring.ravel(), num_rings)[2:]
    means, frequency = totals / counts, np.log(sums / counts)
    centred = frequency - frequency.mean()
    slope = -(centred @ jnp.log(means)) / (centred @ centred)
    return jnp.where(intensity.max() - intensity.min() < _FLAT, jnp.nan, slope)


def co_occurrence(intensity: jax.Array, low: jax.Array, high: jax.Array) -> dict[str, jax.Array]:
    """Haralick's measures of how gray levels occur side by side (Haralick et al. 1973).

    Args:
      intensity: (H, W); cut into `GRAY_LEVELS` levels between `low` and `high`, those outside
        joining the first and last.
      low: intensity at the lower end.
      high: intensity at the upper end.

    Returns:
      `contrast`, `homogeneity`, `energy` and `correlation` (as scikit-image defines them) of the
      symmetric matrix of direct neighbours, means over the four directions; NaN where both ends are
      the same, so that there are no levels.
    """
    position = (intensity - low) / (high - low) * GRAY_LEVELS
    levels = jnp.floor(position).clip(0, GRAY_LEVELS - 1).astype(int)
    found = [_haralick(_counts(levels, *offset)) for offset in _NEIGHBOURS]
    is_flat = high - low < _FLAT

    def mean(*values: jax.Array) -> jax.Array:
        return jnp.where(is_flat, jnp.nan, sum(values) / len(values))

    return jax.tree.map(mean, *found)


def _counts(levels: jax.Array, down: int, across: int) -> jax.Array:
    """(levels, levels): how often two levels are neighbours, in either order."""
    height, width = levels.shape
    right, left = max(across, 0), max(-across, 0)
    here = levels[: height - down, left : width - right]
    there = levels[down:, right : width - left]
    ones = jnp.ones(here.size)  # sums up to 2^24 are exact in float32
    counts = jax.ops.segment_sum(ones, (here * GRAY_LEVELS + there).ravel(), GRAY_LEVELS**2)
    counts = counts.reshape(GRAY_LEVELS, GRAY_LEVELS)
    return counts + counts.T


def _haralick(counts: jax.Array) -> dict[str, jax.Array]:
    p = counts / counts.sum()
    level = np.arange(GRAY_LEVELS)
    squares = (level[:, None] - level) ** 2
    centred = level - (p.sum(axis=1) * level).sum()
    variance = (p.sum(axis=1) * centred**2).sum()
    covariance = (p * centred[:, None] * centred).sum()
    return {
        "contrast": (p * squares).sum(),
        "homogeneity": (p / (1 + squares)).sum(),
        "energy": jnp.sqrt((p**2).sum()),
        # 1 for a constant image, as in scikit-image.
        "correlation": jnp.where(variance > 0, covariance / jnp.maximum(variance, 1e-12), 1.0),
    }
