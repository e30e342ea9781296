"""What members bring into training besides their images: random keys and hyperparameters."""

from collections.abc import Sequence

import jax
import numpy as np

from singan_jax.config import Config
from singan_jax.scale.train_step import Hyper
from singan_jax.workdir.record import Member


def member_keys(seed: int, members: Sequence[Member]) -> jax.Array:
    """Random keys, (members,): from seed, image and attempt, never from a place in the fleet."""
    words = [(int(m.digest[:8], 16), int(m.digest[8:16], 16), m.attempt) for m in members]
    return _fold_in(jax.random.key(seed), np.array(words, np.uint32))


@jax.jit
def _fold_in(key: jax.Array, words: jax.Array) -> jax.Array:
    def fold_in(own: jax.Array) -> jax.Array:
        folded = key
        for word in own:
            folded = jax.random.fold_in(folded, word)
        return folded

    return jax.vmap(fold_in)(words)


def hypers(config: Config, members: Sequence[Member]) -> Hyper:
    """The hyperparameters of members, each (members,)."""
    each = [Hyper.of(config, member.settings) for member in members]
    return jax.tree.map(lambda *values: np.stack(values), *each)
