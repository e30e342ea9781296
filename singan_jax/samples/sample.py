"""Drawing samples from trained members, batched on the device.

The official procedure (SinGAN paper, section 4): scales below the start scale get the
reconstruction's noise, those from it on get fresh noise. Other output sizes come from larger noise
maps; the image of the coarser scales is cropped or stretched to fit them.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax import backend
from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.devices.packs import Packs
from singan_jax.errors import InputError
from singan_jax.samples.blocks import draw_blocks, map_or_vmap
from singan_jax.scale import generate
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.isolation import isolated_images
from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.pyramid import Pyramid


@dataclasses.dataclass(frozen=True)
class SamplePlan:
    """What to draw from members of one shape.

    Attributes:
      config: of the fleet.
      pyramid: of the members.
      channels: of their images.
      num_scales: number of scales to run; a `TrainedFleet` runs all finished ones.
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

    @property
    def numbers(self) -> int:
        """Height times width times channels of an image."""
        return math.prod(self.noise_size(self.num_scales - 1)) * self.channels

    def noise_size(self, scale: int) -> tuple[int, int]:
        """(height, width) of the fresh noise at a scale, and so of its output."""
        height, width = self.pyramid.sizes[scale]
        return int(height * self.scale_v), int(width * self.scale_h)

    def prev_size(self, scale: int) -> tuple[int, int]:
        """(height, width) to which the enlarged coarser image is cropped at a scale."""
        height, width = self.pyramid.sizes[scale]
        return round(self.scale_v * height), round(self.scale_h * width)


def require_memory(config: Config, size: tuple[int, int], scale: int) -> None:
    """Refuses an output that certainly exceeds a device's memory.

    Args:
      config: of the member.
      size: (height, width) wanted.
      scale: index of the scale whose generator makes it.

    Raises:
      InputError: it does not fit.
    """
    # Two layers of activations, and the matrices of the preceding resize in both precisions.
    numbers = 2 * config.width(scale) * math.prod(size) + 3 * sum(n * n for n in size)
    limit = sharding.memory()
    if 4 * numbers > limit:
        raise InputError(
            f"an output of {size[1]}x{size[0]} pixels needs {4 * numbers / 1e9:.1f} GB of memory "
            f"or more, and the device has {limit / 1e9:.1f} GB; ask for a smaller one"
        )


def fresh_noise(plan: SamplePlan, key: jax.Array) -> list[jax.Array]:
    """(1, h, w, 1 or C) noise of each scale from the start scale on."""
    maps = []
    for n in range(plan.start_scale, plan.num_scales):
        shape = generate.noise_shape(plan.config, plan.noise_size(n), n, plan.channels)
        maps.append(jax.random.normal(jax.random.fold_in(key, n), (1, *shape)))
    return maps


def run(
    plan: SamplePlan,
    scales: Sequence[FrozenScale],
    prev: jax.Array,
    noises: Sequence[jax.Array],
    first: int = 0,
    layout: Layout = PLAIN,
) -> jax.Array:
    """The output of the last scale, (N, H, W, C), at the plan's size; see `generate.run_scales`."""
    settings = plan.config, plan.pyramid
    sizes = [plan.prev_size(n) for n in range(len(plan.pyramid.sizes))]
    return generate.run_scales(
        *settings, scales, noises, prev, first=first, prev_sizes=sizes, layout=layout
    )[-1]


def _noises(
    plan: SamplePlan, scales: Sequence[FrozenScale], key: jax.Array, index: jax.Array
) -> list[jax.Array]:
    """The (1, h, w, 1 or C) maps of one sample, of each scale."""
    coarse = scales[: plan.start_scale]
    noises = [scale.z_rec[index % len(scale.z_rec)][None] for scale in coarse]
    return noises + fresh_noise(plan, jax.random.fold_in(key, index))


def sample_one(
    plan: SamplePlan, scales: Sequence[FrozenScale], key: jax.Array, index: jax.Array
) -> jax.Array:
    """One sample of one member.

    Args:
      plan: what to draw.
      scales: the member's frozen scales, at least `plan.num_scales`.
      key: the member's sampling key.
      index: which sample; the same index gives the same sample however many are drawn. Of a model
        of several images, samples take turns in which one they reconstruct below the start scale.

    Returns:
      (H, W, C) in about [-1, 1].
    """
    noises = _noises(plan, scales, key, index)
    prev = jnp.zeros((1, *generate.image_size(plan.config, noises[0]), plan.channels))
    return run(plan, scales, prev, noises)[0]


def sample_pack(
    plan: SamplePlan,
    count: int,
    layout: Layout,
    scales: Sequence[FrozenScale],
    keys: jax.Array,
    firsts: jax.Array,
) -> jax.Array:
    """Samples of P members side by side, all as one batch.

    Args:
      plan: what to draw.
      count: samples of each member.
      layout: of a pack.
      scales: the members' frozen scales, (P, ...).
      keys: (P,) sampling keys.
      firsts: (P,) indices of the first sample of each.

    Returns:
      (P, count, H, W, C), as `sample_one` gives them.
    """

    def of_member(
        scales: Sequence[FrozenScale], key: jax.Array, first: jax.Array
    ) -> list[jax.Array]:
        return jax.vmap(functools.partial(_noises, plan, scales, key))(first + jnp.arange(count))

    maps = [maps[:, :, 0] for maps in jax.vmap(of_member)(scales, keys, firsts)]
    noises = layout.pack(maps)  # (count, h, w, P * C)
    channels = layout.count * plan.channels
    prev = jnp.zeros((count, *generate.image_size(plan.config, noises[0]), channels))

    def draw(scales: Sequence[FrozenScale]) -> jax.Array:
        return run(plan, scales, prev, noises, layout=layout)

    images = isolated_images(layout, draw, layout.pack(tuple(scales)))
    one_each = (layout.count, *images.shape[:-1], plan.channels)
    like: Any = jax.ShapeDtypeStruct(one_each, images.dtype)
    unpacked: jax.Array = layout.unpack(images, like)
    return unpacked


@backend.cached()
def program(plan: SamplePlan, count: int) -> Any:
    """Draws `count` samples of each member.

    Returns:
      A function of the members' frozen scales, their sampling keys and the index of the first
      sample of each; it gives (members, count, H, W, C).
    """

    def draw_member(
        scales: Sequence[FrozenScale], key: jax.Array, first: jax.Array, layout: Layout = PLAIN
    ) -> jax.Array:
        if layout.members:
            return sample_pack(plan, count, layout, scales, key, first)
        return map_or_vmap(
            functools.partial(sample_one, plan, scales, key), first + jnp.arange(count)
        )

    last = plan.num_scales - 1  # most of the work is there
    width, size = plan.config.width(last), plan.noise_size(last)
    packs = functools.partial(Packs.of, width=width, size=size, images=count)
    return sharding.over_members(draw_member, packs=packs)


def sample_blocks(
    plan: SamplePlan, scales: Sequence[FrozenScale], keys: jax.Array, count: int
) -> Iterator[np.ndarray]:
    """Samples of a stack of members, see `sample_one`.

    Args:
      plan: what to draw.
      scales: frozen scales with a leading members axis, at least `plan.num_scales`.
      keys: (members,) sampling keys.
      count: samples of each.

    Returns:
      (members, n, H, W, C) float32: the first n samples of each member, then the next n, and so on.
    """
    stacked = (tuple(scales[: plan.num_scales]), keys)
    return draw_blocks(functools.partial(program, plan), stacked, count, plan.numbers)


def sample_all(
    plan: SamplePlan, scales: Sequence[FrozenScale], keys: jax.Array, count: int
) -> np.ndarray:
    """All of `sample_blocks` in one array, (members, count, H, W, C) float32."""
    return np.concatenate(list(sample_blocks(plan, scales, keys, count)), axis=1)
