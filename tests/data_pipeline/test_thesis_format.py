"""The thesis' metadata: what lines may say, what they may not, and what is written."""

import json

import hypothesis
import hypothesis.strategies as st
import pytest
from make_record import record

from data_pipeline import thesis_format
from data_pipeline.errors import DataError

ROW = {
    "file_name": "17.png",
    "patient_id": "12_F01",
    "image_view": 3,
    "Format": "Film",
    "classification": "Malign",
    "age": 61,
    "density": 2,
    "zoom_group": 1,
    "suspicious": 1,
    "calcification": 0,
    "nodule": 1,
}
HEALTHY = {"classification": "Normal", "zoom_group": 0, "suspicious": 0, "nodule": 0}


def parsed(**changes):
    return thesis_format.parse(json.dumps({**ROW, **changes}))


def refusal(text):
    with pytest.raises(DataError) as caught:
        thesis_format.parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line():
    assert parsed() == thesis_format.Line(
        file_name="17.png",
        patient_id="12_F01",
        view_number=3,
        format="Film",
        classification="Malign",
        age=61.0,
        density=2,
        zoom_group=1,
        calcification=False,
        nodule=True,
    )
    assert type(parsed().age) is float


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"classification": " Malign "}, "classification", "Malign"),
        ({"classification": " Benign"}, "classification", "Benign"),
        ({"age": None}, "age", None),
        ({"age": float("nan")}, "age", None),
        ({"age": 61.5}, "age", 61.5),
        ({"density": None}, "density", None),
        ({"density": 2.0}, "density", 2),
        ({"nodule": True}, "nodule", True),
        ({"file_name": "lesions\\17.png"}, "file_name", "lesions/17.png"),
        ({"another": "field"}, "nodule", True),
        ({**HEALTHY, "patient_id": "3_DN01"}, "zoom_group", 0),
    ],
)
def test_lines_as_they_come(changes, field, value):
    assert getattr(parsed(**changes), field) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON (Expecting"),
        ('{"file_name": "17.p', "is no JSON (Unterminated"),
        ("[1]", "is no JSON object"),
        ("[" * 100_000, "is no JSON ("),
        ("{}", "lacks file_name, patient_id, image_view, Format, classification, age"),
    ],
)
def test_what_is_no_line(text, reason):
    assert refusal(text).startswith(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"file_name": 17}, "file_name is 17, not a text"),
        ({"file_name": " "}, "file_name is ' ', not a text"),
        ({"patient_id": "12"}, "patient_id is '12', not <id>_<set> such as '12_F01'"),
        ({"patient_id": 12}, "patient_id is 12, not a text"),
        ({"patient_id": "../12_F01"}, "patient_id is '../12_F01', not"),
        ({"patient_id": "1/2_F01"}, "patient_id is '1/2_F01', not"),
        ({"image_view": "RCC"}, "image_view is 'RCC', not a whole number from 0 to 4"),
        ({"image_view": 5}, "image_view is 5, not a whole number from 0 to 4"),
        ({"image_view": 1.5}, "image_view is 1.5, not"),
        ({"Format": "film"}, "Format is 'film', not one of Film, Digital"),
        ({"classification": "Malignant"}, "classification is 'Malignant', not one of Normal, B"),
        ({"age": 0}, "age is 0, not of 1 to 120 years"),
        ({"age": "61"}, "age is '61', not"),
        ({"age": True}, "age is True, not"),
        ({"density": 5}, "density is 5, not a whole number from 1 to 4"),
        ({"density": 2.5}, "density is 2.5, not"),
        ({"zoom_group": 4}, "zoom_group is 4, not a whole number from 0 to 3"),
        ({"suspicious": 2}, "suspicious is 2, not a whole number from 0 to 1"),
        ({"suspicious": 0}, "it contradicts itself: Malign, zoom_group 1, suspicious 0"),
        ({"zoom_group": 0}, "it contradicts itself: Malign, zoom_group 0, suspicious 1"),
        ({"classification": "Normal"}, "it contradicts itself: Normal, zoom_group 1"),
        ({**HEALTHY, "nodule": 1}, "a Normal patch has a calcification or nodule"),
        ({"nodule": None}, "nodule is None, not"),
    ],
)
def test_fields_that_cannot_be(changes, reason):
    assert refusal(json.dumps({**ROW, **changes})).startswith(reason)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([])


@hypothesis.settings(deadline=None)
@hypothesis.given(st.dictionaries(st.sampled_from([*ROW]), values))
def test_no_value_whatever_gives_another_error(changes):
    text = json.dumps({**ROW, **changes})
    try:
        assert isinstance(thesis_format.parse(text), thesis_format.Line)
    except DataError:
        refusal(text)


@pytest.mark.parametrize(
    ("number", "counts_from_0", "changes", "view"),
    [
        (1, False, {}, ("R", "CC")),
        (2, False, {}, ("L", "CC")),
        (3, False, {}, ("R", "MLO")),
        (4, False, {}, ("L", "MLO")),
        (1, True, {}, ("R", "CC")),  # a film
        (1, True, {"Format": "Digital"}, ("R", "CC")),  # a lesion
        (0, True, {**HEALTHY, "Format": "Digital"}, ("R", "CC")),
        (3, True, {**HEALTHY, "Format": "Digital"}, ("L", "MLO")),
        (3, False, {**HEALTHY, "Format": "Digital"}, ("R", "MLO")),
        (3, True, HEALTHY, ("R", "MLO")),
    ],
)
def test_views(number, counts_from_0, changes, view):
    assert parsed(**{**changes, "image_view": number}).view(counts_from_0) == view


@pytest.mark.parametrize(
    ("number", "counts_from_0", "changes", "known"),
    [
        (0, False, {}, "1 RCC, 2 LCC, 3 RO, 4 LO"),
        (0, True, {}, "1 RCC, 2 LCC, 3 RO, 4 LO"),
        (4, True, {**HEALTHY, "Format": "Digital"}, "0 RCC, 1 LCC, 2 RO, 3 LO"),
    ],
)
def test_views_that_cannot_be(number, counts_from_0, changes, known):
    line = parsed(**{**changes, "image_view": number})
    with pytest.raises(DataError, match=f"image_view is {number}, not one of {known}"):
        line.view(counts_from_0)


def test_what_is_written():
    (row,) = thesis_format.rows(
        [
            record(
                "7_D02",
                3,
                format="Digital",
                view="CC",
                laterality="L",
                age=61.9,
                findings=("calcification", "nodule"),
            )
        ]
    )
    assert row == {
        "file_name": "patches/7_D02_3/7_D02_3_3.png",
        "patient_id": "7_D02",
        "image_view": 2,
        "Format": "Digital",
        "classification": "Benign",
        "age": 61,
        "density": 2,
        "zoom_group": 1,
        "suspicious": 1,
        "calcification": 1,
        "nodule": 1,
    }
    assert list(row) == list(ROW)
    assert all(type(value) in (int, str) for value in row.values())


def test_microcalcifications_are_in_a_column_that_the_thesis_leaves_out():
    (row,) = thesis_format.rows([record(findings=("microcalcification",))])
    assert row["calcification"] == 0


def test_what_is_missing_takes_the_means_of_the_thesis():
    healthy = {"classification": "Normal"}
    records = [
        record("1_F01", 1, age=40.0, density=1),
        record("1_F01", 2, age=40.0, density=1),
        record("2_F01", 3, age=51.0, density=4),
        record("3_F01", 4, age=None, density=None),
        record("4_F01", 5, age=None, density=2, **healthy),
        record("5_F01", 6, age=90.0, density=None, **healthy),
    ]
    rows = thesis_format.rows(records)
    of_lesions = int((40 + 40 + 51) / 3)  # 43, of 43.67; healthy patches do not count
    of_healthy = int((40 + 40 + 51 + of_lesions) / 4)  # after cutting, of 43.5
    assert [row["age"] for row in rows] == [40, 40, 51, of_lesions, of_healthy, 90]
    assert [row["density"] for row in rows] == [1, 1, 4, int((1 + 1 + 4 + 2) / 4), 2, 2]


def test_what_nobody_knows_is_null():
    rows = thesis_format.rows([record(age=None), record(number=2, classification="Normal")])
    assert [row["age"] for row in rows] == [None, 61]
    (row,) = thesis_format.rows([record("1_MIAS", age=None, density=None)])
    assert (row["age"], row["density"]) == (None, None)
    assert thesis_format.parse(json.dumps(row)).age is None


@hypothesis.settings(deadline=None)
@hypothesis.given(
    st.lists(
        st.builds(
            record,
            patient=st.integers(1, 99).map("{}_F01".format),
            number=st.integers(1, 9),
            classification=st.sampled_from(["Normal", "Benign", "Malign"]),
            format=st.sampled_from(["Film", "Digital"]),
            view=st.sampled_from(["CC", "MLO"]),
            laterality=st.sampled_from(["L", "R"]),
            age=st.none() | st.integers(20, 90).map(float),
            density=st.none() | st.integers(1, 4),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_lines_say_what_records_did(records):
    for before, row in zip(records, thesis_format.rows(records), strict=True):
        line = thesis_format.parse(json.dumps(row))
        for field in ("file_name", "patient_id", "format", "classification", "zoom_group"):
            assert getattr(line, field) == getattr(before, field)
        assert line.view(counts_from_0=False) == (before.laterality, before.view)
        assert before.age in (None, line.age)
        assert before.density in (None, line.density)
