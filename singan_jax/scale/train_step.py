"""One iteration of a scale (SinGAN paper, section 2.3): critic steps, then generator steps.

Pure functions of a member's state and of everything random in the iteration, so that recorded
draws replay a run of the original code.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from singan_jax.config import HYPERPARAMETERS, Config
from singan_jax.scale import generate, losses
from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.networks import Arithmetic, Discriminator, Variables, train_pass
from singan_jax.scale.optimiser import Network, restarted, update

# The official code writes a picture of the reconstruction at these iterations; that pass updates
# the running statistics which the frozen generator uses, so it belongs to the algorithm.
_SNAPSHOT_EVERY = 500

METRICS = (
    "critic_loss",
    "real_score",
    "fake_score",
    "gradient_penalty",
    "adversarial_loss",
    "rec_loss",
)


class ScaleState(NamedTuple):
    """What changes while a scale trains.

    Attributes:
      generator: network G.
      discriminator: network D.
      z_rec: (images, h, w, 1 or C) reconstruction noise of each image.
      healthy: False once a loss went wrong; the state stays as it was before that iteration.
      failed_at: iteration at which it did, or -1.
    """

    generator: Network
    discriminator: Network
    z_rec: jax.Array
    healthy: jax.Array
    failed_at: jax.Array


class Hyper(NamedTuple):
    """Hyperparameters that may differ from member to member; scalars, see `Config`."""

    lr_g: jax.Array
    lr_d: jax.Array
    lambda_gp: jax.Array
    alpha_rec: jax.Array
    noise_amp: jax.Array

    @classmethod
    def of(cls, config: Config, settings: Mapping[str, float]) -> "Hyper":
        """The values of a config, overridden by the `settings` of one member."""
        values = {name: settings.get(name, getattr(config, name)) for name in HYPERPARAMETERS}
        return cls(**{name: jnp.asarray(value, float) for name, value in values.items()})


class Task(NamedTuple):
    """What a scale is trained on; fixed while it trains.

    Attributes:
      key: the member's random key (typed, scalar).
      hyper: the member's hyperparameters.
      real: (images, h, w, C) at this scale; one image, unless several train one model together.
      rec_prev: (images, h, w, C) reconstructions of the coarser scales, enlarged to this one.
      noise_amp: scalar.
    """

    key: jax.Array
    hyper: Hyper
    real: jax.Array
    rec_prev: jax.Array
    noise_amp: jax.Array


class Draws(NamedTuple):
    """Everything random in one iteration.

    Attributes:
      noise: (h, w, 1 or C) for this scale's generator.
      prev: (d_steps, h, w, C) random images of the coarser scales, one per critic step.
      alpha: (d_steps,) mixing weights of the gradient penalty, in [0, 1].
      pick: (d_steps,) which image each critic step sees; the generator steps reconstruct the last.
      z_rec: (images, h, w, 1 or C) used where `redraw_z_rec` is set, at scale 0.
    """

    noise: jax.Array
    prev: jax.Array
    alpha: jax.Array
    pick: jax.Array
    z_rec: jax.Array


def _picked(layout: Layout, images: jax.Array, pick: jax.Array) -> jax.Array:
    """(images, h, w, C) to the one picked, (1, h, w, C)."""
    if len(images) == 1:
        return images
    if layout.members:
        chosen = layout.spread(jnp.arange(len(images))[:, None] == pick, images.shape[-1])
        return jnp.where(chosen[:, None, None], images, 0).sum(0, keepdims=True)
    return jax.lax.dynamic_index_in_dim(images, pick)


def modules(
    config: Config, scale: int, layout: Layout = PLAIN
) -> tuple[generate.Generator, Discriminator]:
    """Generator and discriminator of a scale."""
    return (
        generate.generator_at(config, scale, layout),
        Discriminator(config.width(scale), config.num_layers, Arithmetic.of(config), layout),
    )


def _critic_steps(
    config: Config,
    scale: int,
    state: ScaleState,
    task: Task,
    draws: Draws,
    lr: jax.Array,
    layout: Layout,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """All critic steps of an iteration; the generator's weights do not change."""
    generator, discriminator = modules(config, scale, layout)
    prev = generate.pad(draws.prev, config.padding)
    noisy = generate.noisy_input(prev, draws.noise[None], task.noise_amp, layout)
    fakes, g_variables = train_pass(generator, state.generator.variables, noisy, prev)

    def step(network: Network, inputs: tuple) -> tuple[Network, dict[str, jax.Array]]:
        fake, alpha, pick = inputs
        real = _picked(layout, task.real, pick)

        def loss(params: Variables) -> tuple[jax.Array, tuple]:
            variables = {**network.variables, "params": params}
            return losses.critic_loss(
                discriminator, variables, real, fake[None], alpha, task.hyper.lambda_gp
            )

        gradients, (parts, variables) = jax.grad(loss, has_aux=True)(network.variables["params"])
        network = network._replace(variables=variables)
        return update(config, network, gradients, lr, layout), parts

    network, parts = jax.lax.scan(step, state.discriminator, (fakes, draws.alpha, draws.pick))
    g_network = state.generator._replace(variables=g_variables)
    return state._replace(generator=g_network, discriminator=network), parts


def _generator_steps(
    config: Config,
    scale: int,
    state: ScaleState,
    task: Task,
    draws: Draws,
    lr: jax.Array,
    layout: Layout,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """All generator steps of an iteration, on its last `prev`; the critic does not change."""
    generator, discriminator = modules(config, scale, layout)
    # Both passes of a step, on the random and on the reconstruction input, go as one batch.
    real, rec_prev, z_rec = (
        _picked(layout, images, draws.pick[-1])
        for images in (task.real, task.rec_prev, state.z_rec)
    )
    prev = generate.pad(jnp.concatenate([draws.prev[-1:], rec_prev]), config.padding)
    noise = jnp.concatenate([draws.noise[None], z_rec])
    noisy = generate.noisy_input(prev, noise, task.noise_amp, layout)

    def step(carry: tuple[Network, Variables], _: None) -> tuple:
        network, d_variables = carry

        def loss(params: Variables) -> tuple[jax.Array, tuple]:
            variables = {**network.variables, "params": params}
            images, variables = train_pass(generator, variables, noisy, prev)
            scores, after = train_pass(discriminator, d_variables, images[:1])
            adversarial = -layout.mean(scores)
            rec = task.hyper.alpha_rec * losses.reconstruction_loss(images[1:], real, layout)
            parts = {"adversarial_loss": adversarial, "rec_loss": rec}
            return (adversarial + rec).sum(), (parts, variables, after)

        gradients, (parts, variables, after) = jax.grad(loss, has_aux=True)(
            network.variables["params"]
        )
        network = network._replace(variables=variables)
        return (update(config, network, gradients, lr, layout), after), parts

    carry = (state.generator, state.discriminator.variables)
    parts: dict[str, jax.Array]
    (network, d_variables), parts = jax.lax.scan(step, carry, length=config.g_steps)
    d_network = state.discriminator._replace(variables=d_variables)
    return state._replace(generator=network, discriminator=d_network), parts


def _snapshot_pass(
    config: Config,
    scale: int,
    state: ScaleState,
    task: Task,
    pick: jax.Array,
    in_round: jax.Array,
    layout: Layout,
) -> ScaleState:
    """The pass in which the official code draws a reconstruction, where one is due."""
    generator, _ = modules(config, scale, layout)
    last = (config.round_steps or config.steps_per_scale) - 1
    due = (in_round % _SNAPSHOT_EVERY == 0) | (in_round == last)

    def render(variables: Variables) -> Variables:
        prev = generate.pad(_picked(layout, task.rec_prev, pick), config.padding)
        noisy = generate.noisy_input(
            prev, _picked(layout, state.z_rec, pick), task.noise_amp, layout
        )
        return train_pass(generator, variables, noisy, prev)[1]

    variables = jax.lax.cond(due, render, lambda v: v, state.generator.variables)
    return state._replace(generator=state.generator._replace(variables=variables))


def iterate(
    config: Config,
    scale: int,
    state: ScaleState,
    task: Task,
    draws: Draws,
    iteration: jax.Array,
    layout: Layout = PLAIN,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """One iteration: `d_steps` critic and `g_steps` generator steps.

    Args:
      config: of the member.
      scale: index of the scale.
      state: before the iteration.
      task: what the scale is trained on.
      draws: the random part of the iteration.
      iteration: its index within the scale, from 0.
      layout: of all these arrays.

    Returns:
      The state after it, and the `METRICS` as means over its steps. Where a loss is not finite or
      exceeds `divergence_limit`, the state returned is the one before, marked as not healthy.
    """
    before = state
    in_round = iteration % config.round_steps if config.round_steps else iteration
    if config.round_steps:
        state = jax.lax.cond(in_round == 0, lambda s: _fresh_optimisers(s), lambda s: s, state)
    if config.redraw_z_rec and scale == 0:
        state = state._replace(z_rec=draws.z_rec)
    decay = jnp.where(in_round >= config.lr_decay_step, config.lr_decay, 1.0)
    state, d_parts = _critic_steps(
        config, scale, state, task, draws, task.hyper.lr_d * decay, layout
    )
    state, g_parts = _generator_steps(
        config, scale, state, task, draws, task.hyper.lr_g * decay, layout
    )
    state = _snapshot_pass(config, scale, state, task, draws.pick[-1], in_round, layout)
    metrics = {name: part.mean(0) for name, part in {**d_parts, **g_parts}.items()}
    sane = jnp.array([jnp.abs(metrics[name]) for name in METRICS]) < config.divergence_limit
    healthy = before.healthy & sane.all(0)  # NaN compares as not less
    state = layout.select(healthy, state, before)
    failed_at = jnp.where(before.healthy & ~healthy, iteration, before.failed_at)
    return state._replace(healthy=healthy, failed_at=failed_at), metrics


def _fresh_optimisers(state: ScaleState) -> ScaleState:
    return state._replace(
        generator=restarted(state.generator), discriminator=restarted(state.discriminator)
    )
