"""What the replicates of a study say together, with intervals; and the answer in two sentences.

Values are means over replicates. Intervals are percentiles of the patient-level bootstrap of that
mean, with the same patients for all replicates and both sides of a comparison. So an interval
says what other test patients would change; what another fold, seed or choice of source images
would change is the standard deviation over replicates. `bootstrap` tells when few patients
make one too narrow. Few patches make the calibration error too large, a bootstrap sample of
them more so; its interval is therefore reflected at the mean, and may lie below it.
"""

import functools
import itertools
import math
import typing

import numpy as np
import pandas as pd
import tqdm

from classify.cells import TARGETS, Results, Variant, control_of
from classify.statistics import bootstrap as boot
from classify.statistics import metrics
from classify.statistics.replicates import replicates

Place = tuple[str, str, str]  # regime, train zoom, test zoom

COMPARED = ("roc_auc", "pr_auc")
_PLACE = ("regime", "train_zoom", "test_zoom")
_COMPARISON = (
    *("regime", "baseline", "train_zoom", "test_zoom", "class", "metric", "difference"),
    *("low", "high", "low_corrected", "high_corrected", "p", "comparisons", "level"),
    *("replicates", "patients"),
)
_DELAY = 3  # seconds before a bar is shown
TAIL_SAMPLES = 4  # that lie beyond a corrected bound, on average; fewer would leave it to chance
SUBGROUPS = {  # field of `PatchRecord.to_json` and whether it is of lesions only
    "density": False,
    "zoom_group": False,
    "view": False,
    "Format": False,
    "calcification": True,
    "nodule": True,
}


def summarize(
    results: Results, bootstrap: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Every metric of every regime, train zoom, test zoom and variant.

    Args:
      results: of the study.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the intervals.

    Returns:
      One row for each, with the columns regime, train_zoom, test_zoom, variant, class (or "all"),
      metric; mean and sd over the replicates that define it (sd NaN where there is one); low and
      high, the interval of the mean; replicates; patients and patches in the test set, and
      patients_target, those with a patch of the study's target class; undefined, the share of
      bootstrap samples in which no replicate defines the metric.
    """
    resampling = boot.resample(results.records, bootstrap, seed)
    cells = list(itertools.product(_places(results), typing.get_args(Variant)))
    rows = []
    for place, variant in tqdm.tqdm(cells, "metrics", delay=_DELAY):
        found, labels, probabilities = _stack(results, place, variant)
        evaluated = [metrics.evaluate(labels, one, results.classes) for one in probabilities]
        evaluate_one = functools.partial(boot.evaluate, labels, classes=results.classes)
        samples = boot.means(resampling, found, probabilities, evaluate_one)
        targets = _patients(results, found[labels == results.target])
        for (name, metric), drawn in samples.items():
            values = np.array([one[name, metric] for one in evaluated])
            defined = values[~np.isnan(values)]
            mean, (low, high) = float(boot.nan_mean(values)), boot.interval(drawn, level)
            if metric == "calibration_error":
                low, high = max(0, 2 * mean - high), max(0, 2 * mean - low)
            rows.append(
                dict(zip(_PLACE, place, strict=True))
                | {"variant": variant, "class": name, "metric": metric}
                | {"mean": mean, "sd": defined.std(ddof=1) if len(defined) > 1 else np.nan}
                | {"low": low, "high": high, "replicates": len(values)}
                | {"patients": _patients(results, found), "patients_target": targets}
                | {"patches": len(found), "undefined": np.isnan(drawn).mean()}
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
      One row for each pair, train zoom, test zoom and metric (roc_auc, the main one, and pr_auc),
      with the columns regime, baseline, train_zoom, test_zoom, class, metric; difference, regime
      less baseline; low and high at `level`; low_corrected and high_corrected, likewise after
      Bonferroni's correction for all comparisons of that metric; p, two-sided; comparisons, how
      many that metric has; level; replicates of the regime; patients; p_holm, p after Holm's
      correction.
    """
    pairs = _pairs(results)
    zooms = list(itertools.product(results.train_zooms, results.test_zooms))
    number = len(pairs) * len(zooms)
    tail = (1 - level) / (2 * max(1, number))
    samples = max(bootstrap, math.ceil(TAIL_SAMPLES / tail))
    resampling = boot.resample(results.records, samples, seed)
    rows = []
    for zoom in tqdm.tqdm(zooms, "comparisons", delay=_DELAY):
        of_regime = {
            name: _target_means(results, (name, *zoom), resampling)
            for name in dict.fromkeys(itertools.chain(*pairs))
        }
        for pair, metric in itertools.product(pairs, COMPARED):
            (value, drawn, counted), (other_value, other_drawn, _) = (of_regime[n] for n in pair)
            difference = drawn[metric] - other_drawn[metric]
            size = value[metric] - other_value[metric]
            bounds = boot.interval(difference, level), boot.interval(difference, 1 - 2 * tail)
            p = boot.two_sided_p(difference)
            tested = (TARGETS[results.task], metric, size, *bounds[0], *bounds[1], p)
            rows.append((*pair, *zoom, *tested, number, level, *counted))
    table = pd.DataFrame(rows, columns=_COMPARISON)
    return table.assign(p_holm=table.groupby("metric")["p"].transform(boot.holm))


def subgroups(
    results: Results, bootstrap: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Shares of patches called the wrong class, by what is known of the patch.

    Args:
      results: of the study; test patches are taken as they are.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the intervals.

    Returns:
      One row for each regime, train zoom, test zoom, field of `SUBGROUPS` and value of it, with
      the columns regime, train_zoom, test_zoom, field, value (a text), patches, patients, rate
      (mean over replicates), low, high. A density that is missing or was imputed is "unknown".
    """
    resampling = boot.resample(results.records, bootstrap, seed)
    values = _subgroup_values(results)
    rows = []
    for place in tqdm.tqdm(_places(results), "subgroups", delay=_DELAY):
        found, labels, probabilities = _stack(results, place, "plain")
        wrong = (probabilities.argmax(axis=2) != labels).mean(axis=0)  # (n,)
        for field in SUBGROUPS:
            of_field = values[field].iloc[found]
            for value in sorted(of_field.dropna().unique()):
                inside = (of_field == value).to_numpy()
                low, high = boot.interval(resampling.mean(found[inside], wrong[inside]), level)
                rows.append(
                    dict(zip(_PLACE, place, strict=True))
                    | {"field": field, "value": value}
                    | {"patches": inside.sum(), "patients": _patients(results, found[inside])}
                    | {"rate": wrong[inside].mean(), "low": low, "high": high}
                )
    return pd.DataFrame(rows)


def roc_band(
    results: Results,
    regime: str,
    train_zoom: str,
    test_zoom: str,
    grid: np.ndarray,
    bootstrap: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC curve of the target class, the mean over replicates, with its pointwise band.

    Args:
      results: of the study; test patches are taken as they are.
      regime: one of the study's, as are the zooms.
      train_zoom: the zoom trained on.
      test_zoom: the zoom tested on.
      grid: (points,), false positive rates.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the band.

    Returns:
      True positive rate, low and high, (points,) each.
    """
    found, labels, probabilities = _stack(results, (regime, train_zoom, test_zoom), "plain")
    positive = labels == results.target

    def mean_curve(weights: np.ndarray) -> np.ndarray:
        scores = probabilities[:, :, results.target]
        return np.mean([boot.roc(positive, row, weights, grid) for row in scores], axis=0)

    blocks = boot.resample(results.records, bootstrap, seed).blocks(found)
    drawn = np.concatenate([mean_curve(weights) for weights in blocks], axis=1)
    low, high = np.transpose([boot.interval(point, level) for point in drawn])
    return mean_curve(np.ones((len(found), 1), np.float32))[:, 0], low, high


def confusions(results: Results, regime: str, train_zoom: str, test_zoom: str) -> np.ndarray:
    """Shares of the patches of each class (rows) called each class, the mean over replicates.

    Args:
      results: of the study; test patches are taken as they are.
      regime: one of the study's, as are the zooms.
      train_zoom: the zoom trained on.
      test_zoom: the zoom tested on.

    Returns:
      (classes, classes), rows sum to 1; NaN for a class without patches.
    """
    _, labels, probabilities = _stack(results, (regime, train_zoom, test_zoom), "plain")
    size = len(results.classes)
    counts = np.mean([metrics.confusion(labels, p, size) for p in probabilities], axis=0)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def auc_by_generators(summary: pd.DataFrame) -> pd.DataFrame:
    """ROC-AUC of the target class by number of generators, or of copied patches.

    Args:
      summary: what `summarize` returned.

    Returns:
      The rows of regimes `singan-k` and `oversample-k` on plain test patches, with the columns
      kind, k (a text; "all" comes last), train_zoom, test_zoom, mean, low, high.
    """
    named = summary["regime"].str.extract(r"^(?P<kind>singan|oversample)-(?P<k>\d+|all)$")
    chosen = named["kind"].notna() & (summary["variant"] == "plain")
    chosen &= (summary["metric"] == "roc_auc") & summary["class"].isin(TARGETS.values())
    columns = ["train_zoom", "test_zoom", "mean", "low", "high"]
    table = pd.concat([named, summary[columns]], axis=1)[chosen]
    order = table["k"].map(lambda k: math.inf if k == "all" else int(k))
    return table.iloc[order.argsort(kind="stable")].sort_values(
        ["kind", "train_zoom", "test_zoom"], kind="stable", ignore_index=True
    )


def _places(results: Results) -> list[Place]:
    return list(itertools.product(results.regimes, results.train_zooms, results.test_zooms))


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Regimes and what each is compared with."""
    pairs = [(name, results.baseline) for name in results.regimes if name != results.baseline]
    for name in results.regimes:
        control = control_of(name)
        if name.startswith("singan-") and control in results.regimes:
            pairs.append((name, control))
    return list(dict.fromkeys(pairs))


def _stack(
    results: Results, place: Place, variant: Variant
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n,), their labels (n,), and probabilities (replicates, n, classes)."""
    found = replicates(results, *place, variant)
    rows = found[0].rows
    return rows, results.labels[rows], np.stack([one.probabilities for one in found])


def _target_means(
    results: Results, place: Place, resampling: boot.Resampling
) -> tuple[dict[str, float], dict[str, np.ndarray], tuple[int, int]]:
    """Means of the `COMPARED` metrics, the same by sample, and counts of replicates, patients."""
    found, labels, probabilities = _stack(results, place, "plain")
    positive, scores = labels == results.target, probabilities[:, :, results.target]
    evaluated = [metrics.ranking(positive, row) for row in scores]
    value = {metric: float(np.mean([one[metric] for one in evaluated])) for metric in COMPARED}
    drawn = boot.means(resampling, found, scores, functools.partial(boot.ranking, positive))
    return value, drawn, (len(scores), _patients(results, found))


def _subgroup_values(results: Results) -> pd.DataFrame:
    """For each record the value of each of `SUBGROUPS` as text, None where it is missing."""
    rows = []
    for record in results.records:
        row = record.to_json()
        unknown = row["density"] is None or row["density_imputed"]
        row["density"] = "unknown" if unknown else round(row["density"])
        keep = {field for field, lesions in SUBGROUPS.items() if row["suspicious"] or not lesions}
        rows.append({field: str(row[field]) if field in keep else None for field in SUBGROUPS})
    return pd.DataFrame(rows)


def _patients(results: Results, rows: np.ndarray) -> int:
    return len({results.records[row].patient_id for row in rows})
