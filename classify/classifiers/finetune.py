"""Training of a backbone's last stage, or of all of it, together with its head.

Batches are split over the devices; norms use the statistics of the whole batch. Every batch has
the same size, a multiple of the number of devices, so that there is one compiled program: a short
last batch is filled up with patches from the beginning of the epoch, which have no weight in the
loss. So the statistics are always those of real patches and of a whole batch, where PyTorch's in
the last batch are those of the few patches left.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn
from scipy import special

from classify.backbones.backbone import Backbone
from classify.cells import EpochMeasures
from classify.classifiers import epochs, training
from classify.classifiers.training import Head, TrainSet, TrainSettings
from singan_jax.devices import sharding


class _Weights(NamedTuple):
    """All weights of a network.

    Attributes:
      trained: parameters of the backbone by name of the module.
      head: trained too.
      frozen: the backbone's other parameters.
      batch_stats: running statistics of the backbone's norms, if it has any.
    """

    trained: dict[str, Any]
    head: Head
    frozen: dict[str, Any]
    batch_stats: dict[str, Any]


class _Batch(NamedTuple):
    """(size, H, W, C) uint8 patches, (size,) int32 labels, and which of them are real, (size,)."""

    pixels: Any
    labels: Any
    real: Any


Trainable = Literal["last_stage", "all"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A backbone and its head, as of the epoch with the least validation loss.

    Attributes:
      curves: (epochs, 2) float32, cross-entropy: mean over the patches of each epoch, each before
        the step that it was for, and over the validation set after the epoch.
      best_epoch: from 0; the first with the least validation loss.
      measures: of each epoch.
      probabilities: turns (n, H, W, C) uint8 patches into (n, classes), rows summing to 1.
      variables: of the backbone, as trained.
      head: see `training.Head`.
    """

    curves: np.ndarray
    best_epoch: int
    measures: EpochMeasures
    probabilities: Callable[[np.ndarray], np.ndarray]
    variables: dict[str, Any]
    head: Head


def train_network(
    backbone: Backbone,
    pixels: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    train_set: TrainSet,
    settings: TrainSettings,
    trainable: Trainable,
    progress: Callable[[int], None] | None = None,
) -> TrainedNetwork:
    """Trains a network, starting from the backbone's weights.

    Norms that are trained use the batch's statistics in training and move the running ones; frozen
    ones, and all in validation, use the running ones.

    Args:
      backbone: where to start; it stays as it is.
      pixels: (pool, H, W, C) uint8.
      labels: (pool,) int, below `num_classes`.
      num_classes: length of the output.
      train_set: rows of the pool to train and validate on.
      settings: of the training.
      trainable: the backbone's last stage or all of it; the head always is.
      progress: told how many more epochs are done.

    Returns:
      The network.

    Raises:
      StudyError: a loss is not finite.
    """
    weights = _start(backbone, num_classes, train_set.key, trainable)
    optimiser = sharding.to_all_devices(training.start_adam((weights.trained, weights.head)))
    size = sharding.padded_size(min(settings.batch_size, len(train_set.train)))
    check, best, best_epoch = train_set.validation, weights, 0
    curves: list[tuple[float, float]] = []
    said: list[tuple[np.ndarray, np.ndarray]] = []  # of each epoch, as `curves`
    orders = training.epoch_rows(train_set, settings.epochs)
    for rows, lr in zip(orders, settings.learning_rates(), strict=True):
        total, logits = 0.0, []
        for batch, count in _batches(pixels, labels, rows, settings.batch_size, size):
            weights, optimiser, (part, of_batch) = _step(backbone, weights, optimiser, batch, lr)
            total += float(part)
            logits.append(sharding.to_host(of_batch, count))
        scores = _scores(backbone, weights, pixels[check], size)
        loss = -special.log_softmax(scores, axis=1)[np.arange(len(check)), labels[check]].mean()
        if not curves or loss < curves[best_epoch][1]:
            best, best_epoch = weights, len(curves)  # arrays are immutable: this is a copy
        curves.append((total / len(rows), loss))
        said.append((np.concatenate(logits), scores))
        training.check_curves(np.array(curves), train_set.key, settings.lr)
        if progress:
            progress(1)

    trained, validated = (np.stack(part) for part in zip(*said, strict=True))
    measures = epochs.measure([(trained, labels[orders]), (validated, labels[check])])
    return _network(backbone, best, np.array(curves, np.float32), best_epoch, measures, size)


def _network(
    backbone: Backbone,
    weights: _Weights,
    curves: np.ndarray,
    best_epoch: int,
    measures: EpochMeasures,
    size: int,
) -> TrainedNetwork:
    """What training has come to; it looks at `size` patches at a time."""

    def probabilities(patches: np.ndarray) -> np.ndarray:
        return special.softmax(_scores(backbone, weights, patches, size), axis=1)

    variables, head = jax.device_get((_variables(weights), weights.head))
    return TrainedNetwork(curves, best_epoch, measures, probabilities, variables, head)


def _start(backbone: Backbone, num_classes: int, key: str, trainable: str) -> _Weights:
    params = backbone.variables["params"]
    names = params.keys() if trainable == "all" else backbone.last_stage
    weights = _Weights(
        trained={name: params[name] for name in names},
        head=training.initial_head(key, backbone.num_features, num_classes),
        frozen={name: params[name] for name in params.keys() - names},
        batch_stats=backbone.variables.get("batch_stats", {}),
    )
    placed: _Weights = sharding.to_all_devices(weights)
    return placed


def _batches(
    pixels: np.ndarray, labels: np.ndarray, rows: np.ndarray, batch_size: int, size: int
) -> Iterator[tuple[_Batch, int]]:
    """The batches of an epoch, `size` patches each, and how many of these are real."""
    for start in range(0, len(rows), batch_size):
        count = min(batch_size, len(rows) - start)
        yield _batch(pixels, labels, rows, start, count, size), count


def _batch(
    pixels: np.ndarray, labels: np.ndarray, rows: np.ndarray, start: int, count: int, size: int
) -> _Batch:
    """The `count` rows from `start`, or those left and others to fill up; on the devices."""
    chosen = rows.take(np.arange(start, start + size), mode="wrap")
    real = np.arange(size) < min(count, len(rows) - start)
    batch: _Batch = sharding.to_devices(_Batch(pixels[chosen], labels[chosen], real))
    return batch


@functools.partial(jax.jit, static_argnums=0)
def _step(
    backbone: Backbone, weights: _Weights, optimiser: optax.OptState, batch: _Batch, lr: jax.Array
) -> tuple[_Weights, optax.OptState, tuple[jax.Array, jax.Array]]:
    """One step of Adam; also gives the sum of the losses, and the logits, before it."""

    def mean_loss(learnt: tuple[dict[str, Any], Head]) -> tuple[jax.Array, tuple]:
        trained, head = learnt
        variables = {
            "params": {**weights.frozen, **trained},
            "batch_stats": weights.batch_stats,
        }
        with nn.intercept_methods(_train_only(trained)):
            features, updated = backbone.module.apply(
                variables, backbone.prepare(batch.pixels), train=True, mutable=["batch_stats"]
            )
        logits = training.linear(head, features)
        total = training.cross_entropy_sum(logits, batch.labels, batch.real)
        return total / batch.real.sum(), (total, logits, updated.get("batch_stats", {}))

    learnt = weights.trained, weights.head
    gradients, (total, logits, batch_stats) = jax.grad(mean_loss, has_aux=True)(learnt)
    (trained, head), optimiser = training.adam_step(learnt, gradients, optimiser, lr)
    return _Weights(trained, head, weights.frozen, batch_stats), optimiser, (total, logits)


def _train_only(trained: Collection[str]) -> Callable[..., Any]:
    """Calls the backbone's other modules, which take `(x)` or `(x, train)`, in inference mode."""

    def intercept(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        path = context.module.path
        if len(path) == 1 and path[0] not in trained:
            args = (args[0], *(False for _ in args[1:]))
        return call(*args, **kwargs)

    return intercept


def _scores(backbone: Backbone, weights: _Weights, pixels: np.ndarray, size: int) -> np.ndarray:
    """Logits of (n, H, W, C) patches, `size` at a time; (n, classes)."""
    parts = []
    for start in range(0, len(pixels), size):
        part = pixels[start : start + size]
        batch = sharding.to_devices(sharding.padded(part, size))
        parts.append(sharding.to_host(_logits(backbone, weights, batch), len(part)))
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=0)
def _logits(backbone: Backbone, weights: _Weights, pixels: jax.Array) -> jax.Array:
    return training.linear(weights.head, backbone.features(_variables(weights), pixels))


def _variables(weights: _Weights) -> dict[str, Any]:
    """Of the backbone."""
    return {
        "params": {**weights.frozen, **weights.trained},
        "batch_stats": weights.batch_stats,
    }
