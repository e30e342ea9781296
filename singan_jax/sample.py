"""Drawing samples from trained members, batched on the device.

The official procedure (SinGAN paper, section 4): scales below the start scale get the
reconstruction's noise, those from it on get fresh noise. Other output sizes come from larger noise
maps; the image of the coarser scales is cropped or stretched to fit them.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax import generate, sharding
from singan_jax.config import Config
from singan_jax.errors import InputError
from singan_jax.generate import FrozenScale
from singan_jax.pyramid import Pyramid


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

    def noise_size(self, scale: int) -> tuple[int, int]:
        """(height, width) of the fresh noise at a scale, and so of its output."""
        height, width = self.pyramid.sizes[scale]
        return int(height * self.scale_v), int(width * self.scale_h)

    def prev_size(self, scale: int) -> tuple[int, int]:
        """(height, width) to which the enlarged coarser image is cropped at a scale."""
        height, width = self.pyramid.sizes[scale]
        return round(self.scale_v * height), round(self.scale_h * width)


def sample_one(
    plan: Plan, scales: Sequence[FrozenScale], key: jax.Array, index: jax.Array
) -> jax.Array:
    """One sample of one member.

    Args:
      plan: what to draw.
      scales: the member's frozen scales, at least `plan.num_scales`.
      key: the member's sampling key.
      index: which sample; the same index gives the same sample however many are drawn.

    Returns:
      (H, W, C) in about [-1, 1].
    """
    key = jax.random.fold_in(key, index)
    image = jnp.zeros((1, 1, 1, plan.channels))
    for n in range(plan.num_scales):
        if n < plan.start_scale:
            noise = scales[n].z_rec[None]
        else:
            shape = generate.noise_shape(plan.noise_size(n), n, plan.channels)
            noise = jax.random.normal(jax.random.fold_in(key, n), (1, *shape))
        if n == 0:
            prev = jnp.zeros((*noise.shape[:3], plan.channels))
        else:
            prev = generate.enlarge(plan.config, plan.pyramid, image, plan.prev_size(n))
        image = generate.run_scale(plan.config, n, scales[n], prev, noise)
    return image[0]


@functools.cache
def _program(plan: Plan, count: int) -> Any:
    """Draws `count` samples of each member, from a first index on."""

    def draw_member(scales: Sequence[FrozenScale], key: jax.Array, first: jax.Array) -> jax.Array:
        one = functools.partial(sample_one, plan, scales, key)
        return (
            jax.lax.map(one, first + jnp.arange(count))
            if _is_cpu()
            else jax.vmap(one)(first + jnp.arange(count))
        )

    return sharding.over_members(draw_member, shared=1)


def _is_cpu() -> bool:
    return jax.default_backend() == "cpu"


def draw(
    plan: Plan, scales: Sequence[FrozenScale], keys: jax.Array, count: int, first: int = 0
) -> np.ndarray:
    """Samples of a stack of members.

    Args:
      plan: what to draw.
      scales: frozen scales with a leading members axis.
      keys: (members,) sampling keys.
      count: samples per member in this call.
      first: index of the first of them.

    Returns:
      (members, count, H, W, C) float32.
    """
    members = len(keys)
    stacked = (tuple(scales[: plan.num_scales]), keys)
    stacked = sharding.to_devices(sharding.padded(stacked, members))
    images = _program(plan, count)(*stacked, jnp.int32(first))
    return sharding.to_host(images, members)
