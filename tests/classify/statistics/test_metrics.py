"""Metrics against hand-worked cases, and the vectorised ones against scikit-learn with weights."""

import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from make_record import record
from sklearn import metrics as sk

from classify.statistics import bootstrap, metrics
from classify.statistics.metrics import ALL

CLASSES = ("Normal", "Benign", "Malign")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(seed, n=40, classes=3, ties=False, concentration=1.0):
    """Labels, and probabilities that say something of them; with ties, of few different values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    odds = rng.gamma(concentration, size=(n, classes)) + 0.5 * np.eye(classes)[labels]
    if ties:
        odds = np.ceil(2 * odds)
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def reference(labels, probabilities, weights):
    """All metrics by scikit-learn with `sample_weight`; every class is there."""
    found = {}
    predicted = probabilities.argmax(axis=1)
    for place, name in enumerate(CLASSES):
        positive, scores = labels == place, probabilities[:, place]
        found[name, "roc_auc"] = sk.roc_auc_score(positive, scores, sample_weight=weights)
        found[name, "pr_auc"] = sk.average_precision_score(positive, scores, sample_weight=weights)
        best = 0
        for threshold in scores:
            kept = scores >= threshold
            if 10 * weights[positive & kept].sum() >= 9 * weights[positive].sum():
                best = max(best, weights[~positive & ~kept].sum() / weights[~positive].sum())
        found[name, "specificity_at_90_sensitivity"] = best
        for metric in (sk.precision_score, sk.recall_score, sk.f1_score):
            found[name, metric.__name__.removesuffix("_score")] = metric(
                positive, predicted == place, sample_weight=weights, zero_division=np.nan
            )
    found[ALL, "accuracy"] = sk.accuracy_score(labels, predicted, sample_weight=weights)
    found[ALL, "balanced_accuracy"] = sk.recall_score(
        labels, predicted, sample_weight=weights, average="macro"
    )
    top = probabilities.max(axis=1).astype(np.float64)
    error = 0
    for low in range(10):
        inside = (top >= low / 10) & ((top < (low + 1) / 10) | (low == 9))
        if weights[inside].sum():
            right = np.average((predicted == labels)[inside], weights=weights[inside])
            said = np.average(top[inside], weights=weights[inside])
            error += weights[inside].sum() / weights.sum() * abs(right - said)
    found[ALL, "calibration_error"] = error
    return found


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(st.integers(0, 2**32), st.booleans())
def test_weighted_metrics_are_those_of_scikit_learn(seed, ties):
    labels, probabilities = drawn(seed, ties=ties)
    hypothesis.assume(len(np.unique(labels)) == 3)
    weights = np.random.default_rng(seed).integers(0, 4, (len(labels), 3)).astype(np.float32)
    weights[[np.flatnonzero(labels == place)[0] for place in range(3)]] += 1  # no class missing
    found = bootstrap.evaluate(labels, probabilities, weights, CLASSES)
    for sample, of_sample in enumerate(weights.T):
        expected = reference(labels, probabilities, of_sample)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key][sample], value, atol=2e-6, err_msg=str(key))


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(st.integers(0, 2**32), st.booleans(), st.sampled_from([2, 5, 40]))
def test_without_weights_both_agree_whatever_class_is_missing(seed, ties, n):
    labels, probabilities = drawn(seed, n=n, ties=ties)
    expected = metrics.evaluate(labels, probabilities, CLASSES)
    found = bootstrap.evaluate(labels, probabilities, np.ones((n, 1), np.float32), CLASSES)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], [value], atol=2e-6, err_msg=str(key))


def test_metrics_of_a_case_worked_by_hand():
    labels = np.array([1, 1, 1, 0, 0])
    suspicious = np.array([0.95, 0.65, 0.25, 0.65, 0.05])
    found = metrics.evaluate(labels, np.stack([1 - suspicious, suspicious], 1), ("No", "Yes"))
    assert found["Yes", "roc_auc"] == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 1) / 6)
    assert found["Yes", "pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found["Yes", "specificity_at_90_sensitivity"] == pytest.approx(0.5)
    assert found["Yes", "precision"] == pytest.approx(2 / 3)
    assert found["Yes", "recall"] == pytest.approx(2 / 3)
    assert found["Yes", "f1"] == pytest.approx(2 / 3)
    assert found["No", "recall"] == pytest.approx(1 / 2)
    assert found[ALL, "accuracy"] == pytest.approx(3 / 5)
    assert found[ALL, "balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Bins 0.6 (1 of 2 right), 0.7 (0 of 1) and 0.9 (2 of 2).
    assert found[ALL, "calibration_error"] == pytest.approx((0.3 + 0.75 + 0.1) / 5)
    np.testing.assert_array_equal(
        metrics.confusion(labels, np.stack([1 - suspicious, suspicious], 1), 3),
        [[1, 1, 0], [1, 2, 0], [0, 0, 0]],
    )


def test_specificity_counts_every_threshold_on_a_straight_curve():
    scores = np.repeat(np.linspace(0.05, 0.95, 10), 2)  # each of one positive and one negative
    positive = np.resize([True, False], 20)
    found = metrics.ranking(positive, scores)["specificity_at_90_sensitivity"]
    assert found == pytest.approx(0.1)


@pytest.mark.parametrize("present", [[0], [0, 1]])
def test_a_missing_class_makes_its_metrics_undefined_and_no_noise(present):
    _, probabilities = drawn(3)
    labels = np.resize(present, len(probabilities))
    found = metrics.evaluate(labels, probabilities, CLASSES)
    for place, name in enumerate(CLASSES):
        for metric in metrics.RANKING:
            assert np.isnan(found[name, metric]) == (place not in present or present == [0])
        assert np.isnan(found[name, "recall"]) == (place not in present)
    assert np.isnan(found[ALL, "balanced_accuracy"])
    assert 0 <= found[ALL, "accuracy"] <= 1


def test_calibrated_probabilities_have_little_calibration_error():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 50_000)
    labels = (rng.random((50_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert metrics.calibration_error(labels, probabilities) < 0.01
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert metrics.calibration_error(labels, sharper) > 0.1


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32), st.booleans())
def test_roc_curve_is_scikit_learns_and_its_area_the_auc(seed, ties):
    labels, probabilities = drawn(seed, classes=2, ties=ties)
    hypothesis.assume(0 < labels.sum() < len(labels))
    weights = np.random.default_rng(seed).integers(1, 4, (len(labels), 3)).astype(np.float32)
    positive, scores = labels == 1, probabilities[:, 1]
    grid = np.linspace(0.003, 1, 2001)  # between the corners, where curves have one value
    found = bootstrap.roc(positive, scores, weights, grid)
    auc = bootstrap.ranking(positive, scores, weights)["roc_auc"]
    for sample, of_sample in enumerate(weights.T):
        false_rate, true_rate, _ = sk.roc_curve(positive, scores, sample_weight=of_sample)
        away = np.abs(grid[:, None] - false_rate).min(axis=1) > 1e-6
        expected = np.interp(grid, false_rate, true_rate)
        np.testing.assert_allclose(found[away, sample], expected[away], atol=1e-5)
        np.testing.assert_allclose(np.trapezoid(found[:, sample], grid), auc[sample], atol=5e-3)


def resampled(classes, samples=500, seed=0):
    """Records, three for each class named, each of its own patient; and their resampling."""
    records = [
        record(f"{patient}_F01", number, classification=name)
        for patient, name in enumerate(classes)
        for number in range(3)
    ]
    return records, bootstrap.resample(records, samples, seed)


def test_patients_are_drawn_whole_and_within_their_stratum():
    classes = ["Normal"] * 5 + ["Benign"] * 3 + ["Malign"]
    records, resampling = resampled(classes)
    weights = np.concatenate(
        list(resampling.blocks(np.arange(len(records)))), axis=1
    )  # (patches, samples)
    of_patient = weights.reshape(len(classes), 3, -1)
    assert (of_patient == of_patient[:, :1]).all()
    counts = of_patient[:, 0]
    for name in CLASSES:
        inside = np.array(classes) == name
        assert (counts[inside].sum(axis=0) == inside.sum()).all()
    assert (counts[-1] == 1).all()  # one patient in the stratum
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.2)
    np.testing.assert_allclose(counts[:5].var(axis=1), 5 * 0.2 * 0.8, atol=0.25)
    again = bootstrap.resample(records, 500, 0)
    np.testing.assert_array_equal(resampling.counts, again.counts)
    assert (resampling.counts != bootstrap.resample(records, 500, 1).counts).any()


def test_blocks_change_nothing(monkeypatch):
    _, resampling = resampled(["Normal", "Benign"] * 4)
    rows = np.arange(5, 20)
    values = np.random.default_rng(0).random(15)
    whole = resampling.mean(rows, values)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert len(list(resampling.blocks(rows))) == -(-500 // 6)
    np.testing.assert_allclose(resampling.mean(rows, values), whole, rtol=1e-12)


def test_the_spread_of_a_mean_is_its_standard_error():
    _, resampling = resampled(["Benign"] * 50, samples=4000)
    values = np.repeat(np.random.default_rng(0).normal(size=50), 3)
    drawn_means = resampling.mean(np.arange(150), values)
    np.testing.assert_allclose(drawn_means.std(), values.std() / np.sqrt(50), rtol=0.05)


def test_interval_and_p_of_a_normal_statistic():
    samples = np.random.default_rng(0).normal(1, 1, 100_000)
    np.testing.assert_allclose(bootstrap.interval(samples, 0.95), [-0.96, 2.96], atol=0.03)
    assert bootstrap.two_sided_p(samples) == pytest.approx(2 * 0.1587, abs=0.01)
    assert bootstrap.two_sided_p(-samples) == pytest.approx(2 * 0.1587, abs=0.01)
    assert bootstrap.two_sided_p(samples + 100) == pytest.approx(2 / 100_001)
    assert bootstrap.two_sided_p(np.zeros(10)) == 1
    assert np.isnan(bootstrap.interval(np.full(3, np.nan), 0.95)).all()
    assert np.isnan(bootstrap.two_sided_p(np.full(3, np.nan)))
    assert bootstrap.interval(np.array([np.nan, 2.0]), 0.95) == (2, 2)


def test_holm_as_in_a_worked_example():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(bootstrap.holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bootstrap.holm(np.array([0.6, np.nan, 0.2])), [1, np.nan, 0.6])
