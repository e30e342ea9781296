"""How well a classifier does after each epoch: confusion and exact ROC-AUC, vectorised.

On the host, because a sort of probabilities with labels takes NumPy a thirtieth of what it takes
XLA on CPU, where it would cost more than the training itself.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats

from classify.cells import EpochMeasures


def measure(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> EpochMeasures:
    """The measures of a training, from what the classifier said in each epoch.

    Args:
      sets: of the training and of the validation set, logits (epochs, n, classes) and labels,
        (epochs, n) or (n,) int; n may differ between the two.

    Returns:
      Both together.
    """
    confusions, aucs = [], []
    for logits, labels in sets:
        labels = np.broadcast_to(labels, logits.shape[:2])
        probabilities = _softmax(np.ascontiguousarray(np.moveaxis(logits, 2, 0)))
        confusions.append(_confusion(labels, _most_probable(probabilities), len(probabilities)))
        of_class = [roc_auc(labels == k, scores) for k, scores in enumerate(probabilities)]
        aucs.append(np.stack(of_class, axis=1))
    return EpochMeasures(np.stack(confusions, axis=1), np.stack(aucs, axis=1).astype(np.float32))


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The area under the ROC curve of each row; a tie counts half.

    Args:
      positive: (rows, n) bool.
      scores: (rows, n) float32, from 0 to below 2.

    Returns:
      (rows,); NaN where a row has no positive or no negative.
    """
    # The bits of numbers from 0 on are in their order, and of those below 2 the highest two are 0.
    # So a score and whether it is positive fit an integer of 32 bits, which sorts several times as
    # fast as the places of the scores.
    bits = np.ascontiguousarray(scores, np.float32).view(np.int32)
    keys = np.sort(bits << 1 | positive, axis=1)
    is_positive = keys & 1
    below = np.cumsum(1 - is_positive, axis=1, dtype=np.int32)  # negatives so far; of equals, all
    positives = is_positive.sum(axis=1)
    pairs = positives * (scores.shape[1] - positives)
    won = (is_positive * below).sum(axis=1, dtype=np.int64).astype(np.float64)
    # Of equal scores negatives come first: a tie is where the last bit alone changes.
    tied = (keys[:, 1:] ^ keys[:, :-1] == 1).any(axis=1)
    if tied.any():
        ranks = scipy.stats.rankdata(scores[tied], axis=1)  # a tie has the mean
        of_positives = np.where(positive[tied], ranks, 0).sum(axis=1)
        won[tied] = of_positives - positives[tied] * (positives[tied] + 1) / 2
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis, float32."""
    # A training that diverged is refused by its loss.
    with np.errstate(over="ignore", invalid="ignore"):
        odds = np.exp(logits - logits.max(0))
    return np.asarray(odds / odds.sum(0))


def _most_probable(probabilities: np.ndarray) -> np.ndarray:
    """`argmax` over the first axis, which has few entries, several times as fast."""
    called, most = np.zeros(probabilities.shape[1:], np.int32), probabilities[0]
    for place, of_class in enumerate(probabilities[1:], start=1):
        called[of_class > most] = place
        most = np.maximum(most, of_class)
    return called


def _confusion(labels: np.ndarray, called: np.ndarray, classes: int) -> np.ndarray:
    """(epochs, n) int each, to counts (epochs, classes, classes) int32."""
    epochs = len(labels)
    places = (np.arange(epochs)[:, None] * classes + labels) * classes + called
    counts = np.bincount(places.ravel(), minlength=epochs * classes**2)
    return counts.reshape(epochs, classes, classes).astype(np.int32)
