"""Replicates: what each trained model, or each ensemble, says of the test patches.

With the paper's protocol (`Results.shared_test`) each model, of one fold, seed and draw, is a
replicate on the common test set. With the thesis' (`Results.redrawn_test`) it is one on the test
set of its fold. With cross-validation the folds test different patients, so the models of all folds
of one seed and draw are together one replicate, with each patient in it once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from classify.cells import (
    Cell,
    Prediction,
    Results,
    StudyError,
    Variant,
    ensemble_members,
    fill_zoom_of,
    zoom_groups,
)


class Replicate(NamedTuple):
    """What one model, or several together, say of the test patches of a test zoom.

    Attributes:
      rows: (n,) int, places in `Results.records`, ascending.
      probabilities: (n, classes) float32.
      name: which one, for people.
      seed: see `cells.Cell`.
      draw: likewise; of an ensemble the highest of its members'.
      fold: None where the models of all folds are in it.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    name: str
    seed: int
    draw: int
    fold: int | None


def replicates(
    results: Results,
    regime: str,
    train_zoom: str,
    test_zoom: str,
    variant: Variant,
    fill_zoom: str | None = None,
) -> tuple[Replicate, ...]:
    """The replicates of a regime, in the order of draws, seeds, folds.

    An ensemble averages the probabilities of all models that say something of the same patch: of
    all its regimes, and with a common test set of all folds too. (Where test patients are redrawn,
    the other folds' models were trained on some of them.) Regimes are joined draw by draw; one that
    has no such draw, because it chooses no source images, takes part with its draw 0.

    Args:
      results: of the study.
      regime: a single one or an ensemble.
      train_zoom: one of `results.train_zooms`.
      test_zoom: selects healthy patches and lesions of its zoom groups.
      variant: of the test patches.
      fill_zoom: one of the fill zooms at the train zoom, which it is where None; of no matter where
        nothing is filled up.

    Returns:
      At least one; those of a fold have the same rows, and unless test patients are redrawn, all.

    Raises:
      StudyError: a cell that is needed was not trained.
    """
    members = ensemble_members(regime)
    found = _found(results, members or (regime,), train_zoom, fill_zoom or train_zoom)
    if not found:
        raise StudyError(f"no classifier of regime {regime!r}, train zoom {train_zoom}, is trained")
    folds, seeds, draws = (
        sorted({getattr(cell, field) for cell in found}) for field in ("fold", "seed", "draw")
    )
    groups = zoom_groups(test_zoom)
    selected = np.array([record.zoom_group in groups for record in results.records])

    single = results.redrawn_test or (results.shared_test and not members)
    parts = [(fold,) for fold in folds] if single else [tuple(folds)]
    made = []
    for draw in draws:
        for seed in seeds:
            for part in parts:
                by_fold = [_of_fold(found, members or (regime,), n, seed, draw) for n in part]
                rows, probabilities = _joined(by_fold, results.shared_test, variant)
                order = np.argsort(rows)
                order = order[selected[rows[order]]]
                fold = part[0] if single else None
                name = f"seed {seed}, draw {draw}" + (f", fold {fold}" if single else "")
                chosen = rows[order], probabilities[order]
                made.append(Replicate(*chosen, name, seed, draw, fold))
    _check_rows(made, results.redrawn_test, regime)
    return tuple(made)


def _found(
    results: Results, members: Sequence[str], train_zoom: str, fill_zoom: str
) -> dict[Cell, Prediction]:
    """The predictions that single regimes at their zooms have, by cell."""
    fills = {name: fill_zoom_of(name, train_zoom, fill_zoom) for name in members}
    return {
        prediction.cell: prediction
        for prediction in results.predictions
        if prediction.cell.train_zoom == train_zoom
        and prediction.cell.fill_zoom == fills.get(prediction.cell.regime)
    }


def _check_rows(made: Sequence[Replicate], redrawn_test: bool, regime: str) -> None:
    first = {one.fold if redrawn_test else None: one.rows for one in reversed(made)}
    for one in made:
        if not np.array_equal(first[one.fold if redrawn_test else None], one.rows):
            raise StudyError(
                f"models of regime {regime!r} tested different patches; train them again"
            )


def _joined(
    by_fold: Sequence[list[Prediction]], shared_test: bool, variant: Variant
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) and probabilities (n, classes), averaged over the models that have these rows."""
    if shared_test:
        return _mean([prediction for fold in by_fold for prediction in fold], variant)
    rows, probabilities = zip(*(_mean(fold, variant) for fold in by_fold), strict=True)
    return np.concatenate(rows), np.concatenate(probabilities)


def _of_fold(
    found: dict[Cell, Prediction], members: Sequence[str], fold: int, seed: int, draw: int
) -> list[Prediction]:
    chosen = []
    for member in members:
        of_member = {
            cell.draw: prediction
            for cell, prediction in found.items()
            if (cell.regime, cell.fold, cell.seed) == (member, fold, seed)
        }
        if draw not in of_member and 0 not in of_member:
            raise StudyError(f"regime {member!r}: fold {fold}, seed {seed} is not trained")
        chosen.append(of_member[draw if draw in of_member else 0])
    return chosen


def _mean(predictions: Sequence[Prediction], variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) that all of them share, and the mean of their probabilities (n, classes)."""
    rows = predictions[0].rows
    if any(not np.array_equal(rows, other.rows) for other in predictions):
        raise StudyError("models of an ensemble tested different patches; train them again")
    return rows, np.mean([other.probabilities[variant] for other in predictions], axis=0)
