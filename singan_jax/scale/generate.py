"""The pass through frozen scales, for training and sampling alike."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from singan_jax.config import Config
from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.networks import Arithmetic, Generator, Variables
from singan_jax.scale.pyramid import Pyramid, resize, scaled_size


class FrozenScale(NamedTuple):
    """A trained scale, as sampling needs it.

    Attributes:
      generator: its variables, running statistics included.
      noise_amp: scalar, amplitude of the noise.
      z_rec: (images, h, w, 1 or C) the noise that reconstructs each of the images the member was
        trained on; zero except at scale 0.
    """

    generator: Variables
    noise_amp: jax.Array
    z_rec: jax.Array


def pad(images: jax.Array, width: int) -> jax.Array:
    """Zeros around the pixels of (N, H, W, C) images."""
    return jnp.pad(images, ((0, 0), (width, width), (width, width), (0, 0)))


def _noise_border(config: Config) -> int:
    """Pixels on each side by which a noise map is larger than its image."""
    return config.padding if config.noise_padding else 0


def noise_shape(
    config: Config, size: Sequence[int], scale: int, channels: int
) -> tuple[int, int, int]:
    """Shape of the noise for an image of `size` = (h, w): (h, w, 1 or C).

    At scale 0 a single channel serves all image channels; with `noise_padding` h and w include
    the padding.
    """
    height, width = (side + 2 * _noise_border(config) for side in size)
    return height, width, 1 if scale == 0 else channels


def image_size(config: Config, noise: jax.Array) -> tuple[int, int]:
    """(h, w) of the image that a noise map (..., h, w, C) is for."""
    height, width = (side - 2 * _noise_border(config) for side in noise.shape[-3:-1])
    return height, width


def noisy_input(
    prev: jax.Array, noise: jax.Array, noise_amp: jax.Array, layout: Layout = PLAIN
) -> jax.Array:
    """`noise_amp * noise + prev`, padded, for a padded `prev` and noise with or without padding."""
    width = (prev.shape[1] - noise.shape[1]) // 2
    noise_amp = layout.spread(noise_amp, prev.shape[-1])
    if noise.shape[-1] != prev.shape[-1]:
        noise = layout.spread(noise, prev.shape[-1])
    return prev + noise_amp * pad(noise, width)


def generator_at(config: Config, scale: int, layout: Layout = PLAIN) -> Generator:
    """The generator module of a scale."""
    return Generator(config.width(scale), config.num_layers, Arithmetic.of(config), layout)


def fit(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Crops (N, H, W, C) to `size` at the far ends, then stretches what is still too small.

    Stretching is bilinear with aligned corners. It only happens where an output size is not the
    trained one, as in the official code.
    """
    images = images[:, : size[0], : size[1]]
    for axis, wanted in ((1, size[0]), (2, size[1])):
        if images.shape[axis] < wanted:
            position = jnp.linspace(0.0, images.shape[axis] - 1.0, wanted)
            low = jnp.clip(jnp.floor(position).astype(int), 0, images.shape[axis] - 2)
            weight = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
            near = jnp.take(images, low, axis=axis)
            images = near + weight * (jnp.take(images, low + 1, axis=axis) - near)
    return images


def run_scale(
    config: Config,
    scale: int,
    frozen: FrozenScale,
    prev: jax.Array,
    noise: jax.Array,
    layout: Layout = PLAIN,
) -> jax.Array:
    """Runs one frozen scale.

    Args:
      config: widths and layers.
      scale: its index.
      frozen: its weights.
      prev: (N, h, w, C), the coarser image enlarged to this scale.
      noise: (N, *noise_shape(H, W)); where H, W differ from h, w, `prev` is fitted to them.
      layout: of all these arrays.

    Returns:
      (N, H, W, C).
    """
    height, width = image_size(config, noise)
    padded = pad(prev, config.padding)
    padded = fit(padded, (height + 2 * config.padding, width + 2 * config.padding))
    noisy = noisy_input(padded, noise, frozen.noise_amp, layout)
    image: Any = generator_at(config, scale, layout).apply(
        frozen.generator, noisy, padded, train=False
    )
    return image


def enlarge(
    config: Config, pyramid: Pyramid, images: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Enlarges the (N, h, w, C) output of a scale by 1 / ratio, cropped to at most `size`."""
    factor = 1.0 / pyramid.ratio
    limit = scaled_size((images.shape[1], images.shape[2]), factor)
    size = (min(limit[0], size[0]), min(limit[1], size[1]))
    return resize(images, factor, size, uint8=config.uint8_resize)


def run_scales(
    config: Config,
    pyramid: Pyramid,
    scales: Sequence[FrozenScale],
    noises: Sequence[jax.Array],
    prev: jax.Array,
    *,
    first: int = 0,
    prev_sizes: Sequence[tuple[int, int]] | None = None,
    layout: Layout = PLAIN,
) -> list[jax.Array]:
    """The one walk through frozen scales: each runs on the enlarged output of the one before.

    Args:
      config: of the member.
      pyramid: of the member.
      scales: all frozen scales of the member, coarsest first.
      noises: one (N, *noise_shape) map for each scale to run, from `first` on.
      prev: (N, h, w, C), what enters scale `first`.
      first: index of the first scale to run.
      prev_sizes: (height, width) to which the enlarged image is cropped, for every scale;
        those of the pyramid where None.
      layout: of all these arrays.

    Returns:
      The output of each scale run, (N, H, W, C).
    """
    images: list[jax.Array] = []
    for n, noise in enumerate(noises, first):
        if images:
            prev = enlarge(config, pyramid, images[-1], (prev_sizes or pyramid.sizes)[n])
        images.append(run_scale(config, n, scales[n], prev, noise, layout))
    return images


def coarse_image(
    config: Config,
    pyramid: Pyramid,
    scales: Sequence[FrozenScale],
    noises: Sequence[jax.Array],
    channels: int,
    layout: Layout = PLAIN,
) -> jax.Array:
    """The image of the coarsest `len(scales)` scales, enlarged for the next one.

    Args:
      config: of the member.
      pyramid: of the member.
      scales: trained scales, coarsest first.
      noises: one (N, *noise_shape) map per scale.
      channels: of the image, or of all images of a pack.
      layout: of all these arrays.

    Returns:
      (N, h, w, C) at the size of scale `len(scales)`; at scale 0, one image of zeros.
    """
    count = len(noises[0]) if noises else 1
    prev = jnp.zeros((count, *pyramid.sizes[0], channels))
    if not scales:
        return prev
    image = run_scales(config, pyramid, scales, noises, prev, layout=layout)[-1]
    return enlarge(config, pyramid, image, pyramid.sizes[len(scales)])
