"""ROC curves of every class against the others, and the areas below them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from classify.cells import Results, Zooms
from classify.report import plots, style
from classify.report.plots import Curve
from classify.report.tables import at, where
from classify.statistics import statistics

_GRID = np.linspace(0, 1, 101)  # false positive rates


def of_target(results: Results, shown: Mapping[str, str], zooms: Zooms, words: str) -> str:
    """The curves of the class that the study is about.

    Args:
      results: of the study.
      shown: by regime, its kind, a key of `plots.LOOKS`.
      zooms: trained on, tested on and filled up with.
      words: of the caption, on the choice of regimes and on bands.
    """
    target = results.classes[results.target]
    caption = (
        f"Class {target} against the others{where(results, zooms)}; the upper left corner is "
        f"perfect, the dotted diagonal is chance. {words}See whether one curve lies above "
        "another's band."
    )
    return _figure(results, shown, zooms, results.target, caption)


def of_all(summary: pd.DataFrame, results: Results, shown: Mapping[str, str], zooms: Zooms) -> str:
    """The areas of all classes as a table, and the curves of the others than the target's.

    Args:
      summary: see `statistics.summarize`.
      results: of the study.
      shown: as for `of_target`.
      zooms: likewise.
    """
    content = areas(summary, results, tuple(shown), zooms)
    for place, name in enumerate(results.classes):
        if place != results.target:
            caption = f"Class {name} against the others, as above{where(results, zooms)}."
            content += _figure(results, shown, zooms, place, caption)
    return style.details("All classes: areas and curves", content)


def areas(summary: pd.DataFrame, results: Results, regimes: tuple[str, ...], zooms: Zooms) -> str:
    """A table of the ROC-AUC of each class, with intervals.

    Args:
      summary: see `statistics.summarize`.
      results: of the study.
      regimes: the columns.
      zooms: trained on, tested on and filled up with.
    """
    chosen = at(summary, zooms) & (summary["metric"] == "roc_auc")
    found = summary[chosen & (summary["variant"] == "plain")].set_index(["class", "regime"])

    def cell(row: pd.Series) -> str:
        return f"{style.number(row['mean'])}<br/>{style.interval(row['low'], row['high'])}"

    rows = [
        [style.escape(name), *(cell(found.loc[(name, regime)]) for regime in regimes)]
        for name in results.classes
    ]
    caption = (
        "ROC-AUC of each class against the others: mean over replicates, and 95 % interval"
        f"{where(results, zooms)}"
    )
    return style.table(["Class", *regimes], rows, caption)


def _figure(
    results: Results, shown: Mapping[str, str], zooms: Zooms, place: int, caption: str
) -> str:
    """The plot of the class at a place among the classes."""
    train, test, fill = zooms
    curves = {}
    for name, kind in shown.items():
        band = statistics.roc_band(
            results, name, train, test, _GRID, fill_zoom=fill, of_class=place
        )
        curves[name] = kind, Curve(*band)
    words = f"ROC curves of {', '.join(curves)}, class {results.classes[place]}"
    content = style.image(plots.roc(_GRID, curves), "svg+xml", words)
    return style.figure(content, caption, "plot")
