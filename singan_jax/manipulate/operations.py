"""The applications of a trained SinGAN (Shaham et al., ICCV 2019, section 4), batched.

Injection feeds an image into a scale other than the coarsest, which then makes up the finer
detail: that is harmonisation, editing and paint-to-image. Super-resolution runs the finest scale
again and again on an enlarged image. (Animation is in `animation`.)
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.errors import InputError
from singan_jax.samples import sample
from singan_jax.samples.blocks import draw_all, map_or_vmap
from singan_jax.samples.sample import SamplePlan
from singan_jax.scale import generate
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid, resize, scaled_size

SUPER_RESOLUTION_MIN_SIZE = 18  # coarsest scale, as in the official code

# --- injection --------------------------------------------------------------------------------


def coarse_input(plan: SamplePlan, image: jax.Array) -> jax.Array:
    """What enters the start scale when an image is injected there.

    The image is shrunk to the scale before, `r**(N - n + 1)`, and enlarged by `1 / r` again, so
    that it lacks the detail that the start scale is to add.

    Args:
      plan: its `start_scale` is n, at least 1.
      image: (H, W, C) in [-1, 1], at the size of scale N, the finest.

    Returns:
      (h, w, C) at the size of the start scale.
    """
    plan_sizes, scale = plan.pyramid.sizes, plan.start_scale
    factor = plan.pyramid.ratio ** (len(plan_sizes) - scale)
    uint8 = plan.config.uint8_resize
    small = resize(image[None], factor, plan_sizes[scale - 1], uint8=uint8)
    return generate.enlarge(plan.config, plan.pyramid, small, plan_sizes[scale])[0]


@functools.cache
def _coarse_inputs(plan: SamplePlan) -> Any:
    return jax.jit(jax.vmap(functools.partial(coarse_input, plan)))


def coarse_inputs(plan: SamplePlan, images: np.ndarray) -> np.ndarray:
    """`coarse_input` of (members, H, W, C) images."""
    return np.asarray(_coarse_inputs(plan)(images))


@functools.cache
def _injection(plan: SamplePlan, count: int) -> Any:
    def inject_member(
        scales: Sequence[FrozenScale], coarse: jax.Array, key: jax.Array, first: jax.Array
    ) -> jax.Array:
        def one(index: jax.Array) -> jax.Array:
            noises = sample.fresh_noise(plan, jax.random.fold_in(key, index))
            return sample.run(plan, scales, coarse[None], noises, plan.start_scale)[0]

        return map_or_vmap(one, first + jnp.arange(count))

    return sharding.over_members(inject_member)


def inject(
    plan: SamplePlan, scales: Sequence[FrozenScale], coarse: np.ndarray, keys: jax.Array, count: int
) -> np.ndarray:
    """Feeds images into the start scale.

    Args:
      plan: the start scale, at least 1, and what to make from it on.
      scales: frozen scales with a leading members axis.
      coarse: (members, h, w, C), what enters the start scale; see `coarse_input`.
      keys: (members,) random keys.
      count: samples of each, which differ in their noise.

    Returns:
      (members, count, H, W, C) float32.
    """
    if plan.start_scale < 1:
        raise InputError(
            "start scale 0 is out of range: an image can be injected from scale 1 on, up to "
            f"{plan.num_scales - 1}"
        )
    stacked = (tuple(scales), coarse, keys)
    return draw_all(functools.partial(_injection, plan), stacked, count, plan.numbers)


# --- super-resolution -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Enlargement:
    """Super-resolution by a factor s, in k steps of t each (SinGAN paper, section 4).

    Attributes:
      config: of the member.
      pyramid: of the member.
      channels: of its image.
      factor: s, above 1.
    """

    config: Config
    pyramid: Pyramid
    channels: int
    factor: float

    def __post_init__(self) -> None:
        _steps(self.factor)
        sample.require_memory(self.config, self.sizes[-1], len(self.pyramid.sizes) - 1)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) after each step."""
        sizes, (count, step) = [self.pyramid.sizes[-1]], _steps(self.factor)
        for _ in range(count):
            sizes.append(scaled_size(sizes[-1], step))
        return sizes[1:]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.pyramid.sizes[-1]
        return int(self.factor * height), int(self.factor * width)


def _steps(factor: float) -> tuple[int, float]:
    """The number of steps, k, and the factor of each, t: t**k = s, t near the third root of 2."""
    if not 1 < factor < math.inf:
        raise InputError(f"factor {factor} of super-resolution must be above 1")
    count = max(1, round(3 * math.log2(factor)))
    return count, factor ** (1 / count)


def super_resolution_settings(factor: float, max_size: int) -> dict[str, float]:
    """Settings with which to train a member for super-resolution, as the official code does.

    Args:
      factor: of the enlargement.
      max_size: longer side of the image, pixels.

    Raises:
      InputError: the factor is not above 1.
    """
    ratio = round(1 / _steps(factor)[1], 6)
    return {
        "scale_factor": ratio,
        "alpha_rec": 100.0,
        "min_size": SUPER_RESOLUTION_MIN_SIZE,
        "max_size": max_size,
    }


def enlarge_with(
    plan: Enlargement, finest: FrozenScale, image: jax.Array, noises: Sequence[jax.Array]
) -> jax.Array:
    """Enlarges by t and runs the finest scale, k times.

    Args:
      plan: the factor.
      finest: the member's finest scale.
      image: (H, W, C) in [-1, 1], at the size of the finest scale.
      noises: one (1, h, w, 1 or C) map per step.

    Returns:
      (s H, s W, C), rounded down.
    """
    step, scale = _steps(plan.factor)[1], len(plan.pyramid.sizes) - 1
    images = image[None]
    for size, noise in zip(plan.sizes, noises, strict=True):
        images = resize(images, step, size, uint8=plan.config.uint8_resize)
        images = generate.run_scale(plan.config, scale, finest, images, noise)
    return images[0, : plan.size[0], : plan.size[1]]


@functools.cache
def _enlargement(plan: Enlargement, count: int) -> Any:
    def enlarge_member(
        finest: FrozenScale, image: jax.Array, key: jax.Array, first: jax.Array
    ) -> jax.Array:
        def one(index: jax.Array) -> jax.Array:
            own = jax.random.fold_in(key, index)
            # The official code counts these passes as scales: the first has one channel of noise.
            shapes = [
                generate.noise_shape(plan.config, size, n, plan.channels)
                for n, size in enumerate(plan.sizes)
            ]
            noises = [
                jax.random.normal(jax.random.fold_in(own, n), (1, *shape))
                for n, shape in enumerate(shapes)
            ]
            return enlarge_with(plan, finest, image, noises)

        return map_or_vmap(one, first + jnp.arange(count))

    return sharding.over_members(enlarge_member)


def super_resolve(
    plan: Enlargement, finest: FrozenScale, images: np.ndarray, keys: jax.Array, count: int
) -> np.ndarray:
    """Enlarges images beyond the size that members were trained at.

    Args:
      plan: the factor.
      finest: the finest scale, with a leading members axis.
      images: (members, H, W, C) in [-1, 1], at the size of the finest scale.
      keys: (members,) random keys.
      count: samples of each, which differ in their noise.

    Returns:
      (members, count, int(s H), int(s W), C) float32.
    """
    numbers = math.prod(plan.size) * plan.channels
    stacked = (finest, images, keys)
    return draw_all(functools.partial(_enlargement, plan), stacked, count, numbers)
