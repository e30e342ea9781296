"""What training heads and training whole networks have in common: protocol, sampling, loss.

The protocol is that which the thesis states (Buetas 2023): cross-entropy, Adam at 1e-2, a tenth of
it after every 5 epochs, batches of 128, 100 epochs, the weights with the least validation loss. Its
code never lowers the rate, and keeps the weights of the last epoch.
"""

import dataclasses
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from classify.cells import StudyError

_ADAM = optax.scale_by_adam()  # PyTorch's defaults

# "kernel" (classes, features), six times as fast on CPU as its transpose, and "bias" (classes,)
Head = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained; the defaults are those that the thesis states.

    Attributes:
      epochs: passes over the training set.
      batch_size: patches a step; the last batch of an epoch has what is left.
      lr: Adam's learning rate.
      lr_decay: factor on the learning rate after every `lr_decay_epochs`.
      lr_decay_epochs: see `lr_decay`.
    """

    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-2
    lr_decay: float = 0.1
    lr_decay_epochs: int = 5

    def learning_rates(self) -> np.ndarray:
        """The learning rate of each epoch, (epochs,) float32."""
        drops = np.arange(self.epochs) // self.lr_decay_epochs
        return (self.lr * self.lr_decay**drops).astype(np.float32)


class TrainSet(NamedTuple):
    """What one classifier is trained and validated on, as rows of a pool of patches.

    Attributes:
      key: decides all random numbers of the training, and nothing else does.
      train: (n,) int, n > 0; a row may occur several times.
      weights: (n,) sampling probabilities up to a factor: an epoch is n draws with replacement;
        None: an epoch is every row once, shuffled.
      validation: (m,) int, m > 0; all of them after every epoch.
    """

    key: str
    train: np.ndarray
    weights: np.ndarray | None
    validation: np.ndarray


def epoch_rows(train_set: TrainSet, epochs: int) -> np.ndarray:
    """Rows of the pool in the order in which each epoch visits them.

    Args:
      train_set: the set.
      epochs: how many; the first ones do not depend on it.

    Returns:
      (epochs, n) int32.
    """
    random, rows = _random(train_set.key, "epochs"), train_set.train.astype(np.int32)
    if train_set.weights is None:
        return np.stack([random.permutation(rows) for _ in range(epochs)])
    shares = train_set.weights / train_set.weights.sum()
    return np.stack([random.choice(rows, len(rows), p=shares) for _ in range(epochs)])


def initial_head(key: str, num_features: int, num_classes: int) -> Head:
    """A linear layer as PyTorch's `nn.Linear` starts: uniform within 1 / sqrt(num_features)."""
    shape, bound = (num_classes, num_features + 1), num_features**-0.5
    drawn = _random(key, "head").uniform(-bound, bound, shape).astype(np.float32)
    return {"kernel": drawn[:, :-1], "bias": drawn[:, -1]}


def _random(key: str, use: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{use}/{key}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def linear(head: Head, features: jax.Array) -> jax.Array:
    """(n, features) to logits, (n, classes)."""
    return features @ head["kernel"].T + head["bias"]


def cross_entropy_sum(logits: jax.Array, labels: jax.Array, real: jax.Array) -> jax.Array:
    """Sum over the entries that are real.

    Args:
      logits: (n, classes).
      labels: (n,) int.
      real: (n,) bool.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.where(real, losses, 0.0).sum()


def start_adam(weights: Any) -> optax.OptState:
    """The optimiser's state before the first step."""
    return _ADAM.init(weights)


def adam_step(
    weights: Any, gradients: Any, optimiser: optax.OptState, lr: jax.Array
) -> tuple[Any, optax.OptState]:
    """Weights and the optimiser's state after a step."""
    updates, optimiser = _ADAM.update(gradients, optimiser)
    return jax.tree.map(lambda w, u: w - lr * u, weights, updates), optimiser


def check_curves(curves: np.ndarray, key: str, lr: float) -> None:
    """Refuses a training that diverged.

    Args:
      curves: (epochs, 2) losses.
      key: of its training set.
      lr: its learning rate.

    Raises:
      StudyError: a loss is not finite.
    """
    wrong = ~np.isfinite(curves).all(1)
    if wrong.any():
        raise StudyError(
            f"classifier {key}: the loss is not finite from epoch {wrong.argmax() + 1} on; choose "
            f"a lower learning rate, `lr` is {lr:g}"
        )
