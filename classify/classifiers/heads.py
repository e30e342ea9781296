"""Training of linear heads on cached features, many at a time.

Each head is trained by itself, by one program for all; see `sharding.over_members`. The features
are shared: a step gathers its batch's rows.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from classify.cells import EpochMeasures
from classify.classifiers import epochs, training
from classify.classifiers.training import Head, TrainSet, TrainSettings
from data_pipeline.files import limits
from singan_jax.devices import sharding

_BLOCK = 16  # heads a device between two results: seconds of work, and of work lost when stopped
_LOGITS_BYTES = 2**30  # of all heads of a block, which the host measures


class TrainedHead(NamedTuple):
    """A linear classifier.

    Attributes:
      kernel: (features, classes) float32, of the epoch with the least validation loss.
      bias: (classes,) float32, likewise.
      curves: (epochs, 2) float32, cross-entropy: mean over the patches of each epoch, each before
        the step that it was for, and over the validation set after the epoch.
      best_epoch: from 0; the first with the least validation loss.
      measures: of each epoch.
    """

    kernel: np.ndarray
    bias: np.ndarray
    curves: np.ndarray
    best_epoch: int
    measures: EpochMeasures

    @property
    def head(self) -> Head:
        """As it is trained and kept."""
        return {"kernel": self.kernel.T, "bias": self.bias}

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, features) to (n, classes), rows summing to 1."""
        return special.softmax(features @ self.kernel + self.bias, axis=1)


class _Member(NamedTuple):
    """One head's start and its sets, filled up to lengths that several heads share.

    Attributes:
      head: to start from.
      train: (epochs, length) int32.
      train_size: () int32, how many rows of an epoch are real.
      validation: (length,) int32.
      validation_size: () int32, how many are real.
    """

    head: Head
    train: Any
    train_size: Any
    validation: Any
    validation_size: Any


class _State(NamedTuple):
    """A head in training."""

    head: Head
    optimiser: optax.OptState


class _Epoch(NamedTuple):
    """Mean loss over a set, (), and what is said of its rows, (length, classes)."""

    loss: Any
    logits: Any


class _Best(NamedTuple):
    """The head with the least validation loss so far."""

    head: Head
    loss: jax.Array
    epoch: jax.Array


def program(settings: TrainSettings) -> Any:
    """A function of `members` of a block, and of the features and labels: its trained heads."""
    return sharding.over_members(functools.partial(_train, settings), shared=2)


def train_heads(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    sets: Sequence[TrainSet],
    settings: TrainSettings,
) -> Iterator[tuple[int, TrainedHead]]:
    """Trains a head for each set.

    A head depends on its set, the pool and the settings, not on what is trained beside it.

    Args:
      features: (pool, features) float32, finite.
      labels: (pool,) int, below `num_classes`.
      num_classes: length of the output.
      sets: at least one, of rows of the pool.
      settings: of all heads.

    Yields:
      Place in `sets` and the head, in order, as they become ready.

    Raises:
      StudyError: a loss is not finite.
    """
    train = program(settings)
    pool = sharding.to_all_devices((features.astype(np.float32), labels.astype(np.int32)))
    shape = features.shape[1], num_classes
    lengths = _lengths(sets, settings)
    logits_bytes = 4 * settings.epochs * sum(lengths) * num_classes  # of one head
    width = min(_BLOCK * jax.device_count(), max(1, _LOGITS_BYTES // logits_bytes))
    blocks = -(-len(sets) // width)
    size = -(-len(sets) // blocks)
    for start in range(0, len(sets), size):
        block = sets[start : start + size]
        members = [_member(one, shape, lengths, settings.epochs) for one in block]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
        result = train(sharding.to_devices(sharding.padded(stacked, size)), *pool)
        best, trained = sharding.to_host(result, len(block))
        with concurrent.futures.ThreadPoolExecutor(limits.cpus()) as threads:
            measure = functools.partial(_measures, members, trained, labels)
            measured = list(threads.map(measure, range(len(block))))
        for place, one in enumerate(block):
            curves = np.stack([part.loss[place] for part in trained], axis=1)
            training.check_curves(curves, one.key, settings.lr)
            yield (
                start + place,
                TrainedHead(
                    kernel=best.head["kernel"][place].T,
                    bias=best.head["bias"][place],
                    curves=curves,
                    best_epoch=int(best.epoch[place]),
                    measures=measured[place],
                ),
            )


def _measures(
    members: Sequence[_Member], trained: tuple[_Epoch, _Epoch], labels: np.ndarray, place: int
) -> EpochMeasures:
    """Of the head at a place in its block, from what it said of the real rows of its sets."""
    member = members[place]
    n, m = member.train_size, member.validation_size
    train, validation = (part.logits[place] for part in trained)  # (epochs, length, classes)
    return epochs.measure(
        [
            (train[:, :n], labels[member.train[:, :n]]),
            (validation[:, :m], labels[member.validation[:m]]),
        ]
    )


def _round_up(count: int, batch_size: int) -> int:
    """A power of two of batches, so that sets of similar lengths share a compiled program.

    At least two: XLA writes out a loop over a single one, and then may round differently.
    """
    batches = max(2, -(-count // batch_size))
    return batch_size << (batches - 1).bit_length()


def _lengths(sets: Sequence[TrainSet], settings: TrainSettings) -> list[int]:
    """To how many rows training and validation sets are filled up."""
    return [
        _round_up(max(len(rows) for rows in all_rows), settings.batch_size)
        for all_rows in ([one.train for one in sets], [one.validation for one in sets])
    ]


def member(train_set: TrainSet, shape: tuple[int, int], settings: TrainSettings) -> Any:
    """What `program` takes of one head, of (features, classes), that is trained by itself."""
    return _member(train_set, shape, _lengths([train_set], settings), settings.epochs)


def _member(
    train_set: TrainSet, shape: tuple[int, int], lengths: Sequence[int], epochs: int
) -> _Member:
    def filled(rows: np.ndarray, length: int) -> np.ndarray:
        width = [(0, 0)] * (rows.ndim - 1) + [(0, length - rows.shape[-1])]
        return np.pad(rows.astype(np.int32), width, mode="edge")

    return _Member(
        head=training.initial_head(train_set.key, *shape),
        train=filled(training.epoch_rows(train_set, epochs), lengths[0]),
        train_size=np.int32(len(train_set.train)),
        validation=filled(train_set.validation, lengths[1]),
        validation_size=np.int32(len(train_set.validation)),
    )


def _train(
    settings: TrainSettings,
    member: _Member,
    features: jax.Array,
    labels: jax.Array,
) -> tuple[_Best, tuple[_Epoch, _Epoch]]:
    """Trains one head.

    Returns:
      The best head, and of each epoch what came of the training and of the validation set.
    """

    def loss(head: Head, rows: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = training.linear(head, features[rows])
        return training.cross_entropy_sum(logits, labels[rows], real), logits

    def step(state: _State, rows: jax.Array, real: jax.Array, lr: jax.Array) -> tuple:
        evaluate = jax.value_and_grad(loss, has_aux=True)
        found, gradients = evaluate(state.head, rows, real)
        gradients = jax.tree.map(lambda g: g / real.sum(), gradients)
        return _State(*training.adam_step(state.head, gradients, state.optimiser, lr)), found

    def epoch(carry: tuple[_State, _Best], inputs: tuple) -> tuple[tuple[_State, _Best], tuple]:
        (state, best), (number, rows, lr) = carry, inputs
        visit = functools.partial(step, lr=lr)
        state, trained = _over_batches(visit, state, rows, member.train_size, settings)
        _, validated = _over_batches(
            lambda head, rows, real: (head, loss(head, rows, real)),
            state.head,
            member.validation,
            member.validation_size,
            settings,
        )
        better = validated.loss < best.loss
        now = _Best(state.head, validated.loss, number)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), now, best)
        return (state, best), (trained, validated)

    head = member.head
    start = _State(head, training.start_adam(head)), _Best(head, jnp.array(jnp.inf), jnp.array(0))
    inputs = jnp.arange(settings.epochs), member.train, settings.learning_rates()
    (_, best), found = jax.lax.scan(epoch, start, inputs)
    return best, found


def _over_batches(
    visit: Callable[..., tuple[Any, tuple[jax.Array, jax.Array]]],
    state: Any,
    rows: jax.Array,
    count: jax.Array,
    settings: TrainSettings,
) -> tuple[Any, _Epoch]:
    """Goes through the first `count` rows in batches, each with at least one of them.

    Args:
      visit: takes the state, (batch,) rows and whether each is real; gives the state, a sum over
        the real ones and (batch, classes) logits.
      state: to start from.
      rows: (length,) int, a multiple of the batch size.
      count: how many are real.
      settings: of the training.

    Returns:
      The state at the end; the mean over all real rows, and all logits, those of rows that are
      not real undefined.
    """
    size = settings.batch_size

    def body(number: jax.Array, carry: tuple) -> tuple:
        state, total, logits = carry
        start = number * size
        batch = jax.lax.dynamic_slice(rows, (start,), (size,))
        state, (part, said) = visit(state, batch, start + jnp.arange(size) < count)
        return state, total + part, jax.lax.dynamic_update_slice(logits, said, (start, 0))

    _, (_, of_batch) = jax.eval_shape(visit, state, rows[:size], rows[:size] >= 0)
    logits = jnp.zeros((len(rows), of_batch.shape[1]), of_batch.dtype)
    batches = (count + size - 1) // size
    state, total, logits = jax.lax.fori_loop(0, batches, body, (state, jnp.array(0.0), logits))
    return state, _Epoch(total / count, logits)
