"""Counts of patches and patients by split, against the records one by one."""

import dataclasses

import numpy as np
import pytest
from study_results import study_records

from classify.cells import CLASSES
from classify.statistics.split_counts import FIELDS, SPLITS, split_counts


def drawn_folds(records, folds, seed):
    """Random patients in each split."""
    rng = np.random.default_rng(seed)
    patients = sorted({record.patient_id for record in records})
    found = []
    for _ in range(folds):
        turn = rng.permutation(patients)
        parts = np.split(turn, [len(turn) // 2, 3 * len(turn) // 4])
        found.append(dict(zip(SPLITS, map(set, parts), strict=True)))
    return found


def known(record, field, task):
    """What a record counts as, None where it does not count."""
    row = record.to_json()
    if field == "all":
        return "all"
    if field == "class":
        if task == "binary":
            return "Suspicious" if row["suspicious"] else "Healthy"
        return row["classification"]
    if field == "density":
        unknown = row["density"] is None or row["density_imputed"]
        return "unknown" if unknown else str(round(row["density"]))
    if field in ("calcification", "nodule") and not row["suspicious"]:
        return None
    return str(row[field])


@pytest.mark.parametrize("task", CLASSES)
def test_counts_are_those_of_the_records(task):
    records = study_records(23)
    records = tuple(
        dataclasses.replace(r, density=2.4, density_imputed=True) if r.density is None else r
        for r in records
    )
    folds = drawn_folds(records, 2, seed=1)
    table = split_counts(records, task, folds, ("1", "1+3", "1"))
    assert not table.duplicated(["fold", "split", "zoom", "field", "value"]).any()
    assert set(table["zoom"]) == {"1", "1+3"}
    for row in table.itertuples():
        groups = {0, *map(int, row.zoom.split("+"))}
        inside = [
            record
            for record in records
            if record.patient_id in folds[row.fold][row.split]
            and record.zoom_group in groups
            and known(record, row.field, task) == row.value
        ]
        assert row.patches == len(inside)
        assert row.patients == len({record.patient_id for record in inside})
    every = {(field, known(record, field, task)) for record in records for field in FIELDS}
    found = set(zip(table["field"], table["value"], strict=True))
    assert found == {(field, value) for field, value in every if value is not None}


def test_what_a_split_lacks_is_counted_as_none():
    records = study_records(6)
    everyone = {record.patient_id for record in records}
    table = split_counts(
        records, "binary", [dict(zip(SPLITS, (everyone, (), ()), strict=True))], "1"
    )
    sizes = table.groupby("split")[["patches", "patients"]].sum()
    assert sizes.loc["train"].min() > 0
    assert sizes.loc[["validation", "test"]].to_numpy().max() == 0
    assert (table.groupby("split").size() == len(table) // 3).all()
