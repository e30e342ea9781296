"""The list of misclassified patches, and mistake rates by BCDR's views, against plain NumPy."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from study_results import make_results

from classify.statistics.mistakes import misclassified
from classify.statistics.places import places
from classify.statistics.replicates import replicates
from classify.statistics.subgroups import subgroups


@pytest.mark.parametrize("shared_test", [True, False])
def test_all_mistakes_of_every_place_are_listed(shared_test):
    results = make_results(
        shared_test=shared_test, patients=30, folds=2, seeds=1, test_zooms=("1", "1+2")
    )
    table = misclassified(results)
    assert set(table["regime"]) == set(results.regimes)
    for place in places(results):
        chosen = table[(table[list(place._fields)] == list(place)).all(axis=1)]
        found = replicates(results, *place[:3], "plain", place.fill_zoom or None)
        mean = np.mean([np.float64(one.probabilities) for one in found], axis=0)
        labels = results.labels[found[0].rows]
        counts = confusion_matrix(labels, mean.argmax(axis=1), labels=range(3))
        for truth, said in np.argwhere(~np.eye(3, dtype=bool)):
            names = results.classes[truth], results.classes[said]
            of_pair = chosen[(chosen["truth"] == names[0]) & (chosen["said"] == names[1])]
            assert len(of_pair) == counts[truth, said]
            assert of_pair["probability"].is_monotonic_decreasing
        by_id = {
            results.records[row].patch_id: p for row, p in zip(found[0].rows, mean, strict=True)
        }
        for row in chosen.itertuples():
            of_patch = by_id[row.patch_id]
            assert row.probability == pytest.approx(of_patch.max(), abs=1e-6)
            right = of_patch[results.classes.index(row.truth)]
            assert row.probability_of_truth == pytest.approx(right, abs=1e-6)


def test_metadata_are_those_of_the_record():
    results = make_results(patients=20, folds=1, seeds=1, draws=1)
    records = tuple(
        dataclasses.replace(r, age=50.0, age_imputed=True, density=2.4, density_imputed=True)
        if n % 2
        else r
        for n, r in enumerate(results.records)
    )
    by_id = {record.patch_id: record for record in records}
    table = misclassified(dataclasses.replace(results, records=records))
    assert len(table) > 10
    for row in table.itertuples():
        record = by_id[row.patch_id]
        known = row.patient_id, row.Format, row.zoom_group, row.findings
        findings = " ".join(record.findings)
        assert known == (record.patient_id, record.format, record.zoom_group, findings)
        assert row.truth == record.classification
        assert row.image_view == record.laterality + {"CC": "CC", "MLO": "O"}[record.view]
        if record.age_imputed:
            assert (row.density, np.isnan(row.age)) == ("unknown", True)
        else:
            assert row.age == record.age


def test_a_study_without_mistakes_lists_none():
    table = misclassified(make_results(patients=12, separability=12.0, folds=1, seeds=1))
    assert len(table) == 0
    assert {"regime", "truth", "said", "patch_id", "image_view"} <= set(table.columns)


def test_the_four_views_are_told_apart():
    results = make_results(patients=40, regimes=("weighted",), seeds=1)
    table = subgroups(results, 50)
    table = table[table["field"] == "image_view"].set_index("value")
    assert table.index.tolist() == ["LCC", "LO", "RCC", "RO"]
    found = replicates(results, "weighted", "1", "1", "plain")
    tested = [results.records[row] for row in found[0].rows]
    assert table["patches"].sum() == len(tested)
    for side, view, value in (
        *(("R", "CC", "RCC"), ("L", "CC", "LCC")),
        *(("R", "MLO", "RO"), ("L", "MLO", "LO")),
    ):
        inside = [(one.laterality, one.view) == (side, view) for one in tested]
        rates = [
            (one.probabilities.argmax(1) != results.labels[one.rows])[inside].mean()
            for one in found
        ]
        assert table.loc[value, "patches"] == sum(inside)
        assert table.loc[value, "rate"] == pytest.approx(np.mean(rates), rel=1e-9)
