"""Queries: the grammar, what is selected, and errors that list what there is."""

import hypothesis
import hypothesis.strategies as st
import pytest
from make_record import record

from data_pipeline.errors import DataError
from data_pipeline.query import EXAMPLE, Query, is_query, parse, select

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
VALUES = st.text("abcXYZ019._-/ é", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bcdr_patches/g1:train", Query("bcdr_patches", "g1", "train")),
        (
            EXAMPLE,
            Query(
                "bcdr_patches",
                "g1",
                "train",
                (("classification", ("Malign",)), ("Format", ("Film",))),
            ),
        ),
        (
            " mias_patches/all:test [ density = 3 | 4 , nodule=true] ",
            Query("mias_patches", "all", "test", (("density", ("3", "4")), ("nodule", ("true",)))),
        ),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected


@hypothesis.given(
    NAMES, NAMES, NAMES, st.dictionaries(NAMES, st.lists(VALUES, min_size=1), min_size=1)
)
def test_what_is_written_is_read(dataset, config, split, conditions):
    inside = ",".join(f"{field}={'|'.join(values)}" for field, values in conditions.items())
    text = f"{dataset}/{config}:{split}[{inside}]"
    assert is_query(text)
    pairs = tuple((field, tuple(values)) for field, values in conditions.items())
    assert parse(text) == Query(dataset, config, split, pairs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bcdr_patches",
        "bcdr_patches/g1",
        "bcdr_patches:train",
        "bcdr_patches/g1:",
        "bcdr_patches/g1:train[a=b",
        "bcdr_patches/g1:train[a=b]]",
        "bcdr_patches/g1:train[a=b][c=d]",
        "bcdr_patches/g1:train+test",
        "../x/g1:train",
    ],
)
def test_what_is_no_query_is_told_the_grammar(text):
    with pytest.raises(DataError, match=r"is no query: dataset/config:split\[field=") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("inside", ["", "a", "a=", "=b", "a=b,", "a=b||c", "a=|b"])
def test_what_is_no_condition_is_named(inside):
    with pytest.raises(DataError, match="is no condition; write field=value"):
        parse(f"d/c:s[{inside}]")


def test_two_conditions_on_a_field_are_refused():
    with pytest.raises(DataError, match=r"two conditions on a; write a=value\|value"):
        parse("d/c:s[a=1,b=2,a=3]")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("bcdr_patches/g1:train", True),
        ("bcdr_patches/g1:trian[", True),  # meant as one: its errors are worth telling
        ("raw/*.png", False),
        ("raw/a[12].png", False),
        ("./raw/g1:train", False),
        ("/raw/g1:train", False),
        ("a.png", False),
        ("raw", False),
    ],
)
def test_queries_are_told_from_files(text, answer):
    assert is_query(text) is answer


def test_a_file_that_exists_is_no_query(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert is_query("a/b:c.png")
    (tmp_path / "a/b:c.png").touch()
    assert not is_query("a/b:c.png")


RECORDS = (
    record("1_F01", 1, age=40.0, density=1),
    record("1_F01", 2, classification="Malign", zoom_group=2, density=None),
    record("2_D01", 3, classification="Malign", format="Digital", age=40.5, findings=()),
    record("3_D01", 4, classification="Normal", format="Digital", age=None, density=4),
    record("4_F01", 5, findings=("microcalcification", "nodule"), laterality="L", synthetic=False),
)


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ("classification=Malign", [2, 3]),
        ("classification=Malign,Format=Film", [2]),
        ("classification=Malign|Normal", [2, 3, 4]),
        ("Format=Film|Digital", [1, 2, 3, 4, 5]),
        ("age=40", [1]),
        ("age=40.5|none", [3, 4]),
        ("density=2", [3, 5]),
        ("density=none|4|1", [1, 2, 4]),
        ("zoom_group=0", [4]),
        ("zoom_group=1,suspicious=true", [1, 3, 5]),
        ("nodule=true", [5]),
        ("nodule=false,synthetic=true,image_view=RO", [1, 2, 3, 4]),
        ("findings=nodule", [5]),
        ("findings=nodule|microcalcification", [1, 2, 5]),
        ("lesion_id=none", [4]),
        ("patient_id=1_F01|4_F01,laterality=L", [5]),
        ("patch_id=2_D01_3_3", [3]),
    ],
)
def test_select(conditions, numbers):
    selected = select(RECORDS, parse(f"bcdr_patches/g1:train[{conditions}]"))
    assert selected == tuple(RECORDS[number - 1] for number in numbers)


def test_no_condition_selects_all():
    assert select(RECORDS, parse("bcdr_patches/g1:train")) == RECORDS


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("class=Malign", "patches have no field 'class'; the fields are age, age_imputed, calci"),
        ("format=Film", "patches have no field 'format'; the fields are"),
        ("box=1", "patches have no field 'box'; the fields are"),
        (
            "classification=malign",
            "classification=malign: no patch of bcdr_patches/g1:train has it; there are Benign, "
            "Malign, Normal",
        ),
        ("Format=Film|Paper", "Format=Paper: no patch of bcdr_patches/g1:train has it; there are"),
        ("density=9", "has it; there are 1, 2, 4, none"),
        ("age=40.0", "has it; there are 40, 40.5, 61.5, none"),
        (
            "classification=Normal,Format=Film",
            "bcdr_patches/g1:train has no patch with classification=Normal, Format=Film at once",
        ),
    ],
)
def test_what_cannot_be_selected_is_told_what_there_is(conditions, message):
    with pytest.raises(DataError) as caught:
        select(RECORDS, parse(f"bcdr_patches/g1:train[{conditions}]"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_known_values_is_cut():
    many = [record(f"{patient:02d}") for patient in range(30)]
    with pytest.raises(DataError, match=r"there are 00, 01, .*, 11, and 18 more$"):
        select(many, parse("d/c:s[patient_id=x]"))
    with pytest.raises(DataError, match=r"there are no values$"):
        select([record(findings=())], parse("d/c:s[findings=nodule]"))


def test_an_empty_split_is_named():
    with pytest.raises(DataError, match="d/c:s has no patches; choose another config or split"):
        select([], parse("d/c:s"))
