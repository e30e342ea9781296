"""Keeps a member that goes wrong from spoiling those that share its pack."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.layout import Layout
from singan_jax.scale.networks import Variables
from singan_jax.scale.train_step import METRICS, ScaleState, Task

T = TypeVar("T")  # any pytree


def isolated(
    layout: Layout,
    step: Callable[..., tuple[ScaleState, dict[str, jax.Array]]],
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
) -> tuple[ScaleState, dict[str, jax.Array]]:
    """An iteration of a pack in which no member feels that another goes wrong.

    All members are tried together. If anything of any of them comes out not finite, it may have
    come from another (zero times NaN is NaN), so each is tried by itself, the others being zeros.
    As zeros add nothing to a sum, its result is the same, to the bit.

    Args:
      layout: of a pack.
      step: an iteration, of these arguments.
      scales: the frozen coarser scales.
      task: what the scale is trained on.
      state: before the iteration.

    Returns:
      The state after it and the metrics, (P,); of members that are not healthy, the state as it
      was, and metrics of zero.
    """
    members = jnp.arange(layout.count)

    def attempt(carry: tuple) -> tuple:
        number, _, after, metrics = carry
        tried = state.healthy & ((number < 0) | (members == number))
        new, found = step(*_without(layout, ~tried, scales, task, state))
        sound = (layout.finite((found, _weights(new))) | ~tried).all()
        after, metrics = layout.select(tried, (new, found), (after, metrics))
        return number + 1, sound & (number < 0), after, metrics

    def unfinished(carry: tuple) -> jax.Array:
        number, sound, *_ = carry
        return (number < 0) | (~sound & (number < layout.count))

    nothing = {name: jnp.zeros(state.healthy.shape) for name in METRICS}
    first = (jnp.int32(-1), jnp.zeros((), bool), state, nothing)
    *_, after, metrics = jax.lax.while_loop(unfinished, attempt, first)
    return after, metrics


def _without(
    layout: Layout,
    others: jax.Array,
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
) -> tuple[Sequence[FrozenScale], Task, ScaleState]:
    """Zeros in place of what some members bring into products of the whole pack."""

    def without(tree: T) -> T:
        return layout.select(others, jax.tree.map(jnp.zeros_like, tree), tree)

    real, rec_prev, noise_amp = without((task.real, task.rec_prev, task.noise_amp))
    generator, discriminator = (
        network._replace(variables=without(network.variables))
        for network in (state.generator, state.discriminator)
    )
    return (
        [without(frozen) for frozen in scales],
        task._replace(real=real, rec_prev=rec_prev, noise_amp=noise_amp),
        ScaleState(
            generator,
            discriminator,
            without(state.z_rec),
            state.healthy & ~others,
            state.failed_at,
        ),
    )


def _weights(state: ScaleState) -> list[Variables]:
    return [state.generator.variables, state.discriminator.variables]
