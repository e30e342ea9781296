"""The section on splits: its numbers against those counted, and that it is drawn."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from study_results import study_records

from classify.cells import Zooms
from classify.report import splits
from classify.statistics.split_counts import SPLITS, split_counts

ZOOMS = Zooms("1", "1+2")


def counts(folds):
    records = study_records(30)
    patients = sorted({record.patient_id for record in records})
    parts = []
    for fold in range(folds):
        turn = np.random.default_rng(fold).permutation(patients)
        cut = np.split(turn, [15 + fold, 24])
        parts.append(dict(zip(SPLITS, map(set, cut), strict=True)))
    return split_counts(records, "three-class", parts, ZOOMS[:2])


def table_of(html, number=0):
    """By heading of a row, the texts of its cells."""
    tree = list(ET.fromstring(f"<div>{html}</div>").iter("table"))[number]
    return {
        "".join(row[0].itertext()): [" ".join(cell.itertext()) for cell in row[1:]]
        for row in tree.find("tbody")
    }


def test_the_table_has_means_and_ranges_over_folds(monkeypatch):
    monkeypatch.setattr(splits, "plot", lambda _: b"")
    found = counts(3)
    rows = table_of(splits.html(found, ZOOMS))
    assert {"all", "class: Malign", "calcification: yes", "density: unknown"} <= set(rows)
    for name, cells in rows.items():
        field, _, value = name.partition(": ")
        chosen = found[found["field"].str.lower() == field]
        value = {"": "all", "yes": "True", "no": "False"}.get(value, value)
        chosen = chosen[chosen["value"].astype(str) == value]
        texts = iter(cells)
        for split in SPLITS:
            zoom = "1+2" if split == "test" else "1"
            of_split = chosen[(chosen["split"] == split) & (chosen["zoom"] == zoom)]
            assert len(of_split) == 3
            for counted in ("patches", "patients"):
                numbers = [float(x) for x in re.findall(r"[\d.]+", next(texts))]
                every = of_split[counted].to_numpy()
                if len(set(every)) == 1:
                    assert numbers == [every[0]]
                else:
                    expected = [every.mean(), every.min(), every.max()]
                    assert numbers == pytest.approx(expected, abs=0.0501)


@pytest.mark.parametrize(("folds", "tables"), [(1, 1), (3, 4), (6, 1)])
def test_few_folds_have_a_table_each(folds, tables, monkeypatch):
    monkeypatch.setattr(splits, "plot", lambda _: b"")
    html = splits.html(counts(folds), ZOOMS)
    assert html.count("<table") == tables
    assert html.count("<details>") == (2 if folds == 3 else 1)


def test_bars_are_as_long_as_the_counts_say(monkeypatch):
    found = splits.at_zooms(counts(2), ZOOMS)
    drawn = []
    monkeypatch.setattr(splits, "as_svg", lambda figure: drawn.append(figure) or b"")
    splits.plot(found)
    panels = np.array(drawn[0].axes).reshape(5, 3)
    for axes, split in zip(panels[0], SPLITS, strict=True):  # by class
        bars = [bar.get_height() for bar in axes.patches]
        of_split = found[(found["split"] == split) & (found["field"] == "class")]
        for counted, heights in (("patches", bars[:3]), ("patients", bars[3:])):
            names = ("Normal", "Benign", "Malign")
            means = [of_split.loc[of_split["value"] == name, counted].mean() for name in names]
            assert heights == pytest.approx(means)


def test_equal_counts_give_equal_bytes():
    found = splits.at_zooms(counts(1), ZOOMS)
    assert splits.plot(found) == splits.plot(found)


def test_nothing_counted_is_left_out():
    assert splits.html(pd.DataFrame(), ZOOMS) == ""
