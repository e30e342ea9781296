"""Animation: a random walk through the noise of a member (SinGAN paper, supplement).

The walk covers the padding of the noise too, as in the official code, whether the member was
trained with noise or with zeros in the padding.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.errors import InputError
from singan_jax.samples.blocks import draw_all
from singan_jax.scale import generate
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid

_FIRST_STEP = 0.05  # share of fresh noise in the first step, as in the official code


class Walk(NamedTuple):
    """How an animation moves.

    Attributes:
      start_scale: coarsest scale whose noise walks; coarser ones reconstruct the image.
      alpha: pull towards the image, in [0, 1]: at 1 nothing moves.
      beta: smoothness, in [0, 1): how much of its last step the walk repeats.
    """

    start_scale: int
    alpha: float = 0.1
    beta: float = 0.9


def start(z_rec: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The walk's last and last but one noise before the first frame, at one scale."""
    return (1 - _FIRST_STEP) * z_rec + _FIRST_STEP * noise, z_rec


def step(
    walk: Walk, z_rec: jax.Array, last: tuple[jax.Array, jax.Array], noise: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One step of the walk at one scale.

    `z = alpha z_rec + (1 - alpha) (z1 + beta (z1 - z2) + (1 - beta) noise)`, z1 and z2 being the
    last and the last but one.

    Args:
      walk: alpha and beta.
      z_rec: (h + 2p, w + 2p, 1 or C) reconstruction noise, padded by p.
      last: z1 and z2, of that shape.
      noise: fresh, of that shape.

    Returns:
      z and z1.
    """
    z1, z2 = last
    move = walk.beta * (z1 - z2) + (1 - walk.beta) * noise
    return walk.alpha * z_rec + (1 - walk.alpha) * (z1 + move), z1


def padded_z_rec(config: Config, pyramid: Pyramid, scales: Sequence[FrozenScale]) -> list:
    """(h + 2p, w + 2p, 1 or C) reconstruction noise of each scale, of the member's first image.

    Where training padded noise with zeros, they surround it.
    """
    maps = []
    for frozen, (height, _) in zip(scales, pyramid.sizes, strict=True):
        missing = height + 2 * config.padding - frozen.z_rec.shape[1]
        maps.append(generate.pad(frozen.z_rec[:1], missing // 2)[0])
    return maps


def render(
    config: Config, pyramid: Pyramid, scales: Sequence[FrozenScale], maps: Sequence[jax.Array]
) -> jax.Array:
    """The image made from one noise map per scale, each (h + 2p, w + 2p, 1 or C): (H, W, C)."""
    channels = scales[0].generator["params"]["stack"]["kernel"].shape[-1]
    prev = jnp.zeros((1, *pyramid.sizes[0], channels))
    padded = dataclasses.replace(config, noise_padding=True)  # as the maps are
    noises = [noise[None] for noise in maps]
    return generate.run_scales(padded, pyramid, scales, noises, prev)[-1][0]


@functools.cache
def _program(config: Config, pyramid: Pyramid, count: int) -> Any:
    """Renders `count` consecutive frames of each member."""

    def animate_member(
        scales: Sequence[FrozenScale], key: jax.Array, walk: Walk, first: jax.Array
    ) -> jax.Array:
        z_rec = padded_z_rec(config, pyramid, scales)

        def noise(scale: int, step_number: jax.Array | int) -> jax.Array:
            own = jax.random.fold_in(jax.random.fold_in(key, scale), step_number)
            return jax.random.normal(own, z_rec[scale].shape)

        def advance(frame: jax.Array, state: list) -> list:
            return [step(walk, z, state[n], noise(n, frame + 1)) for n, z in enumerate(z_rec)]

        def draw(state: list, frame: jax.Array) -> tuple[list, jax.Array]:
            state = advance(frame, state)
            maps = [
                jnp.where(n >= walk.start_scale, now, still)
                for n, ((now, _), still) in enumerate(zip(state, z_rec, strict=True))
            ]
            return state, render(config, pyramid, scales, maps)

        state = [start(z, noise(n, 0)) for n, z in enumerate(z_rec)]
        # Noise costs next to nothing beside the networks, so each device repeats the walk to here.
        state = jax.lax.fori_loop(0, first, advance, state)
        return jax.lax.scan(draw, state, first + jnp.arange(count))[1]

    return sharding.over_members(animate_member)


def animate(
    config: Config,
    pyramid: Pyramid,
    scales: Sequence[FrozenScale],
    keys: jax.Array,
    walk: Walk,
    num_frames: int,
) -> np.ndarray:
    """Frames of an animation of each member.

    Args:
      config: of the members.
      pyramid: of the members.
      scales: all frozen scales, with a leading members axis.
      keys: (members,) random keys.
      walk: how it moves.
      num_frames: how many.

    Returns:
      (members, num_frames, H, W, C) float32.

    Raises:
      InputError: a setting of the walk is out of range.
    """
    rules = {
        "start_scale": (0 <= walk.start_scale < len(scales), f"0 to {len(scales) - 1}"),
        "alpha": (0 <= walk.alpha <= 1, "0 to 1"),
        "beta": (0 <= walk.beta < 1, "0 to below 1"),
    }
    for name, (good, span) in rules.items():
        if not good:
            raise InputError(f"{name} {getattr(walk, name)} is out of range; it may be {span}")
    walks = jax.tree.map(lambda value: np.full(len(keys), value), walk)
    pixels = math.prod(pyramid.sizes[-1])
    return draw_all(
        functools.partial(_program, config, pyramid),
        (tuple(scales), keys, walks),
        num_frames,
        pixels,
    )
