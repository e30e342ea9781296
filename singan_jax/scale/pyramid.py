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
      scale1: factor by which the input, stretched, is shrunk to reach the finest scale.
      ratio: fitted ratio between neighbouring scales, in (0, 1).
      sizes: (height, width) of each scale.
      stretch_size: (height, width) to which the input is stretched first; None where it is not.
    """

    image_size: tuple[int, int]
    scale1: float
    ratio: float
    sizes: tuple[tuple[int, int], ...]
    stretch_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, image_size: tuple[int, int], config: Config) -> "Pyramid":
        """The pyramid of an image (official `adjust_scales2image`).

        Args:
          image_size: (height, width); stretched, its shorter side is at least `config.min_size`.
          config: `min_size`, `max_size`, `scale_factor`, `pyramid_rule`, `stretch` are used.

        Raises:
          ValueError: the image is smaller than `min_size`, or so elongated that shrinking its
            longer side to `max_size` takes its shorter side below `min_size`.
        """
        size = config.stretch_size or (image_size[0], image_size[1])
        short, long = min(size), max(size)
        shown = f"is {size[1]}x{size[0]} pixels{', stretched' if config.stretch else ''}"
        if short < config.min_size:
            raise ValueError(f"{shown}, but SinGAN's coarsest scale needs {config.min_size}")
        stop_scale = _stop_scale(size, config)
        scale1 = min(config.max_size / long, 1.0)
        finest = scaled_size(size, scale1)
        if min(finest) < config.min_size or stop_scale < 1:
            raise ValueError(
                f"{shown}, which shrinks to {finest[1]}x{finest[0]} at max_size "
                f"{config.max_size}, narrower than min_size {config.min_size}"
            )
        ratio = (config.min_size / min(finest)) ** (1 / stop_scale)
        sizes = tuple(scaled_size(finest, ratio ** (stop_scale - n)) for n in range(stop_scale + 1))
        return cls((image_size[0], image_size[1]), scale1, ratio, sizes, config.stretch_size)

    @property
    def num_scales(self) -> int:
        """Number of scales, `stop_scale + 1`."""
        return len(self.sizes)

    def own_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at which an image made at the finest scale is shown.

        That is `size`, unless images are stretched: then it is what the image's own size is to
        the finest scale's.
        """
        if self.stretch_size is None:
            return size
        height, width = (
            round(side * own / finest)
            for side, own, finest in zip(size, self.image_size, self.sizes[-1], strict=True)
        )
        return height, width


def _stop_scale(size: tuple[int, int], config: Config) -> int:
    """Index of the finest scale of an image of (height, width) by `config.pyramid_rule`.

    For super-resolution the official code (`adjust_scales2image_SR`) truncates where it rounds up
    in training, and measures how far the image shrinks by its width, not by its longer side.
    """
    short, long = min(size), max(size)
    log_factor = math.log(config.scale_factor)
    steps = math.log(config.min_size / short) / log_factor
    limit = min(config.max_size, long)
    if config.pyramid_rule == "super_resolution":
        return int(steps) + 1 - int(math.log(limit / size[1]) / log_factor)
    return math.ceil(steps) + 1 - math.ceil(math.log(limit / long) / log_factor)


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


@functools.lru_cache(maxsize=4096)
def linear_matrix(in_size: int, out_size: int, antialias: bool) -> np.ndarray:
    """Linear interpolation along one axis, (out_size, in_size) float64; rows sum to 1.

    Output pixel i is centred at input position (i + 1/2) in_size / out_size - 1/2; beyond the
    outermost pixels the image goes on as it ends. That is OpenCV's default; `antialias` widens the
    kernel where the image shrinks, as pillow and torchvision do.
    """
    shrink = max(in_size / out_size, 1.0) if antialias else 1.0
    centre = (np.arange(out_size) + 0.5) * in_size / out_size - 0.5
    distance = np.abs(centre[:, None] - np.arange(in_size))  # (out, in)
    weights = np.maximum(0.0, 1.0 - distance / shrink)
    matrix = weights / weights.sum(axis=1, keepdims=True)
    matrix.setflags(write=False)
    return matrix


def stretch(images: jax.Array, size: tuple[int, int], *, antialias: bool) -> jax.Array:
    """Stretches (N, H, W, C) images to (N, *size, C), bilinear; see `linear_matrix`."""
    rows = jnp.asarray(linear_matrix(images.shape[1], size[0], antialias), images.dtype)
    cols = jnp.asarray(linear_matrix(images.shape[2], size[1], antialias), images.dtype)
    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum("oh,nhwc->nowc", rows, images, precision=highest)
    return jnp.einsum("pw,nowc->nopc", cols, images, precision=highest)


def build_pyramid(
    images: jax.Array, pyramid: Pyramid, *, uint8: bool = False
) -> tuple[jax.Array, ...]:
    """The scales of images of one size, coarsest first.

    This is where images come in, and so where they are stretched if they are to be: bilinear
    without antialiasing, as the thesis does by OpenCV.

    Args:
      images: (N, H, W, C) in [-1, 1], of `pyramid.image_size`.
      pyramid: its sizes.
      uint8: as in `resize`.

    Returns:
      One (N, h, w, C) array per scale.
    """
    if pyramid.stretch_size is not None:
        images = stretch(images, pyramid.stretch_size, antialias=False)
        if uint8:  # to the nearest level, as a file holds it
            images = _from_levels(jnp.rint(255.0 * jnp.clip((images + 1) / 2, 0.0, 1.0)))
    finest_size = pyramid.sizes[-1]
    finest = resize(images, pyramid.scale1, finest_size, uint8=uint8)
    stop = pyramid.num_scales - 1
    return tuple(
        resize(finest, pyramid.ratio ** (stop - n), size, uint8=uint8)
        for n, size in enumerate(pyramid.sizes)
    )
