"""Replicates: which models are one, that each patch is in its place, what ensembles mean."""

import dataclasses

import numpy as np
import pytest
from study_results import make_results

from classify.cells import StudyError
from classify.plan.regimes import check_ensemble
from classify.statistics.replicates import replicates

TWO = "ensemble:weighted+singan-4"


def table(results, **wanted):
    """(patches, classes) of the mean over predictions whose cells are as wanted; else 0."""
    chosen = [
        prediction
        for prediction in results.predictions
        if all(getattr(prediction.cell, key) == value for key, value in wanted.items())
    ]
    sums = np.zeros((len(results.records), len(results.classes)))
    counts = np.zeros((len(results.records), 1))
    for prediction in chosen:
        sums[prediction.rows] += prediction.probabilities["plain"]
        counts[prediction.rows] += 1
    return sums / np.maximum(counts, 1)


def test_on_a_common_test_set_each_model_is_a_replicate():
    results = make_results(patients=12)
    found = replicates(results, "singan-4", "1", "1", "plain")
    assert len({(one.seed, one.draw, one.fold) for one in found}) == len(found) == 2 * 2 * 3
    assert len({one.name for one in found}) == len(found)
    for one in found:
        expected = table(results, regime="singan-4", seed=one.seed, draw=one.draw, fold=one.fold)
        np.testing.assert_allclose(one.probabilities, expected[one.rows], rtol=1e-6)


def test_in_cross_validation_the_folds_are_one_replicate_with_every_patient():
    results = make_results(patients=12, shared_test=False)
    found = replicates(results, "singan-4", "1", "1+2+3", "plain")
    assert [(one.seed, one.draw, one.fold) for one in found] == [
        (seed, draw, None) for draw in (0, 1) for seed in (0, 1)
    ]
    for one in found:
        np.testing.assert_array_equal(one.rows, np.arange(len(results.records)))
        expected = table(results, regime="singan-4", seed=one.seed, draw=one.draw)
        np.testing.assert_allclose(one.probabilities, expected, rtol=1e-6)


@pytest.mark.parametrize(("zoom", "groups"), [("1", {0, 1}), ("2+3", {0, 2, 3})])
def test_a_test_zoom_selects_healthy_patches_and_its_groups(zoom, groups):
    results = make_results(patients=12)
    for one in replicates(results, "weighted", "1", zoom, "plain"):
        expected = [n for n, entry in enumerate(results.records) if entry.zoom_group in groups]
        assert one.rows.tolist() == expected


@pytest.mark.parametrize("shared_test", [True, False])
def test_an_ensemble_averages_what_speaks_of_the_same_patch(shared_test):
    results = make_results(regimes=("weighted", "singan-4"), shared_test=shared_test, patients=12)
    found = replicates(results, TWO, "1", "1", "plain")
    assert [(one.seed, one.draw) for one in found] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for one in found:
        assert one.fold is None
        weighted = table(results, regime="weighted", seed=one.seed, draw=0)
        singan = table(results, regime="singan-4", seed=one.seed, draw=one.draw)
        mean = ((weighted + singan) / 2)[one.rows]
        np.testing.assert_allclose(one.probabilities, mean, rtol=1e-5)


def test_an_ensemble_of_one_regime_averages_its_folds():
    results = make_results(patients=12)
    found = replicates(results, "ensemble:singan-4", "1", "1", "plain")
    assert len(found) == 4
    for one in found:
        expected = table(results, regime="singan-4", seed=one.seed, draw=one.draw)
        np.testing.assert_allclose(one.probabilities, expected[one.rows], rtol=1e-5)


def test_variant_and_train_zoom_choose_the_predictions():
    results = make_results(patients=12, train_zooms=("1", "2"))
    plain, cropped, other = (
        replicates(results, "weighted", zoom, "1", variant)[0].probabilities
        for zoom, variant in (("1", "plain"), ("1", "cropped"), ("2", "plain"))
    )
    assert not np.allclose(plain, cropped)
    assert not np.allclose(plain, other)


def test_order_of_predictions_and_rows_changes_nothing():
    results = make_results(patients=12, shared_test=False)
    turned = tuple(
        dataclasses.replace(
            one,
            rows=one.rows[::-1],
            probabilities={name: value[::-1] for name, value in one.probabilities.items()},
        )
        for one in results.predictions[::-1]
    )
    other = dataclasses.replace(results, predictions=turned)
    for regime in ("singan-4", "ensemble:singan-4+weighted"):
        pairs = zip(
            replicates(results, regime, "1", "1", "plain"),
            replicates(other, regime, "1", "1", "plain"),
            strict=True,
        )
        for one, same in pairs:
            np.testing.assert_array_equal(one.probabilities, same.probabilities)


def test_what_is_not_trained_is_named():
    results = make_results(patients=12)
    with pytest.raises(StudyError, match=r"regime 'none', train zoom 1"):
        replicates(results, "none", "1", "1", "plain")
    fewer = dataclasses.replace(results, predictions=results.predictions[1:])
    with pytest.raises(StudyError, match="'weighted': fold 0, seed 0 is not trained"):
        replicates(fewer, "weighted", "1", "1", "plain")
    first = results.predictions[0]
    halved = dataclasses.replace(
        first,
        rows=first.rows[:8],
        probabilities={name: value[:8] for name, value in first.probabilities.items()},
    )
    mixed = dataclasses.replace(results, predictions=(halved, *results.predictions[1:]))
    with pytest.raises(StudyError, match="different patches"):
        replicates(mixed, "weighted", "1", "1", "plain")
    with pytest.raises(StudyError, match="different patches"):
        replicates(mixed, TWO, "1", "1", "plain")


@pytest.mark.parametrize(
    ("regime", "shared_test", "problem"),
    [
        ("ensemble:singan-8", True, "'singan-8' is not among"),
        ("ensemble:weighted+", True, "'' is not among"),
        ("ensemble:", True, "'' is not among"),
        (f"ensemble:{TWO}", True, "not among"),
        ("ensemble:singan-4+singan-4", True, "twice"),
        ("ensemble:singan-4", False, "nothing to average"),
    ],
)
def test_impossible_ensembles_are_refused(regime, shared_test, problem):
    with pytest.raises(StudyError, match=problem):
        check_ensemble(regime, ("weighted", "singan-4", TWO), shared_test)


def test_possible_ensembles_and_single_regimes_pass():
    regimes = ("weighted", "singan-4", TWO)
    check_ensemble("singan-4", regimes, False)
    check_ensemble("ensemble:singan-4", regimes, True)
    check_ensemble(TWO, regimes, False)
