"""The image pyramid: how many scales, of what size, and the resize between them.

The resize is MATLAB's `imresize` (Keys' bicubic kernel, a = -1/2, antialiased when shrinking) as
the official SinGAN uses it. It is separable and linear, so each axis is one small matrix made on
the host in float64, and an image is resized by two matrix products on the device.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.config import Config


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """Sizes of the scales of one image; index 0 is the coarsest.

    Attributes:
      image_size: (height, width) of the input image.
      scale1: factor by which the input is shrunk to reach the finest scale.
      ratio: fitted ratio between neighbouring scales, in (0, 1).
      sizes: (height, width) of each scale.
    """

    image_size: tuple[int, int]
    scale1: float
    ratio: float
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, image_size: tuple[int, int], config: Config) -> "Pyramid":
        """The pyramid of an image (official `adjust_scales2image`).

        Args:
          image_size: (height, width), shorter side at least `config.min_size`.
          config: `min_size`, `max_size`, `scale_factor` are used.

        Raises:
          ValueError: the image is smaller than `min_size`, or so elongated that shrinking its
            longer side to `max_size` takes its shorter side below `min_size`.
        """
        short, long = min(image_size), max(image_size)
        if short < config.min_size:
            raise ValueError(
                f"is {image_size[1]}x{image_size[0]} pixels, but SinGAN's coarsest scale needs "
                f"{config.min_size}"
            )
        log_factor = math.log(config.scale_factor)
        num_scales = math.ceil(math.log(config.min_size / short) / log_factor) + 1
        scale2stop = math.ceil(math.log(min(config.max_size, long) / long) / log_factor)
        stop_scale = num_scales - scale2stop
        scale1 = min(config.max_size / long, 1.0)
        finest = scaled_size(image_size, scale1)
        if min(finest) < config.min_size or stop_scale < 1:
            raise ValueError(
                f"is {image_size[1]}x{image_size[0]} pixels, which shrinks to "
                f"{finest[1]}x{finest[0]} at max_size {config.max_size}, narrower than min_size "
                f"{config.min_size}"
            )
        ratio = (config.min_size / min(finest)) ** (1 / stop_scale)
        sizes = tuple(scaled_size(finest, ratio ** (stop_scale - n)) for n in range(stop_scale + 1))
        return cls((image_size[0], image_size[1]), scale1, ratio, sizes)

    @property
    def num_scales(self) -> int:
        """Number of scales, `stop_scale + 1`."""
        return len(self.sizes)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) times `scale`, each rounded up."""
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2, float64."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=4096)
def resize_matrix(in_size: int, out_size: int, scale: float) -> np.ndarray:
    """The linear map of one axis, (out_size, in_size) float64; rows sum to 1.

    Output pixel i is centred at input position (i + 1/2) / scale - 1/2. `out_size` may be less
    than `ceil(in_size * scale)`: the result is then cropped at the far end. Taps beyond the far
    edge are mirrored; taps beyond the near edge are dropped and the rest renormalised, as in the
    official code, where an index there wraps around an unsigned integer.
    """
    shrink = min(scale, 1.0)
    support = 4.0 / shrink
    centre = (np.arange(1, out_size + 1)) / scale + 0.5 * (1 - 1 / scale)  # one-based
    left = np.floor(centre - support / 2)
    taps = np.arange(math.ceil(support) + 2)
    position = left[:, None] + taps[None, :]  # (out, taps), one-based
    weights = shrink * _keys_cubic(shrink * (centre[:, None] - position))
    index = position.astype(np.int64) - 1
    weights = np.where(index < 0, 0.0, weights)
    weights = weights / weights.sum(axis=1, keepdims=True)
    index = index % (2 * in_size)
    index = np.where(index >= in_size, 2 * in_size - 1 - index, index)
    matrix = np.zeros((out_size, in_size))
    np.add.at(matrix, (np.arange(out_size)[:, None], index), weights)
    matrix.setflags(write=False)
    return matrix


def _to_levels(images: jax.Array) -> jax.Array:
    """[-1, 1] to 0..255, truncated to whole levels, by the official sequence of operations."""
    return jnp.floor(255.0 * jnp.clip((images + 1) / 2, 0.0, 1.0))


def _from_levels(levels: jax.Array) -> jax.Array:
    """0..255 to [-1, 1], by the official sequence of operations."""
    # A constant divisor would be turned into a product with its reciprocal, off by one rounding:
    # enough for the next truncation to land a level lower than the original's.
    divisor = jax.lax.optimization_barrier(jnp.full_like(levels, 255.0))
    return (levels / divisor - 0.5) * 2.0


def resize(
    images: jax.Array, scale: float, size: tuple[int, int], *, uint8: bool = False
) -> jax.Array:
    """Resizes a batch of images by `scale` and crops to `size`.

    Args:
      images: (N, H, W, C) in [-1, 1]; values outside are clamped.
      scale: size factor along both axes.
      size: (height, width) wanted, at most `ceil` of the scaled size.
      uint8: round to 8 bits first, as the official code does.

    Returns:
      (N, *size, C) in [-1, 1].
    """
    images = _to_levels(images) if uint8 else jnp.clip(images, -1.0, 1.0)
    rows = jnp.asarray(resize_matrix(images.shape[1], size[0], scale), images.dtype)
    cols = jnp.asarray(resize_matrix(images.shape[2], size[1], scale), images.dtype)
    # Full precision: a reduced-precision product would show as banding in every finer scale.
    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum("oh,nhwc->nowc", rows, images, precision=highest)
    images = jnp.einsum("pw,nowc->nopc", cols, images, precision=highest)
    if uint8:
        images = _from_levels(images)
    return jnp.clip(images, -1.0, 1.0)


def build_pyramid(
    images: jax.Array, pyramid: Pyramid, *, uint8: bool = False
) -> tuple[jax.Array, ...]:
    """The scales of images of one size, coarsest first.

    Args:
      images: (N, H, W, C) in [-1, 1], of `pyramid.image_size`.
      pyramid: its sizes.
      uint8: as in `resize`.

    Returns:
      One (N, h, w, C) array per scale.
    """
    finest_size = scaled_size(pyramid.image_size, pyramid.scale1)
    finest = resize(images, pyramid.scale1, finest_size, uint8=uint8)
    stop = pyramid.num_scales - 1
    return tuple(
        resize(finest, pyramid.ratio ** (stop - n), size, uint8=uint8)
        for n, size in enumerate(pyramid.sizes)
    )
