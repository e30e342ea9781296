"""Reads CSV files as they come: every value a stripped string, every row with its line number.

A fault in a row affects that row alone; only a table without the columns asked for is refused. The
csv module does it, not pandas, which tells neither the line of a row nor that it is too short.
"""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from data_pipeline.mammograms import DataError


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table; `row[column]` is a value, and raises DataError where there is a problem.

    Attributes:
      line: of the file, counted from 1; the header is on line 1.
      text: all values joined by commas.
      values: by column, without surrounding blanks.
      problem: why the values cannot be told apart, or an empty string.
    """

    line: int
    text: str
    values: Mapping[str, str]
    problem: str

    def __getitem__(self, column: str) -> str:
        if self.problem:
            raise DataError(self.problem)
        return self.values[column]

    def digits(self, column: str) -> str:
        """A whole number, as it is written.

        Raises:
          DataError: the value is anything else, such as a path.
        """
        if not re.fullmatch("[0-9]{1,12}", self[column]):
            raise DataError(f"{column} is {self[column]!r}, not a whole number")
        return self[column]


def read(path: pathlib.Path, columns: Sequence[str]) -> list[Row]:
    """Reads a table of values separated by commas, perhaps with blanks after them.

    Args:
      path: the file, in UTF-8 with or without a byte order mark.
      columns: that it must have; others are read too.

    Returns:
      Its rows, empty lines left out.

    Raises:
      DataError: the file cannot be read, or its columns are not as they must be.
    """
    try:
        # What is not UTF-8 is replaced: the value it spoils then fails its own check.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            records = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name} cannot be read as a table ({reason}); restore it") from error
    if not records:
        raise DataError(f"{path.name} is empty; restore it")
    (_, header), *body = records
    for column in columns:
        if header.count(column) != 1:
            fault = "several columns" if column in header else "no column"
            problem = f"has {fault} {column!r} among {', '.join(header)}"
            raise DataError(f"{path.name} {problem}; restore its header")
    return [_row(header, line, values) for line, values in body if any(values)]


def _row(header: Sequence[str], line: int, values: Sequence[str]) -> Row:
    text = ",".join(values)
    if len(values) != len(header):
        problem = f"has {len(values)} values, but there are {len(header)} columns"
        return Row(line, text, {}, problem)
    return Row(line, text, dict(zip(header, values, strict=True)), "")
