"""The plot of a benchmark: bars from 0, a panel a suite, with the spread where rows tell it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from launch.benchmarks.chips import NOTE
from launch.benchmarks.timing import FASTEST, SLOWEST
from singan_jax.images.read import write_png


class Panel(NamedTuple):
    """What is drawn of a suite.

    Attributes:
      unit: of its axis.
      bars: names of a row's numbers, a bar each.
      total: name of the number whose parts `bars` are, where they make one bar.
    """

    unit: str
    bars: tuple[str, ...]
    total: str = ""


PANELS = {
    "memory": Panel("MiB", ("peak_mib", "device_peak_mib", "member_mib")),
    "pipeline": Panel(
        "seconds", ("start_s", "compile_s", "train_s", "finish_s", "sample_s"), "seconds"
    ),
    "conv": Panel("GFLOP/s", ("gflops",)),
    "step": Panel("milliseconds an iteration", ("ms", "torch_threads_ms", "torch_processes_ms")),
    "fleet": Panel(
        "milliseconds an iteration of all scales", ("ms", "torch_as_shipped_ms", "torch_best_ms")
    ),
    "sample": Panel("samples a second", ("samples_per_s", "torch_per_s")),
    "patches": Panel("patches a second", ("patches_per_second", "by_pixel_per_second")),
    "features": Panel(
        "features a second", ("per_s", "torch_threads_per_s", "torch_processes_per_s")
    ),
    "heads": Panel("seconds", ("seconds",)),
    "tpu": Panel(f"milliseconds a member: {NOTE}", ("ms_per_member",)),
    "gpu_estimate": Panel(f"least milliseconds a member: {NOTE}", ("least_ms",)),
}
# Okabe and Ito's, which colour-blind people can tell apart.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
_ROW = 0.2  # inches


def write(path: pathlib.Path, suites: Mapping[str, Sequence[Mapping[str, Any]]], note: str) -> None:
    """Writes the plot as PNG.

    Args:
      path: of the file.
      suites: the rows of each suite, at least one of them with rows.
      note: printed below, for instance what machine it was.
    """
    canvas = FigureCanvasAgg(draw(suites, note))
    canvas.draw()
    write_png(path, np.asarray(canvas.buffer_rgba())[..., :3])


def draw(suites: Mapping[str, Sequence[Mapping[str, Any]]], note: str) -> Figure:
    """The figure that `write` writes."""
    heights = [
        5.0 + sum(0.4 + _lines(row, PANELS[name]) for row in rows) for name, rows in suites.items()
    ]
    figure = Figure((8.5, _ROW * sum(heights) + 0.3), dpi=110, layout="constrained")
    panels = figure.subplots(len(suites), 1, squeeze=False, height_ratios=heights)
    for axes, (name, rows) in zip(panels[:, 0], suites.items(), strict=True):
        _bars(axes, rows, PANELS[name])
        axes.set_title(name, loc="left", fontweight="bold")
    figure.supxlabel(note, fontsize="x-small", color="#566071")
    return figure


def _lines(row: Mapping[str, Any], panel: Panel) -> int:
    """How many bars a row has, one below the other."""
    shown = sum(name in row for name in panel.bars)
    return min(shown, 1) if panel.total else shown


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], panel: Panel) -> None:
    places, labels, place, ends = [], [], 0.0, [0.0]
    for row in rows:
        shown = [name for name in panel.bars if name in row]
        labels.append(_label(row))
        places.append(place + (_lines(row, panel) - 1) / 2)
        left = 0.0
        for name in shown:
            colour = _COLOURS[panel.bars.index(name)]
            axes.barh(place, row[name], 0.8, left, color=colour, label=name)
            left += row[name]
            if not panel.total or name == shown[-1]:
                ends += [left, _spread(axes, row, place, panel.total or name)]
                place, left = place + 1, 0.0
        place += 0.4
    axes.set(xlim=(0, 1.15 * max(ends)), xlabel=panel.unit, yticks=places, yticklabels=labels)
    axes.tick_params("y", length=0, labelsize="x-small")
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    legend = dict(zip(names, handles, strict=True))  # one entry for all rows
    axes.legend(
        legend.values(),
        legend,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=max(1, len(legend)),
        fontsize="x-small",
        frameon=False,
    )


def _spread(axes: Axes, row: Mapping[str, Any], place: float, name: str) -> float:
    """Draws the end of a bar: what the runs were within, and the number; where it is."""
    runs = sorted(row.get(name + end, row[name]) for end in (FASTEST, SLOWEST))
    if runs[0] < runs[1]:
        axes.hlines(place, *runs, color="black", linewidth=1.2)
    axes.annotate(
        f"{row[name]:.4g}",
        (runs[1], place),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize="xx-small",
    )
    return runs[1]


def _label(row: Mapping[str, Any]) -> str:
    """What a row is of: its texts and whole numbers."""
    words = [
        value if isinstance(value, str) else f"{name} {value}"
        for name, value in row.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    ]
    return ", ".join(words)
