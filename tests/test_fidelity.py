"""docs/fidelity.md: every row has one of four verdicts, and the counts are those of the rows."""

import collections
import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/fidelity.md"
HEADER = ["behaviour", "original", "here", "verdict"]
VERDICTS = ("same", "better", "differs", "absent")
NEED_A_REASON = ("better", "differs")


def tables(text):
    """Yields the header and the rows of each table of a page, as lists of cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        yield header, rows


def verdict_of(row):
    """The verdict of a row; ValueError where it is none, or lacks or wrongly has its reason."""
    if len(row) != len(HEADER) or not all(row):
        raise ValueError(f"not four cells with something in them: {row}")
    word, _, reason = row[-1].partition(" ")
    given = re.fullmatch(r"\(.+\)", reason) is not None
    if word not in VERDICTS or given != (word in NEED_A_REASON) or (reason and not given):
        raise ValueError(f"no verdict: {row[-1]!r}")
    return word


def test_every_row_has_a_verdict_and_the_counts_are_true():
    *compared, (header, stated) = tables(PAGE.read_text())
    assert len(compared) == 5
    assert all(found == HEADER for found, _ in compared)
    assert header == ["verdict", "rows"]
    rows = [row for _, of_table in compared for row in of_table]
    counts = collections.Counter(verdict_of(row) for row in rows)
    assert {name: int(number) for name, number in stated} == {**counts, "all": len(rows)}
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "verdict", ["equal", "better", "same (nearly)", "differs because", "absent, so far", ""]
)
def test_other_verdicts_are_found(verdict):
    with pytest.raises(ValueError, match=r"no verdict|not four cells"):
        verdict_of(["a", "b", "c", verdict])


def test_tables_of_a_page():
    page = (
        "# A\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\ntext\n\n| c |\n| --- |\n| 5 |\n"
    )
    assert list(tables(page)) == [(["a", "b"], [["1", "2"], ["3", "4"]]), (["c"], [["5"]])]
