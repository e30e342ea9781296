"""ROC curves of all classes, against scikit-learn's."""

import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve
from study_results import make_results

from classify.report import roc_curves
from classify.statistics import statistics
from classify.statistics.replicates import replicates

REGIMES = ("weighted", "singan-4")


@pytest.fixture(scope="module")
def results():
    return make_results(regimes=REGIMES, folds=2, seeds=1, draws=1, patients=24)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_curve_of_a_class_is_the_mean_of_scikit_learns(results, place):
    grid = np.linspace(0, 1, 11)
    found = statistics.roc_band(results, "weighted", "1", "1", grid, 20, of_class=place)
    curves = []
    for one in replicates(results, "weighted", "1", "1", "plain"):
        positive = results.labels[one.rows] == place
        false, true, _ = roc_curve(positive, one.probabilities[:, place], drop_intermediate=False)
        # At a false positive rate where the curve rises, its upper end.
        curves.append(np.interp(grid + 1e-12, false, true))
    np.testing.assert_allclose(found[0], np.mean(curves, axis=0), atol=1e-6)
    assert ((found[1] <= found[2]) & (found[1] >= 0) & (found[2] <= 1)).all()


def test_without_a_class_it_is_the_targets(results):
    grid = np.linspace(0, 1, 5)
    first, second = (
        statistics.roc_band(results, "weighted", "1", "1", grid, 10, of_class=place)
        for place in (None, results.target)
    )
    assert np.array_equal(first, second)


def test_the_table_has_the_area_of_every_class(results):
    summary = statistics.summarize(results, bootstrap=20)
    html = roc_curves.areas(summary, results, REGIMES, results.zooms[0])
    rows = dict(re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', html))
    assert list(rows) == list(results.classes)
    for place, name in enumerate(results.classes):
        cells = rows[name].split("</td>")
        for regime, cell in zip(REGIMES, cells, strict=False):
            areas = [
                roc_auc_score(results.labels[one.rows] == place, one.probabilities[:, place])
                for one in replicates(results, regime, "1", "1", "plain")
            ]
            mean, low, high = map(float, re.findall(r"\d\.\d+", cell))
            assert mean == pytest.approx(np.mean(areas), abs=5.001e-4)
            assert low <= mean <= high
