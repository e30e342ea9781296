"""The tables of a report."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from classify.cells import Results, Zooms, ensemble_members
from classify.plan import regimes as regimes_lib
from classify.report import style
from classify.statistics import statistics

_MEANING = {
    "none": "the real training patches, each once an epoch",
    "weighted": "the real patches, drawn so that all classes are equally frequent",
    "oversample": "the malignant patches are filled up to the number of benign ones with copies "
    "of k of them, at the fill zoom",
    "singan": "likewise, with samples of k SinGANs, each trained on one of the same k patches",
    "ensemble": "the probabilities of the named regimes' classifiers, averaged",
}
_VARIANTS = {"plain": "patches as they are", "cropped": "one random resized crop of each patch"}


def of_target(table: pd.DataFrame, results: Results, zooms: Zooms | None = None) -> pd.DataFrame:
    """The rows of a summary (as they are) or comparison on the target class' ROC-AUC.

    Where zooms are given there is one for each regime, or pair of regimes.
    """
    chosen = (table["metric"] == "roc_auc") & (table["class"] == results.classes[results.target])
    if "variant" in table:
        chosen &= table["variant"] == "plain"
    return table[chosen & at(table, zooms)] if zooms else table[chosen]


def at(table: pd.DataFrame, zooms: Zooms) -> pd.Series:
    """Which rows of a table are of zooms; those that fill nothing up are of all fill zooms."""
    chosen = (table["train_zoom"] == zooms.train) & (table["test_zoom"] == zooms.test)
    return chosen & table["fill_zoom"].isin(["", zooms.fill])


def key_table(
    summary: pd.DataFrame, comparisons: pd.DataFrame, results: Results, zooms: Zooms
) -> str:
    """The main metric of each regime and its difference from the baseline.

    Args:
      summary: see `statistics.summarize`.
      comparisons: see `statistics.compare`.
      results: of the study.
      zooms: the train zoom and the test zoom.
    """
    found = of_target(summary, results, zooms)
    if not comparisons.empty:
        of_zooms = of_target(comparisons, results, zooms)
        compared = of_zooms[of_zooms["baseline"] == results.baseline].set_index("regime")
    rows = []
    for row in found.itertuples():
        difference, corrected = "baseline", ""
        if row.regime != results.baseline:
            against = compared.loc[row.regime]
            difference = style.number(against["difference"], sign=True)
            corrected = style.interval(
                against["low_corrected"], against["high_corrected"], sign=True
            )
        cells = [row.regime, style.number(row.mean), style.number(row.sd)]
        cells += [style.number(row.sd_folds)]
        cells += [style.interval(row.low, row.high), difference, corrected]
        cells += [row.replicates, f"{row.patients} ({row.patients_target})"]
        rows.append([style.breakable(cells[0]), *map(style.escape, cells[1:])])
    target = results.classes[results.target]
    head = ["Regime", "Mean", "SD over replicates (n − 1)", "SD over folds (n)", "95 % interval"]
    head += ["Difference", "Corrected interval", "Replicates", f"Patients ({target})"]
    caption = f"ROC-AUC of class {target}{where(results, zooms)}"
    baseline = [n for n, row in enumerate(found.itertuples()) if row.regime == results.baseline]
    return style.table(head, rows, caption, main=baseline)


def control_table(comparisons: pd.DataFrame, results: Results, zooms: Zooms) -> str:
    """SinGAN samples against copies of the same patches; empty where no regime has copies."""
    found = of_target(comparisons, results, zooms)
    rows = []
    for row in found[found["baseline"] != results.baseline].itertuples():
        cells = [f"{row.regime} less {row.baseline}", style.number(row.difference, sign=True)]
        cells += [style.interval(row.low, row.high, sign=True)]
        cells += [style.interval(row.low_corrected, row.high_corrected, sign=True)]
        rows.append([style.breakable(cells[0]), *map(style.escape, cells[1:])])
    head = ["Regimes", "Difference", "95 % interval", "Corrected interval"]
    caption = f"ROC-AUC: SinGAN samples less copies of the same patches{where(results, zooms)}"
    return style.table(head, rows, caption) if rows else ""


def confusions(results: Results, regimes: Sequence[str], chosen: Zooms) -> str:
    """Shares of each class that are called each class, a matrix for each regime."""

    def row(name: str, shares: np.ndarray) -> list[str]:
        texts = (f"<b>{style.number(100 * share, 1)} %</b>" for share in shares)
        return [style.escape(name), *map(style.shaded, texts, shares)]

    shown = {
        regime: list(map(row, results.classes, statistics.confusions(results, regime, *chosen)))
        for regime in regimes
    }
    caption = (
        "Of the patches of each class (rows), the share called each class (columns), a mean over "
        f"replicates{where(results, chosen)}. Look at the row of "
        f"{results.classes[results.target]}: how much of it is missed, and what it is taken for."
    )
    return matrices([f"called {name}" for name in results.classes], shown, caption)


def matrices(columns: Sequence[str], shown: Mapping[str, list[list[str]]], caption: str) -> str:
    """Shaded tables side by side.

    Args:
      columns: their headings.
      shown: by regime, rows of a heading and HTML cells.
      caption: of all of them.
    """
    tables = "".join(
        style.table(["", *columns], rows, regime, look="shades") for regime, rows in shown.items()
    )
    return style.figure(f'<div class="side">{tables}</div>', caption)


def meanings(results: Results) -> str:
    """What the regimes of a study are."""
    kinds = {"ensemble" if ensemble_members(name) else regimes_lib.parse(name).kind
             for name in results.regimes}  # fmt: skip
    listed = {
        f"{kind}-k" if kind in ("oversample", "singan") else kind: meaning
        for kind, meaning in _MEANING.items()
        if kind in kinds
    }
    return f"<h3>The regimes</h3>{style.entries(listed)}"


def all_metrics(summary: pd.DataFrame, results: Results) -> str:
    """Every metric of every regime, folded away by zooms and variant."""
    parts = []
    for zooms in results.zooms:
        for variant, name in _VARIANTS.items():
            found = summary[at(summary, zooms) & (summary["variant"] == variant)]
            by_row = found.set_index(["class", "metric", "regime"])
            rows = []
            for of_class, metric in dict.fromkeys(
                zip(found["class"], found["metric"], strict=True)
            ):
                of_regimes = [by_row.loc[(of_class, metric, r)] for r in results.regimes]
                label = f"{of_class}: {metric.replace('_', ' ')}"
                rows.append([style.escape(label), *map(_mean_sd_interval, of_regimes)])
            fill = f", fill zoom {zooms.fill}" if zooms.fill not in ("", zooms.train) else ""
            heading = f"Train zoom {zooms.train}{fill}, test zoom {zooms.test}, {name}"
            caption = f"Mean ± SD over replicates (n − 1), and 95 % interval. {heading}"
            content = style.table(["Class: metric", *results.regimes], rows, caption)
            parts.append(style.details(heading, content))
    return "".join(parts)


def plain(frame: pd.DataFrame, caption: str) -> str:
    """A data frame as it is."""
    rows = [
        [style.escape(f"{x:.4g}" if isinstance(x, float) else x) for x in row]
        for row in frame.itertuples(index=False)
    ]
    return style.table([str(name).replace("_", " ") for name in frame.columns], rows, caption)


def where(results: Results, zooms: Zooms) -> str:
    """Says which zooms, where there are several, or the fill zoom is not the train zoom."""
    if len(results.zooms) == 1 and zooms.fill in ("", zooms.train):
        return ""
    several = len({other.fill for other in results.zooms if other.train == zooms.train}) > 1
    fill = f", filled up at zoom {zooms.fill}" if several or zooms.fill != zooms.train else ""
    return (
        f"{fill if zooms.fill else ''}, trained on zoom {zooms.train}, tested on zoom {zooms.test}"
    )


def _mean_sd_interval(row: pd.Series) -> str:
    mean_sd = f"{style.number(row['mean'])} ± {style.number(row['sd'])}"
    return f"{mean_sd}<br/>{style.interval(row['low'], row['high'])}"
