"""The page of all misclassified patches, beside the report, which shows the worst alone."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from classify.cells import Results, Zooms
from classify.report import gallery, style
from classify.report.style import Section
from classify.report.tables import at, where
from data_pipeline.files.writing import write_atomically

NAME = "misclassified.html"
_LONGEST = 96  # pixels of the longer side of a picture
_SHOWN = {  # columns of `mistakes.misclassified` in captions, and their words there
    "patient_id": "patient",
    "image_view": "view",
    "Format": "format",
    "zoom_group": "zoom",
    "density": "density",
    "age": "age",
    "findings": "findings",
}


def write(
    path: pathlib.Path,
    table: pd.DataFrame,
    results: Results,
    regimes: Sequence[str],
    zooms: Zooms,
    pixels: Mapping[str, np.ndarray],
) -> None:
    """Writes the page; it needs nothing else, and equal input gives equal bytes.

    Args:
      path: the HTML file to write.
      table: see `mistakes.misclassified`.
      results: of the study.
      regimes: those whose mistakes are shown.
      zooms: trained on, tested on and filled up with.
      pixels: by patch id, (H, W, 1) uint8.

    Raises:
      OSError: the file cannot be written.
    """
    found = table[at(table, zooms) & table["regime"].isin(regimes)]
    sections = [
        Section(f"{truth}-{said}", f"{truth}, called {said}", _group(found, truth, said, pixels))
        for truth in results.classes
        for said in results.classes
        if truth != said
    ]
    number = found["patch_id"].nunique()
    text = (
        f"Test patches that {', '.join(regimes)} call a wrong class when probabilities are "
        f"averaged over replicates{where(results, zooms)}: {number}. Below each patch, the regimes "
        "that are wrong, with their probability of the class that they call it. The surest come "
        "first. misclassified.csv has the mistakes of all regimes at all zooms."
    )
    page = style.page("Misclassified patches", style.note(text), sections)
    write_atomically(path, page.encode("ascii", "xmlcharrefreplace").decode())


def link(name: str) -> str:
    """A paragraph that leads to the page; empty where there is none.

    Args:
      name: of its file, beside the report; or an empty text.
    """
    if not name:
        return ""
    words = "All misclassified patches, with what is known of them"
    return f'<p><a href="{style.escape(name)}">{words}</a> (a file of its own)</p>\n'


def _group(found: pd.DataFrame, truth: str, said: str, pixels: Mapping[str, np.ndarray]) -> str:
    """The patches of a class that are called another, folded away."""
    rows = found[(found["truth"] == truth) & (found["said"] == said)]
    if rows.empty:
        return ""
    rows = rows.sort_values("probability", ascending=False, kind="stable")
    pictures = [
        _figure(of_patch, pixels[patch_id])
        for patch_id, of_patch in rows.groupby("patch_id", sort=False)
    ]
    content = f'<div class="patches wide">{"".join(pictures)}</div>'
    return style.details(f"Patches: {len(pictures)}", content)


def _figure(of_patch: pd.DataFrame, pixels: np.ndarray) -> str:
    """A patch, with the regimes that are wrong."""
    first = of_patch.iloc[0]
    answers = [
        f"{style.breakable(row.regime)} <b>{style.number(row.probability, 2)}</b>"
        for row in of_patch.itertuples()
    ]
    known = [
        f"{words} {style.escape(_text(first[name]))}"
        for name, words in _SHOWN.items()
        if _text(first[name])
    ]
    caption = "<br/>".join([*answers, style.escape(first["patch_id"]), *known])
    words = f"Test patch {first['patch_id']}: {first['truth']}, called {first['said']}"
    return gallery.picture(pixels, words, caption, longest=_LONGEST)


def _text(value: object) -> str:
    """Of a field that is not known, an empty text."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return "" if value is None else str(value)
