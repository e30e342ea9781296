"""What the replicates of a study say together, with intervals; and the answer in two sentences.

Values are means over replicates. Intervals are percentiles of the patient-level bootstrap of that
mean, with the same patients for all replicates and both sides of a comparison. So an interval
says what other test patients would change; what another fold, seed or choice of source images
would change is the standard deviation over replicates. Where each fold has test patients of its
own, a metric is that of a replicate on its fold's patients, and replicates of a fold without any
patch that it is of are left out. `bootstrap` tells when few patients make an interval too narrow.
Few patches make the calibration error too large, a bootstrap sample of
them more so; its interval is therefore reflected at the mean, and may lie below it.
"""

import itertools
import math
import typing

import numpy as np
import pandas as pd
import tqdm

from classify.cells import TARGETS, Results, Variant
from classify.statistics import bootstrap as boot
from classify.statistics import metrics
from classify.statistics.places import (
    Evaluate,
    Place,
    Stack,
    bootstrap_means,
    compared,
    num_patients,
    place_of,
    places,
    rows_of,
    sd_over_folds,
    stacks,
)

COMPARED = ("roc_auc", "pr_auc")
_COMPARISON = (
    *("regime", "baseline", "train_zoom", "test_zoom", "fill_zoom"),
    *("class", "metric", "difference"),
    *("low", "high", "low_corrected", "high_corrected", "p", "comparisons", "level"),
    *("replicates", "patients"),
)
_DELAY = 3  # seconds before a bar is shown
TAIL_SAMPLES = 4  # that lie beyond a corrected bound, on average; fewer would leave it to chance


def summarize(
    results: Results, bootstrap: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Every metric of every regime, train zoom, test zoom, fill zoom and variant.

    Args:
      results: of the study.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the intervals.

    Returns:
      One row for each, with the columns regime, train_zoom, test_zoom, fill_zoom (empty where
      nothing is filled up), variant, class (or "all"), metric; mean and sd over the replicates that
      define it (sd with n - 1, NaN where there is one); sd_folds, over the folds with n, see
      `places.sd_over_folds`; low and high, the interval of the mean; replicates; patients and
      patches in the test sets, and patients_target, those with a patch of the study's target class;
      undefined, the share of bootstrap samples in which no replicate defines the metric.
    """
    resampling = boot.resample(results.records, bootstrap, seed)
    cells = list(itertools.product(places(results), typing.get_args(Variant)))
    rows = []
    for place, variant in tqdm.tqdm(cells, "metrics", delay=_DELAY):
        found = stacks(results, place, variant)
        evaluated = [
            metrics.evaluate(stack.labels, one, results.classes)
            for stack in found
            for one in stack.probabilities
        ]
        every = {key: np.array([one[key] for one in evaluated]) for key in evaluated[0]}
        over_folds = sd_over_folds(every, tuple(fold for stack in found for fold in stack.folds))
        samples = bootstrap_means(resampling, found, _all_metrics(results))
        tested = _tested(results, found)
        for (name, metric), drawn in samples.items():
            values = every[name, metric]
            defined = values[~np.isnan(values)]
            mean, (low, high) = float(boot.nan_mean(values)), boot.interval(drawn, level)
            if metric == "calibration_error":
                low, high = max(0, 2 * mean - high), max(0, 2 * mean - low)
            rows.append(
                place._asdict()
                | {"variant": variant, "class": name, "metric": metric}
                | {"mean": mean, "sd": defined.std(ddof=1) if len(defined) > 1 else np.nan}
                | {"sd_folds": over_folds[name, metric]}
                | {"low": low, "high": high, "replicates": len(values)}
                | tested
                | {"undefined": np.isnan(drawn).mean()}
            )
    return pd.DataFrame(rows)


def compare(
    results: Results, bootstrap: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Each regime against the baseline, and singan-k against oversample-k, on the target class.

    Test patches are taken as they are ("plain").

    Args:
      results: of the study.
      bootstrap: least number of samples; more are drawn where the correction needs them.
      seed: of the bootstrap.
      level: of the intervals.

    Returns:
      One row for each pair, train zoom, test zoom, fill zoom and metric (roc_auc, the main one, and
      pr_auc), with the columns regime, baseline, train_zoom, test_zoom, fill_zoom (of both, or of
      the one that fills up), class, metric; difference, regime less baseline; low and high at
      `level`; low_corrected and high_corrected, likewise after Bonferroni's correction for all
      comparisons of that metric; p, two-sided; comparisons, how many that metric has; level;
      replicates of the regime; patients; p_holm, p after Holm's correction.
    """
    every = compared(results)
    number = sum(len(pairs) for _, pairs in every)
    tail = (1 - level) / (2 * max(1, number))
    samples = max(bootstrap, math.ceil(TAIL_SAMPLES / tail))
    resampling = boot.resample(results.records, samples, seed)
    rows = []
    for _, pairs in tqdm.tqdm(every, "comparisons", delay=_DELAY):
        means = {
            place: _target_means(results, place, resampling)
            for place in dict.fromkeys(itertools.chain(*pairs))
        }
        for (one, other), metric in itertools.product(pairs, COMPARED):
            (value, drawn, counted), (other_value, other_drawn, _) = means[one], means[other]
            difference = drawn[metric] - other_drawn[metric]
            size = value[metric] - other_value[metric]
            bounds = boot.interval(difference, level), boot.interval(difference, 1 - 2 * tail)
            p = boot.two_sided_p(difference)
            tested = (TARGETS[results.task], metric, size, *bounds[0], *bounds[1], p)
            zooms = one.train_zoom, one.test_zoom, one.fill_zoom or other.fill_zoom
            rows.append((one.regime, other.regime, *zooms, *tested, number, level, *counted))
    table = pd.DataFrame(rows, columns=_COMPARISON)
    return table.assign(p_holm=table.groupby("metric")["p"].transform(boot.holm))


def roc_band(
    results: Results,
    regime: str,
    train_zoom: str,
    test_zoom: str,
    grid: np.ndarray,
    bootstrap: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    fill_zoom: str | None = None,
    of_class: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC curve of a class against the others, the mean over replicates, with its pointwise band.

    Args:
      results: of the study; test patches are taken as they are.
      regime: one of the study's, as are the zooms.
      train_zoom: the zoom trained on.
      test_zoom: the zoom tested on.
      grid: (points,), false positive rates.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the band.
      fill_zoom: one of its; the train zoom where None.
      of_class: place of the class; the study's target where None.

    Returns:
      True positive rate, low and high, (points,) each.
    """
    found = stacks(results, place_of(regime, train_zoom, test_zoom, fill_zoom), "plain")
    resampling = boot.resample(results.records, bootstrap, seed)
    chosen = results.target if of_class is None else of_class

    def mean_curve(stack: Stack, weights: np.ndarray) -> np.ndarray:  # (points, some samples)
        positive, scores = stack.labels == chosen, stack.probabilities[:, :, chosen]
        curves = [boot.roc(positive, row, weights, grid) for row in scores]
        return np.mean(curves, axis=0)

    drawn = [
        np.concatenate([mean_curve(stack, part) for part in resampling.blocks(stack.rows)], axis=1)
        for stack in found
    ]
    curves = [mean_curve(stack, np.ones((len(stack.rows), 1), np.float32)) for stack in found]
    points = boot.nan_mean(np.stack(drawn))  # (points, samples)
    low, high = np.transpose([boot.interval(point, level) for point in points])
    return boot.nan_mean(np.stack(curves))[:, 0], low, high


def confusions(
    results: Results, regime: str, train_zoom: str, test_zoom: str, fill_zoom: str | None = None
) -> np.ndarray:
    """Shares of the patches of each class (rows) called each class, the mean over replicates.

    Args:
      results: of the study; test patches are taken as they are.
      regime: one of the study's, as are the zooms.
      train_zoom: the zoom trained on.
      test_zoom: the zoom tested on.
      fill_zoom: that of what training sets were filled up with; the train zoom where None.

    Returns:
      (classes, classes), rows sum to 1; NaN for a class without patches.
    """
    shares = []
    for stack in stacks(results, place_of(regime, train_zoom, test_zoom, fill_zoom), "plain"):
        size = len(results.classes)
        every = [metrics.confusion(stack.labels, one, size) for one in stack.probabilities]
        counts = np.mean(every, axis=0)
        totals = counts.sum(axis=1, keepdims=True)
        empty = np.full_like(counts, np.nan)
        shares.append(np.divide(counts, totals, out=empty, where=totals > 0))
    return np.asarray(boot.nan_mean(np.stack(shares)))


def auc_by_generators(summary: pd.DataFrame) -> pd.DataFrame:
    """ROC-AUC of the target class by number of generators, or of copied patches.

    Args:
      summary: what `summarize` returned.

    Returns:
      The rows of regimes `singan-k` and `oversample-k` on plain test patches, with the columns
      kind, k (a text; "all" comes last), train_zoom, test_zoom, fill_zoom, mean, low, high.
    """
    named = summary["regime"].str.extract(r"^(?P<kind>singan|oversample)-(?P<k>\d+|all)$")
    chosen = named["kind"].notna() & (summary["variant"] == "plain")
    chosen &= (summary["metric"] == "roc_auc") & summary["class"].isin(TARGETS.values())
    columns = ["train_zoom", "test_zoom", "fill_zoom", "mean", "low", "high"]
    table = pd.concat([named, summary[columns]], axis=1)[chosen]
    order = table["k"].map(lambda k: math.inf if k == "all" else int(k))
    return table.iloc[order.argsort(kind="stable")].sort_values(
        ["kind", "train_zoom", "test_zoom", "fill_zoom"], kind="stable", ignore_index=True
    )


def _all_metrics(results: Results) -> Evaluate:
    """Evaluates every metric."""
    return lambda stack, probabilities, weights: boot.evaluate(
        stack.labels, probabilities, weights, results.classes
    )


def _target_means(
    results: Results, place: Place, resampling: boot.Resampling
) -> tuple[dict[str, float], dict[str, np.ndarray], tuple[int, int]]:
    """Means of the metrics of `COMPARED`, these in each sample; numbers of replicates, patients."""
    target = results.target
    found = stacks(results, place, "plain")
    evaluated = [
        metrics.ranking(stack.labels == target, one[:, target])
        for stack in found
        for one in stack.probabilities
    ]
    value = {metric: float(np.mean([one[metric] for one in evaluated])) for metric in COMPARED}
    drawn = bootstrap_means(
        resampling,
        found,
        lambda stack, one, weights: boot.ranking(stack.labels == target, one[:, target], weights),
    )
    return value, drawn, (len(evaluated), num_patients(results, rows_of(found)))


def _tested(results: Results, found: tuple[Stack, ...]) -> dict[str, int]:
    """Columns of a summary on what was tested."""
    rows = rows_of(found)
    of_target = rows[results.labels[rows] == results.target]
    return {
        "patients": num_patients(results, rows),
        "patients_target": num_patients(results, of_target),
        "patches": len(rows),
    }
