"""The measures of a fleet as a table, as files and as a plot."""

import csv
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_pipeline.files.writing import replacing, to_json, write_atomically
from singan_jax.evaluate import memorisation, texture
from singan_jax.evaluate.measures import Measured

Row = dict[str, Any]

_TITLES = {
    "sifid_64": "SIFID, 64 features",
    "sifid_192": "SIFID, 192 features",
    "filter_bank_distance": "filter-bank distance (not SIFID)",
    "diversity": "diversity",
    "ms_ssim": "MS-SSIM between samples",
    "patch_distance": "patches to nearest real, gray levels",
    "copy_distance": "whole sample to real, SD of real",
    "spectrum_slope": "power-spectrum slope",
    **{name: f"co-occurrence: {name}" for name in texture.MEASURES[1:]},
}
_PAIRED = ("patch_distance", *texture.MEASURES)  # measured on the real image too
_REAL, _SYNTHETIC = "#0072b2", "#d55e00"
_ACROSS = 5  # panels of the plot


def row(measured: Measured) -> Row:
    """One member's line: means over its samples, except `copy_distance`, which is the least."""
    line: Row = {"member": measured.member, "samples": len(measured.files)}
    means = {name: float(np.mean(values)) for name, values in measured.of_samples.items()}
    line |= {name: means[name] for name in _TITLES if name in means and name not in _PAIRED}
    line |= measured.of_all
    line["copy_distance"] = float(measured.of_samples["copy_distance"].min())
    line["near_copies"] = len(measured.near_copies)
    for name in _PAIRED:
        line |= {name: means[name], f"{name}_real": measured.of_real[name]}
    return line


def over_fleet(rows: Sequence[Row]) -> tuple[Row, Row]:
    """Means over the members that have a value, and standard deviations.

    With n - 1, so NaN where one member has a value; both are NaN where none has.
    """
    columns = {
        name: [line[name] for line in rows if np.isfinite(line[name])]
        for name in rows[0]
        if name != "member"
    }
    mean = {
        name: float(np.mean(values)) if values else math.nan for name, values in columns.items()
    }
    deviation = {
        name: float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        for name, values in columns.items()
    }
    return {"member": "(mean)", **mean}, {"member": "(sd)", **deviation}


def table(rows: Sequence[Row], most: int = 20) -> str:
    """The measures down, the first `most` members and the fleet's mean and SD across, as text."""
    shown = [*rows[:most], *over_fleet(rows)]
    lines = [[name, *(_number(line[name]) for line in shown)] for name in rows[0]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(shown) + 1)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def write_summary(
    out: pathlib.Path, measured: Sequence[Measured], about: Mapping[str, Any]
) -> list[Row]:
    """Writes measures.csv, measures.json and measures.png.

    Args:
      out: folder to write to; created if missing.
      measured: the measures of each member.
      about: further entries of measures.json, such as the folders.

    Returns:
      The rows of measures.csv without the last two, which are the fleet's mean and SD.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = [row(one) for one in measured]
    mean, deviation = over_fleet(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, mean, deviation])
    write_atomically(out / "measures.csv", text.getvalue())
    content = {
        **about,
        "near_copy_below": memorisation.NEAR_COPY,
        "patch_pixels": memorisation.PATCH,
        "members": [
            {**line, "near_copy_files": [str(path) for path in one.near_copies]}
            for line, one in zip(rows, measured, strict=True)
        ],
        "mean": mean,
        "sd": deviation,
    }
    write_atomically(out / "measures.json", to_json(content, indent=1) + "\n")
    _plot(out / "measures.png", measured, rows)
    return rows


def _plot(path: pathlib.Path, measured: Sequence[Measured], rows: Sequence[Row]) -> None:
    """Distributions over members above, texture of synthetic against real below."""
    distances = [name for name in _TITLES if name in rows[0] and name not in texture.MEASURES]
    below = -(-len(distances) // _ACROSS) * _ACROSS  # texture starts on a row of its own
    places = {name: n + 1 for n, name in enumerate(distances)}
    places |= {name: below + n + 1 for n, name in enumerate(texture.MEASURES)}
    down = below // _ACROSS + 1
    with matplotlib.rc_context({"font.size": 9, "axes.grid": True, "grid.color": "#e3e8ee"}):
        figure = Figure((3 * _ACROSS, 2.7 * down), layout="constrained")
        for name, place in places.items():
            axes = figure.add_subplot(down, _ACROSS, place)
            axes.set_title(_TITLES[name], fontsize=9)
            axes.locator_params(nbins=5)
            if name in texture.MEASURES:
                _real_against_synthetic(axes, name, measured)
            else:
                _distribution(axes, name, rows)
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=110)


def _distribution(axes: Axes, name: str, rows: Sequence[Row]) -> None:
    """The share of members at or below each value, a dot for each member."""
    share = (np.arange(len(rows)) + 1) / len(rows)
    for column, colour, label in (
        (name, _SYNTHETIC, "samples"),
        (f"{name}_real", _REAL, "within the real image"),
    ):
        if column in rows[0]:
            values = np.sort([line[column] for line in rows])
            axes.step([values[0], *values], [0, *share], where="post", color=colour, alpha=0.5)
            axes.plot(values, share, ".", color=colour, label=label)
    if f"{name}_real" in rows[0]:
        axes.legend(frameon=False, fontsize=8)
    if name == "copy_distance":
        axes.axvline(memorisation.NEAR_COPY, color="#000000", linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("share of members")


def _real_against_synthetic(axes: Axes, name: str, measured: Sequence[Measured]) -> None:
    """A dot for each member: mean and SD of its samples over the real image's value."""
    real = [one.of_real[name] for one in measured]
    values = [one.of_samples[name] for one in measured]
    axes.errorbar(
        real,
        [value.mean() for value in values],
        [value.std(ddof=1) for value in values],
        fmt=".",
        color=_SYNTHETIC,
        elinewidth=1,
    )
    low, high = (f(*axes.get_xlim(), *axes.get_ylim()) for f in (min, max))
    axes.plot([low, high], [low, high], color=_REAL, linewidth=1)
    axes.set(xlabel="real", ylabel="synthetic, mean and SD", aspect="equal")
