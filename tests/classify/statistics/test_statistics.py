"""Statistics: that intervals cover, comparisons err rarely, and sentences say what numbers do."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from study_results import make_results

from classify.statistics import bootstrap, metrics, statistics, subgroups, verdict
from classify.statistics.replicates import replicates

BOTH = [("three-class", True), ("binary", False)]


def one_model(seed, gain=0.0, **options):
    """A small binary study of one model a regime, of which the second has a gain."""
    return make_results(
        "binary", regimes=("weighted", "singan-4"), gain={"singan-4": gain}, seed=seed,
        patients=45, folds=1, seeds=1, draws=1, **options,
    )  # fmt: skip


@pytest.mark.parametrize(("task", "shared_test"), BOTH)
def test_the_summary_has_a_row_for_each_and_the_means_are_those_of_replicates(task, shared_test):
    regimes = ("weighted", "singan-4", "ensemble:weighted+singan-4")
    results = make_results(
        task, shared_test, regimes, patients=24, train_zooms=("1", "2"), test_zooms=("1", "1+2+3")
    )
    summary = statistics.summarize(results, bootstrap=50)
    per_set = 6 * len(results.classes) + 3
    assert len(summary) == len(regimes) * 2 * 2 * 2 * per_set
    keys = ["regime", "train_zoom", "test_zoom", "variant", "class", "metric"]
    assert not summary.duplicated(keys).any()
    one = summary.set_index(keys).sort_index()
    place = ("singan-4", "2", "1+2+3", "cropped")
    for key in ((results.classes[-1], "roc_auc"), ("all", "calibration_error")):
        values = []
        for found in replicates(results, *place):
            labels = results.labels[found.rows]
            values.append(metrics.evaluate(labels, found.probabilities, results.classes)[key])
        row = one.loc[(*place, *key)]
        np.testing.assert_allclose(row["mean"], np.mean(values))
        np.testing.assert_allclose(row["sd"], np.std(values, ddof=1))
        assert row["low"] < row["high"]
        assert row["replicates"] == len(values) == (12 if shared_test else 4)
    assert set(summary["patients"]) == {24}
    assert set(summary["patients_target"]) == {16 if task == "binary" else 8}
    zoom_sizes = summary.groupby("test_zoom")["patches"].unique()
    assert zoom_sizes["1"].tolist() == [64]
    assert zoom_sizes["1+2+3"].tolist() == [96]
    ordinary = summary[~summary["metric"].isin(["precision", "calibration_error"])]
    assert (ordinary["undefined"] == 0).all()
    assert ((ordinary["low"] <= ordinary["mean"]) & (ordinary["mean"] <= ordinary["high"])).all()


def test_the_same_seed_gives_the_same_numbers():
    results = make_results(patients=24)
    for function in (statistics.summarize, statistics.compare, subgroups.subgroups):
        first, again, other = (function(results, 100, seed) for seed in (0, 0, 1))
        pd.testing.assert_frame_equal(first, again)
        assert not first["low"].equals(other["low"])
        assert first[first.columns.intersection(["mean", "rate", "difference"])].equals(
            other[other.columns.intersection(["mean", "rate", "difference"])]
        )


def test_a_regime_does_not_depend_on_what_is_beside_it():
    results = make_results(patients=24)
    alone = dataclasses.replace(results, regimes=("singan-4",))
    summary = statistics.summarize(results, 100)
    of_regime = summary[summary["regime"] == "singan-4"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_regime, statistics.summarize(alone, 100))


def test_the_interval_covers_the_true_auc():
    """95 % intervals, of 250 studies; the truth is the binormal Phi(1)."""
    covered, widths = [], []
    for seed in range(250):
        results = one_model(seed)
        found = replicates(results, "weighted", "1", "1", "plain")[0]
        positive, scores = results.labels[found.rows] == 1, found.probabilities[:, 1]
        resampling = bootstrap.resample(results.records, 300, seed)
        (weights,) = resampling.blocks(found.rows)
        samples = bootstrap.ranking(positive, scores, weights)["roc_auc"]
        low, high = bootstrap.interval(samples, 0.95)
        covered.append(low <= norm.cdf(1) <= high)
        widths.append(high - low)
    assert 0.90 <= np.mean(covered) <= 0.98
    assert 0.1 < np.mean(widths) < 0.25  # they say something


def test_the_calibration_error_of_calibrated_models_has_an_interval_down_to_about_0():
    summaries = [statistics.summarize(one_model(seed), 100) for seed in range(10)]
    errors = pd.concat(summaries).query("metric == 'calibration_error'")
    assert (errors["mean"] > 0.02).all()  # as there are few patches
    assert (errors["low"] < errors["mean"]).all()
    assert (errors["low"] < 0.01).mean() > 0.5  # never so without reflection


def test_no_difference_is_rarely_taken_for_one_and_a_large_one_never_overlooked():
    rejected = []
    for gain in (0.0, 1.5):
        tables = [statistics.compare(one_model(seed, gain), 200, seed) for seed in range(60)]
        table = pd.concat(tables)
        table = table[table["metric"] == "roc_auc"]
        excludes = (table["low"] > 0) | (table["high"] < 0)
        assert (excludes == (table["p"] < 0.05)).mean() > 0.95
        rejected.append(excludes.mean())
    assert rejected[0] <= 0.12  # 5 % expected; 8 of 60 have a probability of 1 %
    assert rejected[1] == 1


@pytest.mark.parametrize(("task", "shared_test"), BOTH)
def test_comparisons_are_paired_differences_of_means_and_corrected(task, shared_test):
    regimes = ("weighted", "oversample-4", "singan-4", "singan-2", "ensemble:weighted+singan-4")
    results = make_results(task, shared_test, regimes, {"singan-4": 0.3}, patients=30,
                           test_zooms=("1", "2"))  # fmt: skip
    table = statistics.compare(results, 500)
    pairs = [(name, "weighted") for name in regimes[1:]] + [("singan-4", "oversample-4")]
    assert list(dict.fromkeys(zip(table["regime"], table["baseline"], strict=True))) == pairs
    assert len(table) == len(pairs) * 2 * 2
    assert set(table["comparisons"]) == {len(pairs) * 2}
    assert set(table["class"]) == {results.classes[results.target]}
    summary = statistics.summarize(results, 50)
    summary = summary[(summary["variant"] == "plain")]
    means = summary.set_index(["regime", "test_zoom", "class", "metric"])["mean"]
    for row in table.itertuples():
        rest = row.test_zoom, results.classes[results.target], row.metric
        expected = means[(row.regime, *rest)] - means[(row.baseline, *rest)]
        np.testing.assert_allclose(row.difference, expected)
    assert (table["low_corrected"] <= table["low"]).all()
    assert (table["high_corrected"] >= table["high"]).all()
    assert (table["p_holm"] >= table["p"]).all()
    assert not table.isna().to_numpy().any()


def test_the_corrected_interval_is_that_of_a_level_divided_by_the_comparisons():
    results = make_results(patients=24)
    table = statistics.compare(results, 3000)
    strict = statistics.compare(results, 3000, level=1 - 0.05 / 3)
    assert set(table["comparisons"]) == {3}
    for end in ("low", "high"):
        np.testing.assert_allclose(table[f"{end}_corrected"], strict[end], atol=1e-9)


def test_a_regime_compared_with_its_own_copy_differs_by_nothing():
    results = make_results(regimes=("weighted", "singan-4"), patients=24)
    copies = tuple(
        dataclasses.replace(one, cell=one.cell._replace(regime="none"))
        for one in results.predictions
        if one.cell.regime == "weighted"
    )
    same = dataclasses.replace(
        results, regimes=("weighted", "none"), predictions=results.predictions + copies
    )
    table = statistics.compare(same, 200)
    numbers = table[["difference", "low", "high", "low_corrected", "high_corrected"]]
    assert (numbers == 0).all(axis=None)
    assert (table["p"] == 1).all()


def test_nothing_to_compare_gives_an_empty_table():
    results = make_results(regimes=("weighted",), patients=12)
    assert statistics.compare(results, 10).empty


@pytest.mark.parametrize("shared_test", [True, False])
def test_subgroups_are_rates_of_mistakes(shared_test):
    results = make_results(shared_test=shared_test, patients=40, test_zooms=("1", "1+2"))
    table = subgroups.subgroups(results, 200)
    for zoom, sizes in (("1", [80, 26]), ("1+2", [80, 26, 26])):
        chosen = table[(table["regime"] == "singan-4") & (table["test_zoom"] == zoom)]
        by_field = {field: rows.set_index("value") for field, rows in chosen.groupby("field")}
        assert by_field["zoom_group"]["patches"].tolist() == sizes
        assert by_field["density"].index.tolist() == ["1", "2", "3", "4", "unknown"]
        for field in ("density", "view", "Format", "zoom_group"):
            assert by_field[field]["patches"].sum() == sum(sizes)
        for field in ("calcification", "nodule"):
            assert by_field[field]["patches"].sum() == sum(sizes[1:])
        found = replicates(results, "singan-4", "1", zoom, "plain")
        inside = [results.records[row].view == "CC" for row in found[0].rows]
        rates = [
            (one.probabilities.argmax(1) != results.labels[one.rows])[inside].mean()
            for one in found
        ]
        row = by_field["view"].loc["CC"]
        np.testing.assert_allclose(row["rate"], np.mean(rates))
        assert row["low"] < row["rate"] < row["high"]
        assert row["patients"] == 20


def test_an_imputed_density_is_unknown():
    results = make_results(patients=12)
    records = tuple(
        dataclasses.replace(entry, density=2.4, density_imputed=True)
        if entry.density is None
        else entry
        for entry in results.records
    )
    imputed = dataclasses.replace(results, records=records)
    pd.testing.assert_frame_equal(
        subgroups.subgroups(imputed, 20), subgroups.subgroups(results, 20)
    )


def test_the_roc_band_encloses_the_curve_and_narrows_with_patients():
    grid = np.linspace(0, 1, 101)
    areas = []
    for patients in (30, 300):
        results = make_results("binary", patients=patients, draws=1, test_zooms=("1",))
        curve, low, high = statistics.roc_band(results, "weighted", "1", "1", grid, 200)
        assert ((low <= curve + 1e-6) & (curve <= high + 1e-6)).mean() > 0.95
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] == 1
        areas.append(np.trapezoid(high - low, grid))
        summary = statistics.summarize(results, 20).set_index(
            ["regime", "variant", "class", "metric"]
        )
        auc = summary.loc[("weighted", "plain", "Suspicious", "roc_auc"), "mean"]
        assert np.trapezoid(curve, grid) == pytest.approx(auc, abs=0.01)
    assert areas[1] < 0.5 * areas[0]
    np.testing.assert_allclose(curve, norm.cdf(1 * np.sqrt(2) + norm.ppf(grid)), atol=0.08)


def test_confusions_are_shares():
    results = make_results(patients=40)
    found = statistics.confusions(results, "weighted", "1", "1")
    np.testing.assert_allclose(found.sum(axis=1), 1)
    summary = statistics.summarize(results, 10)
    recall = summary[
        (summary["regime"] == "weighted")
        & (summary["variant"] == "plain")
        & (summary["metric"] == "recall")
    ]
    np.testing.assert_allclose(np.diag(found), recall["mean"])


def test_auc_by_generators_counts_upwards_and_ends_with_all():
    regimes = ("weighted", "singan-all", "singan-10", "singan-2", "oversample-2")
    summary = statistics.summarize(make_results(regimes=regimes, patients=12, draws=1), 10)
    table = statistics.auc_by_generators(summary)
    assert list(zip(table["kind"], table["k"], strict=True)) == [
        ("oversample", "2"), ("singan", "2"), ("singan", "10"), ("singan", "all")
    ]  # fmt: skip
    expected = summary[
        (summary["regime"] == "singan-10")
        & (summary["variant"] == "plain")
        & (summary["class"] == "Malign")
        & (summary["metric"] == "roc_auc")
    ]
    columns = ["mean", "low", "high"]
    assert table.loc[2, columns].tolist() == expected.iloc[0][columns].tolist()


def sentences(regimes=("weighted", "oversample-4", "singan-4"), **options):
    results = make_results(regimes=regimes, **options)
    return verdict.verdict(
        statistics.summarize(results, 20), statistics.compare(results, 500), results
    )


@pytest.mark.parametrize(
    ("gain", "claim", "control"),
    [
        ({"singan-4": 1.0}, "SinGAN patches improve the recognition of malignant lesions",
         "SinGAN patches do more than copies"),
        ({"singan-4": -0.9}, "SinGAN patches worsen the recognition of malignant lesions",
         "SinGAN patches do less than copies"),
        ({"singan-4": 1.0, "oversample-4": 1.0}, "SinGAN patches improve",
         "no difference between SinGAN patches and copies could be shown"),
        ({}, "It could not be shown that SinGAN patches change",
         "no difference between SinGAN patches and copies"),
    ],
)  # fmt: skip
def test_the_verdict_claims_what_the_interval_excludes(gain, claim, control):
    first, second = sentences(gain=gain)
    assert first.startswith(claim)
    assert "than with weighted (95 % interval " in first
    assert (
        "corrected for 3 comparisons; 60 test patients, 20 of them with malignant lesions)."
        in first
    )
    assert control in second
    assert "oversample-4, copies of the same source images" in second


def test_the_verdict_counts_regimes_and_names_the_clearest():
    first, second = sentences(
        ("weighted", "singan-2", "singan-4"), gain={"singan-2": 0.0, "singan-4": 1.2}
    )
    assert "with singan-4, trained on zoom 1" in first
    assert "of 2 combinations of SinGAN regime and zooms 1 improve and 0 worsen it." in first
    assert "oversample-4" in second
    assert "is not known" in second


@pytest.mark.parametrize("regimes", [("weighted",), ("weighted", "oversample-4")])
def test_the_verdict_of_a_study_without_singan_claims_nothing(regimes):
    first, second = sentences(regimes)
    assert "does not say whether" in first
    assert second == "Nothing is claimed, as there is no interval."
