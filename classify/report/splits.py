"""How many patches and patients training, validation and test sets have, as tables and bars."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from classify.cells import Zooms
from classify.report import style
from classify.report.plots import PLOT_STYLE, WIDTH, as_svg, legend_above
from classify.statistics.split_counts import ALL, FIELDS, SPLITS

COUNTED = {"patches": "#0072b2", "patients": "#e69f00"}  # and their colours
_TITLES = {"train": "training", "validation": "validation", "test": "test"}
_MOST_FOLDS = 5  # that have a table of their own; splits.csv has them all
_WORDS = {"True": "yes", "False": "no"}


def html(counts: pd.DataFrame, zooms: Zooms) -> str:
    """The plot, and the tables folded away; nothing where nothing is counted.

    Args:
      counts: see `split_counts.split_counts`.
      zooms: training and validation patches are counted at the train zoom, test patches at the
        test zoom.
    """
    if counts.empty:
        return ""
    found = at_zooms(counts, zooms)
    folds = found["fold"].nunique()
    over = f", averages over {folds} folds; whiskers from the least to the most" * (folds > 1)
    caption = (
        "Patches and patients, by what is known of them; calcification and nodule are of lesions "
        f"alone{over}. Training and validation: zoom {zooms.train}, before anything is filled up; "
        f"test: zoom {zooms.test}. See whether the three are alike."
    )
    content = style.image(plot(found), "svg+xml", "Patches and patients of each split")
    parts = [style.figure(content, caption, "plot")]
    if folds > 1:
        title = f"Averages over {folds} folds, with the least and the most"
        parts.append(style.details("The numbers", _table(found, title)))
    if folds <= _MOST_FOLDS:
        each = [_table(rows, f"Fold {fold}") for fold, rows in found.groupby("fold")]
        parts.append(style.details("The numbers of each fold", "".join(each)))
    return "".join(parts)


def at_zooms(counts: pd.DataFrame, zooms: Zooms) -> pd.DataFrame:
    """The counts of training and validation sets at the train zoom, of test sets at the test's."""
    zoom = np.where(counts["split"] == "test", zooms.test, zooms.train)
    return counts[counts["zoom"] == zoom]


def averages(found: pd.DataFrame) -> pd.DataFrame:
    """Over folds, of each field, value and split: mean, min and max of patches and of patients.

    Args:
      found: rows of one zoom for each split.

    Returns:
      Indexed by field, value, split, in their order; columns (patches or patients, mean or min or
      max).
    """
    grouped = found.groupby(["field", "value", "split"], sort=False)[list(COUNTED)]
    return grouped.agg(["mean", "min", "max"])


def plot(found: pd.DataFrame) -> bytes:
    """Bars: a row for each field, a column for each split.

    Args:
      found: as for `averages`.

    Returns:
      SVG; equal input gives equal bytes.
    """
    table = averages(found)
    fields = [field for field in FIELDS if field != ALL and field in set(found["field"])]
    with matplotlib.rc_context(PLOT_STYLE | {"font.size": 9}):
        figure = Figure((WIDTH, 0.8 + 1.35 * len(fields)), layout="constrained")
        panels = figure.subplots(len(fields), len(SPLITS), sharex="row", squeeze=False)
        for of_row, field in zip(panels, fields, strict=True):
            for axes, split in zip(of_row, SPLITS, strict=True):
                _bars(axes, table.xs((field, split), level=("field", "split")))
            of_row[0].set_ylabel(field.lower())
        for axes, split in zip(panels[0], SPLITS, strict=True):
            axes.set_title(_TITLES[split], fontsize="medium")
        legend_above(figure, panels[0][0])
        return as_svg(figure)


def _bars(axes: Axes, table: pd.DataFrame) -> None:
    """Of each value two bars, with whiskers from the least to the most."""
    places = np.arange(len(table))
    for n, (name, color) in enumerate(COUNTED.items()):
        of_name = table[name]
        ends = [of_name["mean"] - of_name["min"], of_name["max"] - of_name["mean"]]
        looks: Any = {"color": color, "label": name, "error_kw": {"linewidth": 0.8}}
        axes.bar(places + 0.4 * n - 0.2, of_name["mean"], 0.4, yerr=ends, **looks)
    names = [_WORDS.get(value, str(value)) for value in table.index]
    axes.set_xticks(places, names, rotation=90 if len("".join(names)) > 14 else 0)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0, labelsize="small")
    axes.locator_params(axis="y", nbins=3, integer=True)


def _table(found: pd.DataFrame, caption: str) -> str:
    table = averages(found)
    rows = []
    for field, value in dict.fromkeys(zip(found["field"], found["value"], strict=True)):
        name = ALL if field == ALL else f"{field.lower()}: {_WORDS.get(value, value)}"
        cells = [
            _cell(table.loc[(field, value, split), counted])
            for split in SPLITS
            for counted in COUNTED
        ]
        rows.append([style.escape(name), *cells])
    heads = [f"{_TITLES[split]}: {counted}" for split in SPLITS for counted in COUNTED]
    return style.table(["", *heads], rows, caption)


def _cell(row: pd.Series) -> str:
    if row["min"] == row["max"]:
        return str(int(row["min"]))
    return f"{style.number(row['mean'], 1)}<br/>{int(row['min'])} to {int(row['max'])}"
