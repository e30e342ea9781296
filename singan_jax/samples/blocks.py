"""Images of many members in blocks: as many at a time as memory allows, over all devices."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from singan_jax.backend import backend
from singan_jax.devices import sharding

_PIXELS_PER_CALL = 2**22  # drawn at a time per member, to bound memory and show progress


def map_or_vmap(one: Callable[[jax.Array], jax.Array], indices: jax.Array) -> jax.Array:
    """Stacks `one(index)`, computed one after another on CPU, elsewhere as one batch."""
    if backend() == "cpu":
        return jax.lax.map(one, indices)
    return jax.vmap(one)(indices)


def draw_blocks(
    build: Callable[[int], Any], stacked: Any, count: int, numbers: int
) -> Iterator[np.ndarray]:
    """Draws images of each member, as many at a time as memory allows.

    Where there are fewer members than devices, each member's images are split over several.

    Args:
      build: makes the program that draws a given number of images of each member, one after the
        other; it takes `stacked` and, per member, the index of the first image.
      stacked: arguments with a leading members axis.
      count: images to draw of each member.
      numbers: height times width times channels of an image.

    Returns:
      Consecutive blocks of what the program draws, (members, n, ...) each.
    """
    members = len(jax.tree.leaves(stacked)[0])
    at_once = min(count, max(1, _PIXELS_PER_CALL // numbers))
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


def draw_all(build: Callable[[int], Any], stacked: Any, count: int, numbers: int) -> np.ndarray:
    """All of `draw_blocks` in one array, (members, count, ...)."""
    return np.concatenate(list(draw_blocks(build, stacked, count, numbers)), axis=1)
