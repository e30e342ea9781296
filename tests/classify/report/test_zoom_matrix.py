"""The matrix of train, fill and test zooms, and what the rest of a report says of fill zooms."""

import re

import pytest
from report_data import make_data

from classify.report import report, tables, zoom_matrix

REGIMES = ("weighted", "oversample-4", "singan-4")


@pytest.fixture(scope="module")
def data():
    return make_data(
        regimes=REGIMES,
        train_zooms=("1", "3"),
        fill_zooms=("1", "3"),
        test_zooms=("1", "2"),
        draws=1,
    )


def cells(html):
    """By (regime, row), the means and intervals of the columns."""
    found = {}
    for table in html.split("<table")[1:]:
        regime = next(name for name in REGIMES if name in table or name.replace("-", "") in table)
        for row in table.split("<tr>")[1:]:
            name = re.search(r"<th[^>]*>([^<]*)</th>", row)
            numbers = [float(x) for x in re.findall(r"0\.\d+|1\.0+", re.sub("<[^>]+>", " ", row))]
            found[regime, name[1] if name else ""] = numbers
    return found


def expected(data, regime, train, fill):
    rows = data.summary.query("metric == 'roc_auc' and variant == 'plain'")
    rows = rows[(rows["class"] == "Malign") & (rows["regime"] == regime)]
    rows = rows[(rows["train_zoom"] == train) & (rows["fill_zoom"] == fill)].set_index("test_zoom")
    return rows.loc[["1", "2"], ["mean", "low", "high"]].to_numpy().ravel()


def test_each_fill_zoom_has_a_row_of_its_own(data):
    html = zoom_matrix.zoom_matrix(data.summary, data.results, REGIMES)
    found = {key: numbers for key, numbers in cells(html).items() if key[1].strip()}
    assert set(found) == {
        *(("weighted", f"train {train}") for train in "13"),
        *((name, f"fill {f}, train {t}") for name in REGIMES[1:] for f in "13" for t in "13"),
    }
    for (regime, name), numbers in found.items():
        *fill, train = re.findall(r"\d", name)
        known = expected(data, regime, train, fill[0] if fill else "")
        assert numbers == pytest.approx(known, abs=5.001e-3)


def test_rows_are_train_zooms_where_the_fill_zoom_is_the_same():
    data = make_data(regimes=REGIMES, train_zooms=("1", "3"), draws=1)
    html = zoom_matrix.zoom_matrix(data.summary, data.results, REGIMES)
    assert "fill" not in html
    assert html.count("train 3") == len(REGIMES)
    single = make_data(regimes=REGIMES, draws=1)
    assert zoom_matrix.zoom_matrix(single.summary, single.results, REGIMES) == ""


def test_the_report_is_of_one_fill_zoom_and_says_which(data, tmp_path):
    report.write_report(tmp_path / "report.html", data)
    text = (tmp_path / "report.html").read_text()
    fill, train, test = data.zooms.fill, data.zooms.train, data.zooms.test
    where = f", filled up at zoom {fill}, trained on zoom {train}, tested on zoom {test}"
    assert tables.where(data.results, data.zooms) == where
    assert where in text
    other = ({"1", "3"} - {train}).pop()
    assert f"Train zoom {train}, fill zoom {other}, test zoom {test}, patches as they are" in text
    for frame in (data.summary, data.comparisons):
        rows = tables.of_target(frame, data.results, data.zooms)
        keys = ["regime", "baseline"] if "baseline" in rows else ["regime"]
        assert not rows.duplicated(keys).any()
        assert set(rows["regime"]) >= {*REGIMES[1:]}
