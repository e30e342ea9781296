"""Text files and tables as they come: any encoding, any separator, any line ends.

Every value of a table is a stripped string, every row has its line number. A fault in a row affects
that row alone; only a table without the columns asked for is refused. The csv module does it, not
pandas, which tells neither the line of a row nor that it is too short.
"""

import codecs
import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

from data_pipeline.errors import DataError

_MARKS = (  # of byte orders; UTF-32's start as UTF-16's do
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t|"


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


def read_text(path: pathlib.Path) -> str:
    r"""Reads a text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Returns:
      The text with line ends of one character, `\n`, and without the mark. What is not of its
      encoding is replaced: the value it spoils then fails its own check.

    Raises:
      OSError: the file cannot be read.
    """
    data = path.read_bytes()
    text = data.decode(_encoding(data), errors="replace")
    return re.sub("\r\n?", "\n", text).lstrip("\ufeff")


def _encoding(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    start = data[:4000]
    for first, encoding in ((0, "utf-32-le"), (3, "utf-32-be")):
        if len(start) > 7 and not any(any(start[n::4]) for n in range(4) if n != first):
            return encoding
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = start[offset::2]
        if len(zeros) > 1 and zeros.count(0) > 0.6 * len(zeros):
            return encoding
    return "utf-8"


def read(path: pathlib.Path, columns: Sequence[str]) -> list[Row]:
    """Reads a table of values separated by commas, semicolons, tabs or bars, perhaps in quotes.

    Where the separator is another than the comma, as spreadsheets choose it where the comma is the
    decimal sign, numbers with a comma get a point. A spreadsheet's first line, such as `sep=;`,
    names the separator.

    Args:
      path: the file, see `read_text`.
      columns: that it must have; others are read too.

    Returns:
      Its rows, empty lines left out.

    Raises:
      DataError: the file cannot be read, or its columns are not as they must be.
    """
    try:
        text = read_text(path)
        text, separator = _separator(text)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        records = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name} cannot be read as a table ({reason}); restore it") from error
    records = [(line, values) for line, values in records if any(values)]
    if not records:
        raise DataError(f"{path.name} is empty; restore it")
    (_, header), *body = records
    for column in columns:
        if header.count(column) != 1:
            fault = "several columns" if column in header else "no column"
            problem = f"has {fault} {column!r} among {', '.join(header)}"
            raise DataError(f"{path.name} {problem}; restore its header")
    if separator != ",":
        body = [
            (line, [re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", v) for v in row]) for line, row in body
        ]
    return [_row(header, line, values) for line, values in body]


def _separator(text: str) -> tuple[str, str]:
    """A table without the line that names its separator, and the separator.

    Without such a line it is what the first line that is not blank has most of.
    """
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if named := re.fullmatch(f"(?i)sep=([{_SEPARATORS}])", lines[first].strip(' "')):
        lines[first] = ""
        return "\n".join(lines), named[1]
    return text, max(_SEPARATORS, key=lines[first].count)


def _row(header: Sequence[str], line: int, values: Sequence[str]) -> Row:
    text = ",".join(values)
    if len(values) != len(header):
        problem = f"has {len(values)} values, but there are {len(header)} columns"
        return Row(line, text, {}, problem)
    return Row(line, text, dict(zip(header, values, strict=True)), "")
