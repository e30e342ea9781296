"""Keeps a member that goes wrong from spoiling those that share its pack."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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

    def of_some(tried: jax.Array) -> tuple[Any, Any]:
        new, metrics = step(*_without(layout, ~tried, scales, task, state))
        return (new, metrics), (metrics, _weights(new))

    nothing = {name: jnp.zeros(state.healthy.shape) for name in METRICS}
    return _attempted(layout, of_some, state.healthy, (state, nothing))


def isolated_images(
    layout: Layout,
    draw: Callable[[Sequence[FrozenScale]], jax.Array],
    scales: Sequence[FrozenScale],
) -> jax.Array:
    """Images of a pack in which no member feels that another's are not finite, as `isolated`.

    Args:
      layout: of a pack.
      draw: makes images of frozen scales.
      scales: those of the pack.
    """

    def of_some(tried: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = draw(zeroed(layout, ~tried, scales))
        return drawn, drawn

    everyone, images = jnp.ones(layout.count, bool), jax.eval_shape(draw, scales)
    return _attempted(layout, of_some, everyone, jnp.zeros(images.shape, images.dtype))


def _attempted(
    layout: Layout, of_some: Callable[[jax.Array], tuple[T, Any]], members: jax.Array, before: T
) -> T:
    """What `of_some` of these members gives; of the others, what was before.

    Args:
      layout: of a pack.
      of_some: computes without what other members bring in; gives its result, and what shows
        whether that is finite.
      members: which are wanted, (P,) of bool.
      before: is kept of the others.
    """
    numbers = jnp.arange(layout.count)

    def attempt(carry: tuple) -> tuple:
        number, _, after = carry
        tried = members & ((number < 0) | (numbers == number))
        new, shown = of_some(tried)
        sound = (layout.finite(shown) | ~tried).all()
        return number + 1, sound & (number < 0), layout.select(tried, new, after)

    def unfinished(carry: tuple) -> jax.Array:
        number, sound, _ = carry
        return (number < 0) | (~sound & (number < layout.count))

    first = (jnp.int32(-1), jnp.zeros((), bool), before)
    *_, after = jax.lax.while_loop(unfinished, attempt, first)
    return after


def zeroed(layout: Layout, which: jax.Array, tree: T) -> T:
    """Zeros in place of what some members bring in."""
    return layout.select(which, jax.tree.map(jnp.zeros_like, tree), tree)


def _without(
    layout: Layout,
    others: jax.Array,
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
) -> tuple[Sequence[FrozenScale], Task, ScaleState]:
    """Zeros in place of what some members bring into products of the whole pack."""
    without = functools.partial(zeroed, layout, others)
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
