"""The plots of a report, as SVG; equal input gives equal bytes.

Colours are Okabe and Ito's, which colour-blind people can tell apart; markers and dashes differ
too. All plots are of one width, so that their text is legible on a phone.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.7  # inches
PLOT_STYLE: Any = {
    "font.size": 10.5,
    "svg.hashsalt": "report",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#566071",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e8ee",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
}


class Look(NamedTuple):
    """How the points and lines of one kind of regime look."""

    color: str
    marker: str
    dashes: str


LOOKS = {
    "baseline": Look("#000000", "o", "-"),
    "singan": Look("#d55e00", "s", "-"),
    "oversample": Look("#0072b2", "^", "--"),
    "ensemble": Look("#009e73", "D", "-."),
    "other": Look("#cc79a7", "v", ":"),
}


class Curve(NamedTuple):
    """A mean and its band, (points,) each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def differences(table: pd.DataFrame, kinds: Sequence[str]) -> bytes:
    """What each regime gains over the baseline.

    Args:
      table: rows of `statistics.compare`, of one baseline, zoom pair and metric.
      kinds: of the regime of each row, keys of `LOOKS`.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        plot = Figure((WIDTH, 0.8 + 0.4 * len(table)), layout="constrained")
        axes = plot.add_subplot()
        axes.axvline(0, color="#000000", linewidth=1.2)
        for place, (row, kind) in enumerate(zip(table.itertuples(), kinds, strict=True)):
            look, at = LOOKS[kind], [place]
            axes.hlines(at, row.low_corrected, row.high_corrected, look.color, linewidth=1.4)
            axes.hlines(at, row.low, row.high, look.color, linewidth=4.5, alpha=0.55)
            axes.plot(row.difference, place, look.marker, color=look.color)
        _name_rows(axes, [name.replace(":", ":\n") for name in table["regime"]])
        axes.set_xlabel("difference in ROC-AUC")
        axes.locator_params(axis="x", nbins=5)
        return as_svg(plot)


def roc(grid: np.ndarray, curves: Mapping[str, tuple[str, Curve]]) -> bytes:
    """ROC curves with bands.

    Args:
      grid: (points,), false positive rates.
      curves: by regime, its kind and the true positive rates.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        plot = Figure((WIDTH, WIDTH), layout="constrained")
        axes = plot.add_subplot()
        axes.plot([0, 1], [0, 1], color="#8a93a1", linewidth=1, linestyle=(0, (2, 3)))
        for regime, (kind, curve) in curves.items():
            _band(axes, grid, curve, LOOKS[kind], regime)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right")
        return as_svg(plot)


def auc_by_generators(table: pd.DataFrame, baseline: tuple[str, Curve]) -> bytes:
    """ROC-AUC against the number of source images.

    Args:
      table: see `statistics.auc_by_generators`; of one zoom pair.
      baseline: its name, and the (1,) numbers of the line and band across the plot.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        plot = Figure((WIDTH, 3.9), layout="constrained")
        axes = plot.add_subplot()
        name, line = baseline
        look = LOOKS["baseline"]
        axes.axhspan(line.low[0], line.high[0], color=look.color, alpha=0.08, linewidth=0)
        axes.axhline(line.mean[0], color=look.color, label=name)
        counts = sorted({*table["k"]}, key=lambda k: float("inf") if k == "all" else int(k))
        for n, (kind, rows) in enumerate(table.groupby("kind", sort=False)):
            look = LOOKS[kind]
            places = np.array([counts.index(k) for k in rows["k"]]) + 0.12 * (2 * n - 1)
            ends = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            marks: Any = {"fmt": look.marker, "color": look.color, "linestyle": look.dashes}
            axes.errorbar(places, rows["mean"], np.maximum(ends, 0), capsize=3, label=kind, **marks)
        axes.set_xticks(range(len(counts)), [str(k) for k in counts])
        axes.set_xlim(-0.5, len(counts) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel="number of source images (of generators)", ylabel="ROC-AUC")
        legend_above(plot, axes)
        return as_svg(plot)


def learning_curves(curves: Mapping[str, tuple[str, Curve, Curve]]) -> bytes:
    """Losses by epoch.

    Args:
      curves: by regime, its kind and (epochs,) losses on the training and the validation set.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        plot = Figure((WIDTH, 5.4), layout="constrained")
        panels = plot.subplots(2, 1, sharex=True)
        for place, (axes, title) in enumerate(zip(panels, ("training", "validation"), strict=True)):
            for regime, (kind, *losses) in curves.items():
                loss = losses[place]
                _band(axes, np.arange(1, len(loss.mean) + 1), loss, LOOKS[kind], regime)
            axes.set_ylabel(f"{title} loss")
        panels[1].set_xlabel("epoch")
        panels[1].xaxis.get_major_locator().set_params(integer=True)
        legend_above(plot, panels[0])
        return as_svg(plot)


def subgroup_rates(table: pd.DataFrame, kinds: Mapping[str, str]) -> bytes:
    """Rates of wrong answers by what is known of a patch.

    Args:
      table: rows of `subgroups.subgroups`, of one zoom pair.
      kinds: by regime to be shown, its kind.
    """
    groups = list(dict.fromkeys(zip(table["field"], table["value"], table["patches"], strict=True)))
    with matplotlib.rc_context(PLOT_STYLE):
        plot = Figure((WIDTH, 1.3 + 0.42 * len(groups)), layout="constrained")
        axes = plot.add_subplot()
        for n, (regime, kind) in enumerate(kinds.items()):
            look, rows = LOOKS[kind], table[table["regime"] == regime]
            places = [groups.index((r.field, r.value, r.patches)) for r in rows.itertuples()]
            heights = np.array(places) + 0.3 * (n - (len(kinds) - 1) / 2)
            ends = [rows["rate"] - rows["low"], rows["high"] - rows["rate"]]
            marks: Any = {"fmt": look.marker, "color": look.color, "label": regime}
            axes.errorbar(rows["rate"], heights, xerr=np.maximum(ends, 0), capsize=2.5, **marks)
        for place in range(1, len(groups)):
            if groups[place][0] != groups[place - 1][0]:
                axes.axhline(place - 0.5, color="#a6b0bf", linewidth=0.8)
        said = {"True": "yes", "False": "no"}
        _name_rows(
            axes,
            [
                f"{field.replace('_', ' ').lower()}: {said.get(value, value)} ({n})"
                for field, value, n in groups
            ],
        )
        axes.set(xlabel="share of patches called the wrong class", xlim=(-0.02, 1.02))
        legend_above(plot, axes)
        return as_svg(plot)


def _band(axes: Axes, x: np.ndarray, curve: Curve, look: Look, label: str) -> None:
    axes.fill_between(x, curve.low, curve.high, color=look.color, alpha=0.14, linewidth=0)
    marks: Any = {"marker": look.marker, "markevery": max(1, len(x) // 6), "markersize": 5}
    axes.plot(x, curve.mean, color=look.color, linestyle=look.dashes, label=label, **marks)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names along the vertical axis, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def legend_above(plot: Figure, axes: Axes) -> None:
    """A legend that hides no data."""
    handles, labels = axes.get_legend_handles_labels()
    plot.legend(handles, labels, loc="outside upper left", ncols=2)


def as_svg(plot: Figure) -> bytes:
    """Equal figures give equal bytes."""
    buffer = io.BytesIO()
    plot.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
