"""Drawing samples from trained members, batched on the device.

The official procedure (SinGAN paper, section 4): scales below the start scale get the
reconstruction's noise, those from it on get fresh noise. Other output sizes come from larger noise
maps; the image of the coarser scales is cropped or stretched to fit them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax import generate, sharding
from singan_jax.config import Config
from singan_jax.errors import InputError
from singan_jax.generate import FrozenScale
from singan_jax.pyramid import Pyramid

_PIXELS_PER_CALL = 2**22  # drawn at a time per member, to bound memory and show progress


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to draw from members of one shape.

    Attributes:
      config: of the fleet.
      pyramid: of the members.
      channels: of their images.
      num_scales: scales to run; all finished ones by default in `fleet`.
      start_scale: first scale with fresh noise; coarser ones reconstruct.
      scale_v: output height over trained height.
      scale_h: output width over trained width.
    """

    config: Config
    pyramid: Pyramid
    channels: int
    num_scales: int
    start_scale: int = 0
    scale_v: float = 1.0
    scale_h: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_scale < self.num_scales:
            raise InputError(
                f"start scale {self.start_scale} is out of range; the fleet has scales 0 to "
                f"{self.num_scales - 1}"
            )
        if min(self.noise_size(self.start_scale)) < 1:
            raise InputError(
                f"scale_v={self.scale_v}, scale_h={self.scale_h} leave no pixels at scale "
                f"{self.start_scale}; both must be well above 0"
            )
        last = self.num_scales - 1
        require_memory(self.config, self.noise_size(last), last)

    def noise_size(self, scale: int) -> tuple[int, int]:
        """(height, width) of the fresh noise at a scale, and so of its output."""
        height, width = self.pyramid.sizes[scale]
        return int(height * self.scale_v), int(width * self.scale_h)

    def prev_size(self, scale: int) -> tuple[int, int]:
        """(height, width) to which the enlarged coarser image is cropped at a scale."""
        height, width = self.pyramid.sizes[scale]
        return round(self.scale_v * height), round(self.scale_h * width)


def require_memory(config: Config, size: tuple[int, int], scale: int) -> None:
    """Refuses an output that surely does not fit into a device's memory.

    Args:
      config: of the member.
      size: (height, width) wanted.
      scale: whose generator makes it.

    Raises:
      InputError: it does not fit.
    """
    # Two layers of activations, and the matrices of the resize before in both precisions.
    numbers = 2 * config.width(scale) * math.prod(size) + 3 * sum(n * n for n in size)
    limit = sharding.memory()
    if 4 * numbers > limit:
        raise InputError(
            f"an output of {size[1]}x{size[0]} pixels needs {4 * numbers / 1e9:.1f} GB of memory "
            f"or more, and the device has {limit / 1e9:.1f} GB; ask for a smaller one"
        )


def fresh_noise(plan: Plan, key: jax.Array) -> list[jax.Array]:
    """(1, h, w, 1 or C) noise of each scale from the start scale on."""
    maps = []
    for n in range(plan.start_scale, plan.num_scales):
        shape = generate.noise_shape(plan.config, plan.noise_size(n), n, plan.channels)
        maps.append(jax.random.normal(jax.random.fold_in(key, n), (1, *shape)))
    return maps


def refine(
    plan: Plan,
    scales: Sequence[FrozenScale],
    prev: jax.Array,
    noises: Sequence[jax.Array],
    first: int = 0,
) -> jax.Array:
    """Runs the scales from `first` on.

    Args:
      plan: sizes to crop to.
      scales: all frozen scales of the member, coarsest first.
      prev: (N, h, w, C), what enters scale `first`.
      noises: (N, h, w, 1 or C), one for each scale to run.
      first: index of the first of them.

    Returns:
      (N, H, W, C), the output of the last.
    """
    image = prev
    for n, noise in enumerate(noises, first):
        if n > first:
            prev = generate.enlarge(plan.config, plan.pyramid, image, plan.prev_size(n))
        image = generate.run_scale(plan.config, n, scales[n], prev, noise)
    return image


def sample_one(
    plan: Plan, scales: Sequence[FrozenScale], key: jax.Array, index: jax.Array
) -> jax.Array:
    """One sample of one member.

    Args:
      plan: what to draw.
      scales: the member's frozen scales, at least `plan.num_scales`.
      key: the member's sampling key.
      index: which sample; the same index gives the same sample however many are drawn. Of a model
        of several images, it takes turns in which of them is reconstructed below the start scale.

    Returns:
      (H, W, C) in about [-1, 1].
    """
    coarse = scales[: plan.start_scale]
    noises = [scale.z_rec[index % len(scale.z_rec)][None] for scale in coarse]
    noises += fresh_noise(plan, jax.random.fold_in(key, index))
    prev = jnp.zeros((1, *generate.image_size(plan.config, noises[0]), plan.channels))
    return refine(plan, scales, prev, noises)[0]


def each(one: Callable[[jax.Array], jax.Array], indices: jax.Array) -> jax.Array:
    """Stacks `one(index)`: made one after another on CPU, elsewhere as one batch."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(one, indices)
    return jax.vmap(one)(indices)


@functools.cache
def _program(plan: Plan, count: int) -> Any:
    def draw_member(scales: Sequence[FrozenScale], key: jax.Array, first: jax.Array) -> jax.Array:
        return each(functools.partial(sample_one, plan, scales, key), first + jnp.arange(count))

    return sharding.over_members(draw_member)


def blocks(
    plan: Plan, scales: Sequence[FrozenScale], keys: jax.Array, count: int
) -> Iterator[np.ndarray]:
    """Samples of a stack of members, see `sample_one`.

    Args:
      plan: what to draw.
      scales: frozen scales with a leading members axis, at least `plan.num_scales`.
      keys: (members,) sampling keys.
      count: samples of each.

    Returns:
      (members, n, H, W, C) float32: the first n samples of each, the next, to the last.
    """
    stacked = (tuple(scales[: plan.num_scales]), keys)
    pixels = math.prod(plan.noise_size(plan.num_scales - 1)) * plan.channels
    return spread_blocks(functools.partial(_program, plan), stacked, count, pixels)


def draw(plan: Plan, scales: Sequence[FrozenScale], keys: jax.Array, count: int) -> np.ndarray:
    """All of `blocks` in one array, (members, count, H, W, C) float32."""
    return np.concatenate(list(blocks(plan, scales, keys, count)), axis=1)


def spread_blocks(
    build: Callable[[int], Any], stacked: Any, count: int, pixels: int
) -> Iterator[np.ndarray]:
    """Draws images of each member, so many at a time as memory allows.

    Where members are fewer than devices, the images of each are split over several.

    Args:
      build: makes the program that draws a given number of images of each member, one after the
        other; it takes `stacked` and, per member, the index of the first.
      stacked: arguments with a leading members axis.
      count: images of each member.
      pixels: numbers in an image.

    Returns:
      (members, n, ...) of what the program draws, consecutive blocks of it.
    """
    members = len(jax.tree.leaves(stacked)[0])
    at_once = min(count, max(1, _PIXELS_PER_CALL // pixels))
    lanes = max(1, min(at_once, sharding.padded_size(1) // members))  # of each member
    block = -(-at_once // lanes)
    owner = np.repeat(np.arange(members), lanes)
    lane = np.tile(np.arange(lanes, dtype=np.int32), members)
    spread_out = jax.tree.map(lambda x: x[owner], stacked)
    for first in range(0, count, lanes * block):
        arguments = sharding.padded((*spread_out, first + lane * block), len(owner))
        images = build(block)(*sharding.to_devices(arguments))
        images = sharding.to_host(images, len(owner))  # (members * lanes, block, ...)
        yield images.reshape(members, lanes * block, *images.shape[2:])[:, : count - first]


def spread(build: Callable[[int], Any], stacked: Any, count: int, pixels: int) -> np.ndarray:
    """All of `spread_blocks` in one array, (members, count, ...)."""
    return np.concatenate(list(spread_blocks(build, stacked, count, pixels)), axis=1)
