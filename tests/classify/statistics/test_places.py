"""Fill zooms, and test patients drawn anew for each fold, against direct computations in NumPy."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, roc_curve
from study_results import make_results

from classify.cells import Zooms, fill_zooms_at
from classify.statistics import bootstrap, statistics, subgroups, verdict
from classify.statistics.places import bootstrap_means, place_of, stacks
from classify.statistics.replicates import replicates

TWO = ("weighted", "singan-4")


def models(results, regime, fold=None, groups=(0, 1), fill=""):
    """Of each prediction: records' places, labels, probabilities; of a test zoom's patches."""
    inside = np.array([record.zoom_group in groups for record in results.records])
    for one in results.predictions:
        cell = one.cell
        if (cell.regime, cell.fill_zoom) == (regime, fill) and fold in (None, cell.fold):
            rows = one.rows[inside[one.rows]]
            yield rows, results.labels[rows], one.probabilities["plain"][inside[one.rows]]


def auc(labels, probabilities, weights=None):
    """Of the last class, in each of the samples (n, samples); NaN where a class is missing."""
    target = probabilities.shape[1] - 1
    positive, scores = labels == target, probabilities[:, target]
    weights = np.ones((len(labels), 1)) if weights is None else np.float64(weights)
    one, other = scores[positive][:, None], scores[~positive]
    beaten = (one > other) + 0.5 * (one == other)
    won = np.einsum("ps,pn,ns->s", weights[positive], beaten, weights[~positive], optimize=True)
    pairs = weights[positive].sum(0) * weights[~positive].sum(0)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def mean_auc(results, regime, samples, seed):
    """Of each bootstrap sample the mean over models of the AUC on the patches of their fold."""
    drawn = bootstrap.resample(results.records, samples, seed)
    weights = drawn.counts[drawn.patient]  # (patches, samples)
    every = [auc(y, p, weights[rows]) for rows, y, p in models(results, regime)]
    return np.ma.filled(np.ma.masked_invalid(every).mean(axis=0), np.nan), np.isnan(every).any()


@pytest.fixture(scope="module")
def redrawn():
    return make_results(regimes=TWO, redrawn_test=True, patients=30, gain={"singan-4": 0.5})


def test_redrawn_test_sets_overlap(redrawn):
    tested = [{*rows.tolist()} for rows, *_ in models(redrawn, "weighted")]
    assert len({frozenset(rows) for rows in tested}) == 3
    assert tested[0] & tested[2]
    assert set.union(*tested) < {*range(len(redrawn.records))}


def test_with_redrawn_test_sets_each_model_is_a_replicate_on_those_of_its_fold(redrawn):
    found = replicates(redrawn, "singan-4", "1", "1", "plain")
    assert len({(one.seed, one.draw, one.fold) for one in found}) == len(found) == 2 * 2 * 3
    for one in found:
        expected = [rows for rows, *_ in models(redrawn, "singan-4", one.fold)]
        assert all((one.rows == rows).all() for rows in expected)


def test_an_ensemble_never_asks_the_model_of_another_fold(redrawn):
    results = dataclasses.replace(redrawn, regimes=(*TWO, "ensemble:weighted+singan-4"))
    found = replicates(results, "ensemble:weighted+singan-4", "1", "1", "plain")
    assert len({(one.seed, one.draw, one.fold) for one in found}) == len(found) == 2 * 2 * 3
    parts = {
        (p.cell.regime, p.cell.fold, p.cell.seed, p.cell.draw): p.probabilities["plain"]
        for p in results.predictions
    }
    rows = {p.cell.fold: p.rows for p in results.predictions}
    for one in found:
        mean = parts["weighted", one.fold, one.seed, 0] / 2
        mean = mean + parts["singan-4", one.fold, one.seed, one.draw] / 2
        inside = np.isin(rows[one.fold], one.rows)
        np.testing.assert_allclose(one.probabilities, mean[inside], rtol=1e-5)


def test_the_summary_of_redrawn_test_sets_is_the_mean_over_folds_of_their_own_metrics(redrawn):
    summary = statistics.summarize(redrawn, bootstrap=60, seed=3)
    for regime in TWO:
        every = list(models(redrawn, regime))
        values = np.concatenate([auc(labels, probabilities) for _, labels, probabilities in every])
        row = summary.query("regime == @regime and metric == 'roc_auc' and variant == 'plain'")
        row = row.set_index("class").loc["Malign"]
        np.testing.assert_allclose(row["mean"], np.mean(values))
        np.testing.assert_allclose(row["sd"], np.std(values, ddof=1))
        drawn, _ = mean_auc(redrawn, regime, 60, 3)
        np.testing.assert_allclose(
            [row["low"], row["high"]], np.quantile(drawn, [0.025, 0.975]), atol=1e-6
        )
        patients = {redrawn.records[place].patient_id for rows, *_ in every for place in rows}
        assert row["patients"] == len(patients) < 30
        assert row["replicates"] == len(values)


def test_comparisons_of_redrawn_test_sets_are_paired_within_folds(redrawn):
    table = statistics.compare(redrawn, 300, seed=1).set_index("metric").loc["roc_auc"]
    one, other = (mean_auc(redrawn, regime, 300, 1)[0] for regime in ("singan-4", "weighted"))
    bounds = np.quantile(one - other, [0.025, 0.975])
    np.testing.assert_allclose([table["low"], table["high"]], bounds, atol=1e-6)


def test_a_class_that_a_sample_lacks_in_a_fold_leaves_that_fold_out():
    results = make_results(regimes=TWO, redrawn_test=True, patients=9, seeds=1, draws=1)
    summary = statistics.summarize(results, bootstrap=50)
    row = summary.query("regime == 'singan-4' and metric == 'roc_auc' and variant == 'plain'")
    row = row.set_index("class").loc["Malign"]
    drawn, is_lacking = mean_auc(results, "singan-4", 50, 0)
    assert is_lacking
    np.testing.assert_allclose(
        [row["low"], row["high"]], np.nanquantile(drawn, [0.025, 0.975]), atol=1e-6
    )
    assert row["undefined"] == np.isnan(drawn).mean()


def test_intervals_over_redrawn_test_sets_cover_the_truth():
    """95 % intervals, of 150 studies; the truth is the binormal Phi(1)."""
    covered = []
    for seed in range(150):
        results = make_results(
            "binary", regimes=("weighted",), redrawn_test=True, patients=75, seeds=1, seed=seed
        )
        found = stacks(results, place_of("weighted", "1", "1"), "plain")
        assert len(found) == 3
        drawn = bootstrap_means(
            bootstrap.resample(results.records, 200, seed),
            found,
            lambda stack, one, weights: bootstrap.ranking(stack.labels == 1, one[:, 1], weights),
        )
        low, high = bootstrap.interval(drawn["roc_auc"], 0.95)
        covered.append(low <= norm.cdf(1) <= high)
    assert 0.89 <= np.mean(covered) <= 0.99


def test_rates_confusions_and_curves_of_redrawn_test_sets_are_means_over_folds(redrawn):
    every = list(models(redrawn, "weighted"))
    table = subgroups.subgroups(redrawn, 50).query("regime == 'weighted' and field == 'view'")
    for row in table.itertuples():
        rates = []
        for rows, labels, probabilities in every:
            inside = [redrawn.records[place].view == row.value for place in rows]
            rates.append((probabilities.argmax(1) != labels)[inside].mean())
        np.testing.assert_allclose(row.rate, np.mean(rates))
        assert row.low < row.rate < row.high
    shares = [confusion_matrix(y, p.argmax(1), normalize="true") for _, y, p in every]
    found = statistics.confusions(redrawn, "weighted", "1", "1")
    np.testing.assert_allclose(found, np.mean(shares, axis=0))
    grid = np.linspace(0, 1, 21)
    curves = []
    for _, labels, probabilities in every:
        false, true, _ = roc_curve(labels == 2, probabilities[:, 2], drop_intermediate=False)
        curves.append([true[false <= x].max() for x in grid])
    curve, low, high = statistics.roc_band(redrawn, "weighted", "1", "1", grid, 50)
    steps = np.mean(curves, axis=0)  # at each rate no higher than the line between thresholds
    assert (curve >= steps - 1e-6).all()
    assert np.abs(curve - steps).max() < 0.1
    assert (low <= high).all()


@pytest.mark.parametrize("redrawn_test", [True, False])
def test_the_spread_over_folds_is_numpys_of_the_folds_means(redrawn_test):
    results = make_results(regimes=TWO, redrawn_test=redrawn_test, patients=24, folds=4)
    summary = statistics.summarize(results, 20).query("metric == 'roc_auc' and variant == 'plain'")
    for regime in TWO:
        means = [
            np.mean([auc(y, p) for _, y, p in models(results, regime, fold)]) for fold in range(4)
        ]
        row = summary[summary["regime"] == regime].set_index("class").loc["Malign"]
        np.testing.assert_allclose(row["sd_folds"], np.std(means))


def test_there_is_no_spread_over_folds_where_they_are_one_replicate():
    for options in ({"shared_test": False}, {"regimes": ("weighted", "ensemble:weighted")}):
        results = make_results(**{"regimes": TWO, "patients": 12} | options)
        summary = statistics.summarize(results, 20)
        assert summary[summary["regime"] == results.regimes[-1]]["sd_folds"].isna().all()


@pytest.mark.parametrize(
    ("train", "stated", "found"),
    [
        ("1", ("same",), ("1",)),
        ("3", ("1", "3", "same"), ("1", "3")),
        ("1+2", ("2+1", "3"), ("1+2", "3")),
        ("2", ("same", "1+3", "3+1"), ("2", "1+3")),
    ],
)
def test_fill_zooms_are_taken_once(train, stated, found):
    assert fill_zooms_at(train, stated) == found


@pytest.fixture(scope="module")
def filled():
    """A study of two fill zooms at two train zooms."""
    regimes = ("weighted", "none", "oversample-4", "singan-4", "ensemble:weighted+singan-4")
    return make_results(
        regimes=regimes, gain={"singan-4": 0.3}, patients=24, draws=1, seeds=1, folds=2,
        train_zooms=("1", "3"), fill_zooms=("1", "3"), test_zooms=("2",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def filled_means(filled):
    """By regime, train and fill zoom, the mean AUC."""
    summary = statistics.summarize(filled, 20).query("metric == 'roc_auc' and variant == 'plain'")
    rows = summary[summary["class"] == "Malign"]
    return rows.set_index(["regime", "train_zoom", "fill_zoom"])["mean"]


def test_every_regime_that_fills_up_has_a_row_at_each_fill_zoom(filled, filled_means):
    assert sorted(filled_means.index) == sorted(
        (regime, train, fill)
        for regime, train in itertools.product(filled.regimes, "13")
        for fill in (["1", "3"] if "-4" in regime else [""])
    )
    for train, fill in itertools.product("13", "13"):
        chosen = [p for p in filled.predictions if p.cell.train_zoom == train]
        part = dataclasses.replace(filled, predictions=tuple(chosen))
        own = "" if fill == train else fill
        values = [auc(y, p) for _, y, p in models(part, "singan-4", groups=(0, 2), fill=own)]
        assert len(values) == 2
        np.testing.assert_allclose(filled_means["singan-4", train, fill], np.mean(values))


def test_a_regime_is_compared_with_its_control_at_the_same_fill_zoom(filled, filled_means):
    table = statistics.compare(filled, 100)
    table = table[table["metric"] == "roc_auc"]
    # none once at each train zoom; three others, and the control, at each fill zoom too
    assert len(table) == 2 + (3 + 1) * 4
    assert set(table["comparisons"]) == {len(table)}
    for row in table.itertuples():
        one, other = (
            filled_means[(name, row.train_zoom, row.fill_zoom if "-4" in name else "")]
            for name in (row.regime, row.baseline)
        )
        np.testing.assert_allclose(row.difference, one - other)
    controls = table[table["baseline"] == "oversample-4"]
    assert sorted(controls["fill_zoom"]) == ["1"] * 2 + ["3"] * 2


def test_the_verdict_says_which_zoom_the_samples_are_of(filled):
    strong = make_results(
        regimes=("weighted", "oversample-4", "singan-4"), gain={"singan-4": 1.6}, patients=60,
        fill_zooms=("3",), draws=1,
    )  # fmt: skip
    table = statistics.compare(strong, 200)
    first, second = verdict.verdict(statistics.summarize(strong, 20), table, strong)
    assert "with singan-4 of zoom 3, trained on zoom 1 and tested on zoom 1," in first
    assert "oversample-4, copies of the same source images, the ROC-AUC is" in second
    best = verdict.least_p(statistics.compare(filled, 200), filled)
    assert Zooms(best["train_zoom"], best["test_zoom"], best["fill_zoom"]) in filled.zooms
