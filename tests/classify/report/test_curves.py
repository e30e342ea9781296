"""Curves of each epoch: their numbers, and that they are drawn where there are any."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from report_data import make_data
from study_results import EPOCHS

from classify.cells import EpochMeasures
from classify.report import curves, report


def with_measures(prediction, seed):
    """A prediction with drawn measures; in the first epoch one class is never called."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(1, 20, (EPOCHS, 2, 3, 3), dtype=np.int32)
    confusion[0, :, :, 1] = 0
    roc_auc = rng.random((EPOCHS, 2, 3)).astype(np.float32)
    return dataclasses.replace(prediction, measures=EpochMeasures(confusion, roc_auc))


@pytest.fixture(scope="module")
def data():
    data = make_data(regimes=("weighted", "singan-4"))
    predictions = tuple(with_measures(one, n) for n, one in enumerate(data.results.predictions))
    results = dataclasses.replace(data.results, predictions=predictions)
    return dataclasses.replace(data, results=results)


def test_curves_are_means_over_trainings(data):
    predictions = data.results.predictions[:3]
    found = curves.curves_of(predictions, target=2)
    assert set(found) == set(curves.MEASURES)
    for epoch in (0, 5):
        for part in (0, 1):
            of_each = {name: [] for name in curves.MEASURES}
            for one in predictions:
                counts = one.measures.confusion[epoch, part].astype(float)
                right = np.diag(counts)
                with np.errstate(invalid="ignore"):
                    precision = right / counts.sum(0)
                areas = one.measures.roc_auc[epoch, part]
                of_each["loss"].append(one.curves[epoch, part])
                of_each["accuracy"].append(right.sum() / counts.sum())
                of_each["ROC-AUC, mean"].append(areas.mean())
                of_each[curves.TARGET].append(areas[2])
                of_each["precision"].append(np.nanmean(precision))
                of_each["recall"].append((right / counts.sum(1)).mean())
            for name, values in of_each.items():
                curve, mean, sd = found[name][part], np.mean(values), np.std(values)
                got = curve.low[epoch], curve.mean[epoch], curve.high[epoch]
                np.testing.assert_allclose(got, [mean - sd, mean, mean + sd], rtol=1e-5)


def test_the_plot_has_a_row_for_each_measure_and_equal_bytes(data):
    of_regime = curves.curves_of(data.results.predictions, target=2)
    given = {"weighted": ("baseline", of_regime), "singan-4": ("singan", of_regime)}
    svg = curves.plot(given, "Malign")
    assert svg == curves.plot(given, "Malign")
    ids = [element.get("id", "") for element in ET.fromstring(svg).iter()]
    assert sum(name.startswith("axes_") for name in ids) == 2 * len(curves.MEASURES)


def test_a_report_folds_them_away_where_there_are_any(data, tmp_path):
    report.write_report(tmp_path / "new.html", data)
    assert "Other measures by epoch" in (tmp_path / "new.html").read_text()
    old = tuple(dataclasses.replace(one, measures=None) for one in data.results.predictions)
    results = dataclasses.replace(data.results, predictions=old)
    report.write_report(tmp_path / "old.html", dataclasses.replace(data, results=results))
    assert "Other measures by epoch" not in (tmp_path / "old.html").read_text()
    assert set(curves.curves_of(old, target=2)) == {curves.LOSS}
