"""ROC-AUC by the zooms trained on, filled up with and tested on: what annotation shift costs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from classify.cells import Results, fill_zooms_at
from classify.report import style
from classify.report.tables import matrices, of_target
from classify.statistics.places import Place, place_of


def zoom_matrix(summary: pd.DataFrame, results: Results, regimes: Sequence[str]) -> str:
    """ROC-AUC of the target class, with intervals; nothing where there is one zoom of each kind.

    Args:
      summary: see `statistics.summarize`.
      results: of the study.
      regimes: each gets a matrix, with rows of train zooms (and fill zooms, where there are several
        and the regime fills up) and columns of test zooms.
    """
    if len(results.zooms) == 1:
        return ""
    found = of_target(summary, results)
    found = found[found["regime"].isin(regimes)].set_index(list(Place._fields))
    least, spread = found["mean"].min(), np.ptp(found["mean"])

    def cell(place: Place) -> str:
        row = found.loc[place]
        text = f"<b>{style.number(row['mean'])}</b>"
        text += f"<span>{style.interval(row['low'], row['high'], digits=2)}</span>"
        return style.shaded(text, (row["mean"] - least) / spread if spread else 0)

    shown = {
        regime: [
            [style.escape(name), *(cell(place_of(regime, *zooms)) for zooms in of_row)]
            for name, of_row in _rows(results, regime).items()
        ]
        for regime in regimes
    }
    fills = " and filled up with" if _several_fills(results) else ""
    caption = (
        f"ROC-AUC by zoom of the lesions trained on{fills} (rows) and tested on (columns), with "
        "95 % intervals as above; darker is higher, on one scale. Look how much is lost where the "
        "zooms differ, and whether synthetic patches change that."
    )
    return matrices([f"test {zoom}" for zoom in results.test_zooms], shown, caption)


def _rows(results: Results, regime: str) -> dict[str, list[tuple[str, str, str]]]:
    """By heading of a row, the train, test and fill zooms of its cells."""
    rows: dict[str, dict[tuple[str, str, str], None]] = {}
    for train, test, fill in results.zooms:
        place = place_of(regime, train, test, fill)
        name = f"train {train}"
        if place.fill_zoom and _several_fills(results):
            name = f"fill {fill}, {name}"
        rows.setdefault(name, {})[place[1:]] = None
    return {name: list(cells) for name, cells in rows.items()}


def _several_fills(results: Results) -> bool:
    """Whether the fill zoom is anything else than the train zoom."""
    return any(
        fill_zooms_at(train, results.fill_zooms) != (train,) for train in results.train_zooms
    )
