"""Reads the features tables of BCDR: the numbers that it computed from each outlined lesion.

Their columns start with `i_` (intensity), `s_` (shape) or `t_` (texture); a set may lack some of
them. A row goes with the row of outlines that has the same patient, study, series, view, lesion and
segmentation.
"""

import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.files.tables import Row

Key = tuple[int, ...]
Radiomics = tuple[tuple[str, float | None], ...]

_KEY = ("patient_id", "study_id", "image_view", "lesion_id", "segmentation_id")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def key_of(row: Row, series: Sequence[str]) -> Key:
    """What a row of outlines and one of features have in common.

    Args:
      row: of either table.
      series: the column of the series, or nothing where a set has none.

    Raises:
      DataError: a value is no whole number.
    """
    return tuple(int(row.digits(column)) for column in (*_KEY, *series))


def read(
    path: pathlib.Path,
    series: Sequence[str],
    outlines: Iterable[Row],
    skip: Callable[[Row, str], None],
) -> Mapping[Key, Radiomics]:
    """Reads a table.

    Args:
      path: of the table.
      series: see `key_of`.
      outlines: all rows of the set's outlines.
      skip: called with each row or value that is left out, and the reason.

    Returns:
      The numbers by key, in the order of their columns; None for what is blank or no number.

    Raises:
      DataError: the table cannot be read, or lacks a column of the key.
    """
    outlined = set(_keys(outlines, series))
    found: dict[Key, Radiomics] = {}
    for row in tables.read(path, (*_KEY, *series)):
        try:
            key = key_of(row, series)
        except DataError as error:
            skip(row, str(error))
            continue
        if key in found:
            skip(row, "its lesion and segmentation again; their first row is used")
        elif key not in outlined:
            skip(row, "no row of outlines has its patient, study, view, lesion and segmentation")
        else:
            columns = [column for column in row.values if re.match("[ist]_", column)]
            found[key] = tuple((column, _number(row, column, skip)) for column in columns)
    return found


def _keys(rows: Iterable[Row], series: Sequence[str]) -> Iterable[Key]:
    """The keys of those rows that have one; what is wrong with others is not for here to say."""
    for row in rows:
        try:
            yield key_of(row, series)
        except DataError:
            continue


def _number(row: Row, column: str, skip: Callable[[Row, str], None]) -> float | None:
    text = row[column]
    if text.lower() in ("", "nan"):
        return None
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    skip(row, f"{column} is {text!r}, not a number; the value is taken as missing")
    return None
