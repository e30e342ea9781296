"""Patches at a glance: a page of examples and counts, and counts as a few lines of text."""

import pathlib
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_pipeline import duplicates
from data_pipeline.duplicates import Duplicate
from data_pipeline.files.writing import replacing
from data_pipeline.mammograms import CLASSIFICATIONS, Skip
from data_pipeline.patch_records import PatchRecord
from data_pipeline.resizing import resize

_TILE, _COLUMN, _ROW = 144, 152, 172  # pixels of the page, as all below
_ACROSS = 9  # examples in a row: healthy patches, or three lesions at three zooms
_LEFT, _WIDTH = 130, 130 + _ACROSS * _COLUMN + 20
_TOP, _CHARTS, _LINE = 56, 330, 22
_COLOURS = {"Normal": "#8c8c8c", "Benign": "#3b7dd8", "Malign": "#d1495b"}
_REASONS = 12  # kinds of skips that are listed


def write(
    path: pathlib.Path,
    title: str,
    folder: pathlib.Path,
    records: Sequence[PatchRecord],
    skips: Sequence[Skip],
    found_twice: Sequence[Duplicate] = (),
) -> None:
    """Writes the page.

    Args:
      path: PNG to write.
      title: of the page; it is marked as synthetic if a patch is.
      folder: of the patches' files, see `extract.extract`.
      records: of all patches, at least one.
      skips: what was left out.
      found_twice: what is there twice.

    Raises:
      OSError: a patch cannot be read or the page cannot be written.
    """
    groups: dict[tuple[str, str], list[PatchRecord]] = {}
    for record in records:
        groups.setdefault((record.format, record.classification), []).append(record)
    lines = [
        part
        for line in [*duplicates.lines(found_twice), *skip_lines(skips)]
        for part in textwrap.wrap(line, 170, subsequent_indent="    ")
    ]
    below = (len(lines) + 1) * _LINE
    height = _TOP + len(groups) * _ROW + _CHARTS + below
    figure = Figure(figsize=(_WIDTH / 100, height / 100), dpi=100, facecolor="white")
    if any(record.synthetic for record in records):
        title = f"SYNTHETIC, drawn by a phantom: {title}"
    figure.text(20 / _WIDTH, 1 - 24 / height, title, size=15, weight="bold", va="center")
    order = sorted(
        groups, key=lambda group: (group[0] == "Digital", CLASSIFICATIONS.index(group[1]))
    )
    for row, group in enumerate(order):
        top = height - _TOP - row * _ROW
        label = "\n".join((*group, f"{len(groups[group])} patches"))
        figure.text(20 / _WIDTH, (top - _TILE / 2) / height, label, va="center", size=11)
        _draw_row(figure, folder, _examples(groups[group]), height, top)
    _draw_charts(figure, records, height, below)
    for number, line in enumerate(lines):
        y = (len(lines) - number) * _LINE / height
        figure.text(20 / _WIDTH, y, line, size=9, va="center", parse_math=False)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def counts(records: Sequence[PatchRecord]) -> pd.DataFrame:
    """Counts patches: a row for each set and one for all, columns for patients and each class."""
    rows = [(r.dataset, r.patient_id, r.classification) for r in records]
    table = pd.DataFrame(rows, columns=["set", "patients", "class"])
    by_class = pd.crosstab(table["set"], table["class"])
    by_class = by_class.reindex(columns=list(CLASSIFICATIONS), fill_value=0)
    by_class.insert(0, "patients", table.groupby("set")["patients"].nunique())
    by_class.loc["all"] = by_class.sum()
    return by_class.rename_axis(columns=None)


def skip_lines(skips: Sequence[Skip]) -> list[str]:
    """How many skips of each kind there are, most frequent first, with an example of each."""
    kinds: dict[str, list[Skip]] = {}
    for skip in skips:
        kinds.setdefault(re.sub(r"\S*\d\S*", "#", skip.reason), []).append(skip)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    lines = [f"{len(skips)} skipped" + (", by reason:" if skips else "")]
    for alike in ordered[:_REASONS]:
        first = " ".join(filter(None, (alike[0].source, alike[0].where)))
        lines.append(f"{len(alike)}{' such as' if alike[1:] else ''}: {first}: {alike[0].reason}")
    if ordered[_REASONS:]:
        lines.append(f"and {sum(map(len, ordered[_REASONS:]))} for other reasons")
    return lines


def _examples(records: Sequence[PatchRecord]) -> list[PatchRecord | None]:
    """Up to `_ACROSS` patches spread over a group; of lesions, each at all its zooms."""
    lesions: dict[tuple[str, str | None], dict[int, PatchRecord]] = {}
    for record in records:
        key = (record.image_id, record.lesion_id or record.patch_id)
        lesions.setdefault(key, {})[record.zoom_group] = record
    is_healthy = records[0].zoom_group == 0
    wanted = _ACROSS if is_healthy else _ACROSS // 3
    found = list(lesions.values())
    count = min(wanted, len(found))
    spread = [found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]
    zooms = (0,) if is_healthy else (1, 2, 3)
    return [lesion.get(zoom) for lesion in spread for zoom in zooms]


def _draw_row(
    figure: Figure,
    folder: pathlib.Path,
    examples: Iterable[PatchRecord | None],
    height: float,
    top: float,
) -> None:
    """Puts patches side by side, each with its set and zoom below."""
    for column, record in enumerate(examples):
        if record is None:
            continue
        with PIL.Image.open(folder / record.file_name, formats=["PNG"]) as png:
            tile = resize(np.array(png), _TILE, _TILE)
        left = _LEFT + column * _COLUMN
        bounds = _fractions((left, top - _TILE, _TILE, _TILE), height)
        axes = figure.add_axes(bounds, frameon=False, xticks=[], yticks=[])
        axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="none")
        caption = f"zoom {record.zoom_group}" if record.zoom_group else "healthy"
        axes.set_xlabel(f"{record.dataset}, {caption}", size=8, labelpad=2)


def _draw_charts(
    figure: Figure, records: Sequence[PatchRecord], height: float, bottom: float
) -> None:
    charts: dict[str, Callable[[PatchRecord], str]] = {
        "set": lambda record: record.dataset,
        "density": lambda record: "unknown" if record.density is None else f"{record.density:g}",
        "zoom group": lambda record: str(record.zoom_group),
    }
    width = (_WIDTH - 80) / len(charts)
    for number, (name, value) in enumerate(charts.items()):
        bounds = (80 + number * width, bottom + 60, width - 60, _CHARTS - 110)
        axes = figure.add_axes(_fractions(bounds, height))
        _draw_bars(axes, records, value)
        axes.set_xlabel(name)
        axes.set_ylabel("patches")
    axes.legend(loc="upper right", frameon=False)


def _draw_bars(
    axes: Axes, records: Sequence[PatchRecord], value: Callable[[PatchRecord], str]
) -> None:
    """Draws a bar for each value: its patches, stacked by class."""
    values = sorted({value(record) for record in records})
    below = np.zeros(len(values), int)
    for name in CLASSIFICATIONS:
        of_class = [value(record) for record in records if record.classification == name]
        found = np.array([of_class.count(v) for v in values])
        axes.bar(values, found, bottom=below, color=_COLOURS[name], label=f"{name} {sum(found)}")
        below += found
    for x, total in enumerate(below):
        axes.text(x, total, str(total), ha="center", va="bottom", size=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.15 * below.max())


def _fractions(
    bounds: tuple[float, float, float, float], height: float
) -> tuple[float, float, float, float]:
    """(left, bottom, width, height) in pixels, as fractions of the page."""
    left, bottom, wide, high = bounds
    return left / _WIDTH, bottom / height, wide / _WIDTH, high / height
