"""Texts and tables: the same rows however they are encoded and separated."""

import codecs
import csv
import io

import hypothesis
import hypothesis.strategies as st
import pytest

from data_pipeline.errors import DataError
from data_pipeline.files import tables

COLUMNS = ("patient_id", "view", "note")
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",  # writes its mark itself
    "utf-16": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32": b"",
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def written(rows, separator=",", end="\n", quoting=csv.QUOTE_MINIMAL):
    """A table as the csv module writes it, the header first."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([COLUMNS, *rows])
    return text.getvalue()


def read(folder, data, columns=COLUMNS):
    (folder / "table.csv").write_bytes(data)
    return tables.read(folder / "table.csv", columns)


VALUE = st.text(
    st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ,;\t|\"'"), max_size=8
).map(str.strip)


@hypothesis.given(
    rows=st.lists(st.lists(VALUE, min_size=3, max_size=3), min_size=1, max_size=4),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    is_named=st.booleans(),
)
@hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_the_same_rows_in_every_writing(
    tmp_path, rows, encoding, separator, end, quoting, is_named
):
    text = f"sep={separator}{end}" * is_named + written(rows, separator, end, quoting)
    found = read(tmp_path, ENCODINGS[encoding] + text.encode(encoding))
    values = [[row[column] for column in COLUMNS] for row in found]
    # Decimal commas apart, which have a test of their own.
    wanted = [row for row in rows if any(row)]
    if separator != ",":
        wanted = [[tables.re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", v) for v in row] for row in wanted]
    assert values == wanted


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_without_a_mark_are_known_by_their_zeros(tmp_path, encoding):
    (tmp_path / "Info.txt").write_bytes("mdb001 G NORM\r\nmdb002 é\r\n".encode(encoding))
    assert tables.read_text(tmp_path / "Info.txt") == "mdb001 G NORM\nmdb002 é\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", [*ENCODINGS])
def test_texts(tmp_path, encoding, end):
    text = end.join(["first, línea", "乳房", "", "last"])
    (tmp_path / "text").write_bytes(ENCODINGS[encoding] + text.encode(encoding))
    assert tables.read_text(tmp_path / "text") == "first, línea\n乳房\n\nlast"


def test_what_is_not_of_the_encoding_is_replaced(tmp_path):
    (tmp_path / "text").write_bytes(b"M\xe1laga\n")
    assert tables.read_text(tmp_path / "text") == "M\ufffdlaga\n"


@pytest.mark.parametrize("separator", ";\t|")
def test_decimal_commas_become_points(tmp_path, separator):
    rows = [["7", "0,25", "-1,5"], ["8", "1,2,3", "a,5"]]
    first, second = read(tmp_path, written(rows, separator).encode())
    assert (first["view"], first["note"]) == ("0.25", "-1.5")
    assert (second["view"], second["note"]) == ("1,2,3", "a,5")


def test_rows_have_their_lines(tmp_path):
    text = "\n  \nsep=;\n\npatient_id;view;note\n1;CC;\n\n2;MLO\n;;\n3;CC;fine\n"
    first, short, last = read(tmp_path, text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert [row.line for row in (first, short, last)] == [6, 8, 10]
    assert first["note"] == ""
    with pytest.raises(DataError, match="has 2 values, but there are 3 columns"):
        short["view"]
    assert last.digits("patient_id") == "3"
    with pytest.raises(DataError, match="view is 'CC', not a whole number"):
        last.digits("view")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty; restore it"),
        (b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        (b"patient_id,view\n", "has no column 'note' among patient_id, view; restore its header"),
        (b"patient_id,view,note,note\n", "has several columns 'note'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, data, problem):
    with pytest.raises(DataError, match=f"^table.csv {problem}"):
        read(tmp_path, data)


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none.csv cannot be read as a table \(No such file"):
        tables.read(tmp_path / "none.csv", COLUMNS)
