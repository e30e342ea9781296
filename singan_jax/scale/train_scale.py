"""Training one scale of one member: pure functions, no mesh, no fleet.

`begin` makes the state, `train_chunk` advances it by any number of iterations, `finish` freezes
it. All randomness comes from the member's key, the scale and the iteration, so a chunk may end
anywhere without changing the result.
"""

import functools
from collections.abc import Sequence
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp

from singan_jax.config import Config
from singan_jax.scale import generate, losses
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.isolation import isolated
from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.networks import Array, Variables
from singan_jax.scale.optimiser import fresh
from singan_jax.scale.pyramid import Pyramid
from singan_jax.scale.train_step import (
    METRICS,
    Draws,
    Hyper,
    ScaleState,
    Task,
    iterate,
    modules,
)


def scale_key(member_key: jax.Array, scale: int, use: str) -> jax.Array:
    """The key for one `use` at one scale: "init", "z_rec" or "train"."""
    key = jax.random.fold_in(member_key, scale)
    return jax.random.fold_in(key, ("init", "z_rec", "train").index(use))


def initial_networks(
    config: Config, scale: int, key: jax.Array, real: jax.Array
) -> tuple[Variables, ...]:
    """Newly drawn variables of generator and discriminator, for (images, h, w, C)."""
    generator, discriminator = modules(config, scale)
    g_key, d_key = jax.random.split(key)
    padded = generate.pad(real[:1], config.padding)
    return (
        dict(generator.init(g_key, padded, padded, train=True)),
        dict(discriminator.init(d_key, real[:1])),
    )


class Start(NamedTuple, Generic[Array]):
    """What a scale of a member starts from.

    Attributes:
      key: the member's key.
      hyper: the member's hyperparameters.
      real: (images, h, w, C) at this scale.
      rec_prev: (images, h, w, C) enlarged reconstructions of the coarser scales; zeros at scale 0.
      healthy: scalar, False for a member that went wrong at a coarser scale.
      inherited: variables of generator and discriminator of the scale before where `inherits` says
        so; else empty, and new ones are drawn.
    """

    key: jax.Array
    hyper: Hyper
    real: Array
    rec_prev: Array
    healthy: Array
    inherited: tuple[Variables, ...] = ()


def inherits(config: Config, scale: int) -> bool:
    """Whether a scale starts from the weights of the one before, being of the same width."""
    return scale > 0 and config.width(scale) == config.width(scale - 1)


def begin(config: Config, scale: int, start: Start[jax.Array]) -> tuple[Task, ScaleState]:
    """The task of a scale and the state from which it trains."""
    key, hyper, real, rec_prev, healthy, inherited = start
    variables = inherited or initial_networks(config, scale, scale_key(key, scale, "init"), real)
    noise = generate.noise_shape(config, real.shape[1:3], scale, real.shape[-1])
    shape = (len(real), *noise)
    if scale == 0:
        z_rec = jax.random.normal(scale_key(key, scale, "z_rec"), shape)
        noise_amp = jnp.ones(())
    else:
        z_rec = jnp.zeros(shape)
        rmse = jnp.sqrt(losses.reconstruction_loss(rec_prev, real))
        noise_amp = hyper.noise_amp * rmse
    state = ScaleState(
        generator=fresh(config, variables[0]),
        discriminator=fresh(config, variables[1]),
        z_rec=z_rec,
        healthy=healthy & jnp.isfinite(noise_amp),
        failed_at=jnp.int32(-1),  # of the type that iterations return
    )
    return Task(key, hyper, real, rec_prev, noise_amp), state


def draw(
    config: Config,
    pyramid: Pyramid,
    scale: int,
    scales: Sequence[FrozenScale],
    task: Task,
    iteration: jax.Array,
    layout: Layout = PLAIN,
) -> Draws:
    """The random numbers of one iteration and the random images of the coarser scales."""
    images, height, width, channels = task.real.shape
    one = functools.partial(
        _draw_numbers, config, pyramid, scale, (images, height, width, channels // layout.count)
    )
    numbers, noises = layout.each(lambda key: one(key, iteration), task.key)
    if layout.members:
        alpha, pick = numbers.alpha.T, numbers.pick.T  # (d_steps, P)
        numbers, noises = layout.pack((numbers, noises))
        numbers = numbers._replace(alpha=alpha, pick=pick)
    prev = generate.coarse_image(config, pyramid, scales, noises, channels, layout)
    return numbers._replace(prev=jnp.broadcast_to(prev, (config.d_steps, *task.real.shape[1:])))


def _draw_numbers(
    config: Config,
    pyramid: Pyramid,
    scale: int,
    shape: tuple[int, int, int, int],
    member_key: jax.Array,
    iteration: jax.Array,
) -> tuple[Draws, list[jax.Array]]:
    """The random numbers of one member, and its noise of the coarser scales; `prev` is missing."""
    images, height, width, channels = shape
    key = jax.random.fold_in(scale_key(member_key, scale, "train"), iteration)
    uses = ("noise", "prev", "alpha", "pick", "z_rec")
    keys = dict(zip(uses, jax.random.split(key, len(uses)), strict=True))
    own = generate.noise_shape(config, (height, width), scale, channels)
    noises = [
        jax.random.normal(
            jax.random.fold_in(keys["prev"], n),
            (config.d_steps, *generate.noise_shape(config, pyramid.sizes[n], n, channels)),
        )
        for n in range(scale)
    ]
    draws = Draws(
        noise=jax.random.normal(keys["noise"], own),
        prev=jnp.zeros(()),
        alpha=jax.random.uniform(keys["alpha"], (config.d_steps,)),
        pick=jax.random.randint(keys["pick"], (config.d_steps,), 0, images),
        z_rec=jax.random.normal(keys["z_rec"], (images, *own)),
    )
    return draws, noises


def train_chunk(
    config: Config,
    pyramid: Pyramid,
    scale: int,
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
    start: jax.Array,
    stop: jax.Array,
    layout: Layout = PLAIN,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """Iterations `start` to `stop` of a scale, in one loop on the device.

    Args:
      config: of the member.
      pyramid: of the member.
      scale: index of the scale.
      scales: the frozen coarser scales.
      task: what the scale is trained on.
      state: at iteration `start`.
      start: first iteration, a scalar; a traced value, so one program serves every chunk.
      stop: iteration to stop before, likewise.
      layout: how all these arrays lie.

    Returns:
      The state at `stop`, and the means of the metrics over the iterations of the chunk.
    """

    def step(
        iteration: jax.Array, scales: Sequence[FrozenScale], task: Task, state: ScaleState
    ) -> tuple[ScaleState, dict[str, jax.Array]]:
        draws = draw(config, pyramid, scale, scales, task, iteration, layout)
        return iterate(config, scale, state, task, draws, iteration, layout)

    def body(iteration: jax.Array, carry: tuple) -> tuple:
        state, sums = carry
        own = functools.partial(step, iteration)
        if layout.members:
            state, metrics = isolated(layout, own, scales, task, state)
        else:
            state, metrics = own(scales, task, state)
        return state, {name: sums[name] + metrics[name] for name in METRICS}

    def body_if_healthy(iteration: jax.Array, carry: tuple) -> tuple:
        return jax.lax.cond(
            carry[0].healthy.any(), functools.partial(body, iteration), lambda c: c, carry
        )

    sums = {name: jnp.zeros(state.healthy.shape) for name in METRICS}
    state, sums = jax.lax.fori_loop(start, stop, body_if_healthy, (state, sums))
    return state, {name: total / (stop - start) for name, total in sums.items()}


def train_pack(
    config: Config,
    pyramid: Pyramid,
    scale: int,
    layout: Layout,
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """`train_chunk` of P members, whose arrays are stacked: (P, ...)."""
    packed = layout.pack((scales, task, state))
    after, metrics = train_chunk(config, pyramid, scale, *packed, start, stop, layout)
    return layout.unpack(after, state), metrics


def finish(
    config: Config, pyramid: Pyramid, scale: int, task: Task, state: ScaleState
) -> tuple[FrozenScale, jax.Array, jax.Array]:
    """Freezes a trained scale.

    Returns:
      The frozen scale; its reconstructions, (images, h, w, C); and the same enlarged
      for `begin` at the next scale (at the finest scale, to its own size).
    """
    frozen = FrozenScale(state.generator.variables, task.noise_amp, state.z_rec)
    rec = generate.run_scale(config, scale, frozen, task.rec_prev, state.z_rec)
    size = pyramid.sizes[min(scale + 1, pyramid.num_scales - 1)]
    return frozen, rec, generate.enlarge(config, pyramid, rec, size)
