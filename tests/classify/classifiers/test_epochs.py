"""Measures of every epoch against scikit-learn, one epoch, set and class at a time."""

import warnings

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from classify.classifiers import epochs
from classify.classifiers.epochs import measure, roc_auc


def drawn(seed, classes, n, ties=False, count=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (count, n))
    logits = rng.normal(size=(count, n, classes)) + 0.8 * np.eye(classes)[labels]
    if ties:
        logits = np.round(logits)
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_equal_scikit_learns(classes, ties):
    train, validation = drawn(classes, classes, 70, ties), drawn(9, classes, 31, ties)
    found = measure([train, (validation[0], validation[1][0])])  # one set of labels for all epochs
    assert found.confusion.shape == (6, 2, classes, classes)
    for epoch in range(6):
        of_sets = (train[0][epoch], train[1][epoch]), (validation[0][epoch], validation[1][0])
        for part, (logits, labels) in enumerate(of_sets):
            said = special.softmax(logits, axis=1)
            called = said.argmax(1)
            assert found.accuracy[epoch, part] == metrics.accuracy_score(labels, called)
            given = labels, called
            expected = metrics.precision_recall_fscore_support(*given, zero_division=np.nan)
            np.testing.assert_allclose(found.precision[epoch, part], expected[0])
            np.testing.assert_allclose(found.recall[epoch, part], expected[1])
            areas = [metrics.roc_auc_score(labels == k, said[:, k]) for k in range(classes)]
            np.testing.assert_allclose(found.roc_auc[epoch, part], areas, rtol=1e-6)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_ties_count_half(levels):
    """Against every pair of a positive and a negative, one by one."""
    rng = np.random.default_rng(levels)
    scores = (rng.integers(0, levels, (8, 40)) / levels).astype(np.float32)
    positive = rng.random((8, 40)) < 0.3
    for row, area in enumerate(roc_auc(positive, scores)):
        one, other = scores[row][positive[row]], scores[row][~positive[row]]
        won = (one[:, None] > other).mean() + 0.5 * (one[:, None] == other).mean()
        assert area == pytest.approx(won, abs=1e-12)


def test_certain_answers_and_missing_classes():
    scores = np.array([[0, 1, 1, 0], [0.25, 0.5, 1, 0.75]], np.float32)
    assert roc_auc(np.array([[0, 1, 1, 0]] * 2, bool), scores).tolist() == [1, 0.75]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(roc_auc(np.ones((2, 4), bool), scores)).all()
        found = measure([(np.zeros((1, 4, 3), "f4"), np.zeros(4, int))] * 2)
    assert np.isnan(found.precision[0, 0]).tolist() == [False, True, True]
    assert np.isnan(found.recall[0, 1]).tolist() == [False, True, True]
    assert found.accuracy.tolist() == [[1, 1]]  # of equally probable classes the first


def test_large_logits_do_not_overflow():
    logits = np.array([[[1e4, -1e4], [-1e4, 1e4]]], np.float32)
    found = measure([(logits, np.array([0, 1]))] * 2)
    assert (found.roc_auc == 1).all()


def test_many_pairs_are_counted_exactly():
    """More pairs than 32 bits count."""
    n = 100_000
    positive = np.arange(n)[None] % 2 == 1
    scores = (np.arange(n, dtype=np.float32) / n)[None]
    (area,) = epochs.roc_auc(positive, scores)
    pairs = (n / 2) ** 2
    assert area == pytest.approx((pairs + n / 2) / 2 / pairs, rel=1e-12)
