"""Places of a study's grid, and what its replicates say there."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from classify.cells import Results, Variant, Zooms, control_of, fills_up
from classify.statistics.bootstrap import Resampling, nan_mean
from classify.statistics.metrics import Key
from classify.statistics.replicates import replicates


class Place(NamedTuple):
    """A regime and the zooms that it is trained, tested and filled up at.

    Attributes:
      regime: a single one or an ensemble.
      train_zoom: see `cells.Zooms`, as of the others.
      test_zoom: likewise.
      fill_zoom: likewise; empty where the regime fills nothing up.
    """

    regime: str
    train_zoom: str
    test_zoom: str
    fill_zoom: str


def place_of(regime: str, train_zoom: str, test_zoom: str, fill_zoom: str | None = None) -> Place:
    """The place of a regime at zooms; the fill zoom is the train zoom where it is not given."""
    fill = (fill_zoom or train_zoom) if fills_up(regime) else ""
    return Place(regime, train_zoom, test_zoom, fill)


def places(results: Results) -> list[Place]:
    """All places, those of a regime together."""
    every = itertools.product(results.regimes, results.zooms)
    return list(dict.fromkeys(place_of(regime, *zooms) for regime, zooms in every))


def compared(results: Results) -> list[tuple[Zooms, list[tuple[Place, Place]]]]:
    """What is compared, by zooms: each regime with the baseline, singan-k with oversample-k.

    Two regimes that fill nothing up are compared once, whatever the fill zooms.
    """
    pairs = [(name, results.baseline) for name in results.regimes if name != results.baseline]
    for name in results.regimes:
        control = control_of(name)
        if name.startswith("singan-") and control in results.regimes:
            pairs.append((name, control))
    pairs = list(dict.fromkeys(pairs))
    found, done = [], set()
    for zooms in results.zooms:
        new = [(place_of(one, *zooms), place_of(other, *zooms)) for one, other in pairs]
        new = [pair for pair in new if pair not in done]
        done.update(new)
        found.append((zooms, new))
    return found


class Stack(NamedTuple):
    """Replicates that say something of the same test patches.

    Attributes:
      rows: (n,) int, places in `Results.records`, ascending.
      labels: (n,) int.
      probabilities: (replicates, n, classes) float32.
      folds: of each replicate; None where it has the models of all folds.
    """

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    folds: tuple[int | None, ...]


def stacks(results: Results, place: Place, variant: Variant) -> tuple[Stack, ...]:
    """The replicates of a place: in one stack, or where test patients are redrawn in one a fold."""
    regime, train_zoom, test_zoom, fill_zoom = place
    found = replicates(results, regime, train_zoom, test_zoom, variant, fill_zoom or None)
    groups = {one.fold if results.redrawn_test else None: one.rows for one in found}
    made = []
    for fold, rows in sorted(groups.items(), key=lambda item: item[0] or 0):
        of_group = [one for one in found if not results.redrawn_test or one.fold == fold]
        probabilities = np.stack([one.probabilities for one in of_group])
        folds = tuple(one.fold for one in of_group)
        made.append(Stack(rows, results.labels[rows], probabilities, folds))
    return tuple(made)


def rows_of(found: tuple[Stack, ...]) -> np.ndarray:
    """(n,) int, the patches that any of the stacks is of, each once, ascending."""
    return np.unique(np.concatenate([stack.rows for stack in found]))


def num_patients(results: Results, rows: np.ndarray) -> int:
    """How many patients patches are of; `rows` are their places in `Results.records`, (n,) int."""
    return len({results.records[row].patient_id for row in rows})


def mean_probabilities(
    results: Results, place: Place, variant: Variant
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) as of `rows_of`, and their mean probabilities over replicates, (n, classes)."""
    found = stacks(results, place, variant)
    rows = rows_of(found)
    sums = np.zeros((len(rows), len(results.classes)))
    times = np.zeros((len(rows), 1))
    for stack in found:
        inside = np.searchsorted(rows, stack.rows)
        sums[inside] += stack.probabilities.sum(axis=0, dtype=np.float64)
        times[inside] += len(stack.probabilities)
    return rows, sums / times


Evaluate = Callable[[Stack, np.ndarray, np.ndarray], dict[Any, np.ndarray]]


def bootstrap_means(
    resampling: Resampling, found: tuple[Stack, ...], evaluate: Evaluate
) -> dict[Any, np.ndarray]:
    """Means over replicates, in each bootstrap sample.

    A patient who is drawn twice counts twice in each test set that the patient is in, so what test
    sets share does not count as different patients.

    Args:
      resampling: of the patients.
      found: the replicates.
      evaluate: from a stack, the probabilities (n, classes) of one of its replicates, and weights
        (n, some samples), its metrics by name, each (some samples,).

    Returns:
      By name, (samples,); over the replicates that define it.
    """
    longest = max(len(stack.rows) for stack in found)
    blocks = []
    for weights in zip(*(resampling.blocks(one.rows, longest) for one in found), strict=True):
        every = [
            evaluate(stack, replicate, of_stack)
            for stack, of_stack in zip(found, weights, strict=True)
            for replicate in stack.probabilities
        ]
        blocks.append({key: nan_mean(np.stack([one[key] for one in every])) for key in every[0]})
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def sd_over_folds(values: dict[Key, np.ndarray], folds: tuple[int | None, ...]) -> dict[Key, float]:
    """Standard deviations over folds as the paper and the thesis give them: NumPy's, with n.

    Args:
      values: by name, (replicates,); NaN is left out.
      folds: of each replicate.

    Returns:
      By name, over the folds the sd of the mean of their replicates; NaN where replicates have no
      fold, or fewer than two folds define it.
    """
    of_fold = np.array([-1 if fold is None else fold for fold in folds])
    found = {}
    for key, every in values.items():
        means = np.array([nan_mean(every[of_fold == fold]) for fold in np.unique(of_fold)])
        defined = means[~np.isnan(means)]
        found[key] = float(defined.std()) if len(defined) > 1 and None not in folds else np.nan
    return found
