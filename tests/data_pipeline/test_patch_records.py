"""Metadata: what each field says, files that come back as written, imputation without a leak."""

import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from make_record import record

from data_pipeline import patch_records
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Lesion, Mammogram
from data_pipeline.patch_records import METADATA, PatchRecord, impute, read_metadata, write_tables
from singan_jax.images.read import Image


def test_a_line_has_the_fields_of_the_thesis_and_what_they_lacked():
    row = record("7_D02", 3, format="Digital", classification="Malign", zoom_group=2).to_json()
    assert row == {
        "file_name": "patches/7_D02_3/7_D02_3_3.png",
        "patient_id": "7_D02",
        "image_view": "RO",
        "Format": "Digital",
        "classification": "Malign",
        "age": 61.5,
        "density": 2,
        "zoom_group": 2,
        "suspicious": True,
        "calcification": True,
        "nodule": False,
        # Beyond the thesis.
        "patch_id": "7_D02_3_3",
        "image_id": "7_D02_3",
        "dataset": "F01",
        "source": "raw/7_D02_3.tif",
        "laterality": "R",
        "view": "MLO",
        "lesion_id": "1",
        "findings": ["microcalcification"],
        "box": [3, 4, 50, 60],
        "synthetic": True,
        "pixels_sha256": "ab" * 32,
        "age_imputed": False,
        "density_imputed": False,
    }


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"laterality": "L"}, "image_view", "LO"),
        ({"laterality": "L", "view": "CC"}, "image_view", "LCC"),
        ({"view": "CC"}, "image_view", "RCC"),
        ({"findings": ("nodule", "stroma_distortion")}, "nodule", True),
        ({"findings": ("nodule", "stroma_distortion")}, "calcification", False),
        ({"findings": ("calcification",)}, "calcification", True),
        ({"classification": "Normal"}, "suspicious", False),
        ({"classification": "Normal"}, "lesion_id", None),
    ],
)
def test_fields_that_follow_from_others(changes, name, value):
    assert record(**changes).to_json()[name] == value


def test_records_come_back_from_a_file_as_written(tmp_path):
    records = (
        record("1_F01", age=None, density=None),
        record("2_F01", findings=(), lesion_id="1.b"),
        record("é_F01", classification="Normal", format="Digital", view="CC", laterality="L"),
    )
    patch_records.write_lines(tmp_path / METADATA, (r.to_json() for r in records))
    assert read_metadata(tmp_path) == records
    assert [path.name for path in tmp_path.iterdir()] == [METADATA]
    assert '"age": null' in (tmp_path / METADATA).read_text()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda row: row.pop("box"), "lacks box"),
        (lambda row: row.pop("Format"), "lacks Format"),
        (lambda row: row.pop("suspicious"), "suspicious: unknown, or at odds"),
        (lambda row: row.update(image_view="LCC"), "image_view: unknown, or at odds"),
        (lambda row: row.update(colour="red"), "colour: unknown, or at odds"),
        (lambda row: row.update(classification="Bad"), "'Bad' is none of the three"),
        (lambda row: row.update(box=[1, 2, 3]), "bottom"),
        (lambda row: row.update(box=None), "NoneType"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, damage, problem):
    row = record().to_json()
    damage(row)
    path = tmp_path / METADATA
    path.write_text(json.dumps(record().to_json()) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError) as caught:
        read_metadata(tmp_path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert problem in str(caught.value)
    assert str(caught.value).endswith("; build the folder again")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"metadata.jsonl: cannot be read .*; name a folder"):
        read_metadata(tmp_path)
    (tmp_path / METADATA).write_text('{"patch_id": "1_F01')
    with pytest.raises(DataError, match=r"metadata.jsonl:1: Unterminated string.*; build"):
        read_metadata(tmp_path)
    (tmp_path / METADATA).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"metadata.jsonl: cannot be read"):
        read_metadata(tmp_path)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        patch_records.write_lines(tmp_path / METADATA, [record(age=float("nan")).to_json()])
    assert list(tmp_path.iterdir()) == []


def test_digest_is_that_of_the_image_trained_on():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    expected = Image("a", "a.png", pixels[..., None]).digest
    assert patch_records.pixels_digest(pixels) == expected
    assert patch_records.pixels_digest(np.asfortranarray(pixels)) == expected
    assert patch_records.pixels_digest(pixels.reshape(7, 5)) != expected


def mammogram(image_id, **changes):
    values = {
        "image_id": image_id,
        "dataset": "F01",
        "patient_id": "1_F01",
        "file": None,
        "source": f"raw/{image_id}.tif",
        "view": "CC",
        "laterality": "L",
        "format": "Film",
        "age": None,
        "density": 3,
        "lesions": (),
        "may_give_healthy": True,
    }
    return Mammogram(**values | changes)


def test_tables(tmp_path):
    lesions = (Lesion("1", "Benign"), Lesion("2", "Malign"))
    mammograms = [
        mammogram("a", lesions=lesions, age=50.0),
        mammogram("b", synthetic=True, density=None),
        mammogram("c"),
    ]
    records = [
        record(number=1, image_id="a", classification="Malign", findings=("calcification", "x")),
        record(number=2, image_id="a", density=None, lesion_id="2"),
        record(number=3, image_id="a", classification="Normal", age=None),
        record(number=4, image_id="b", classification="Normal"),
        record(number=5, image_id="b", classification="Normal"),
    ]
    write_tables(tmp_path, mammograms, records)
    names = ("lesions.csv", "healthy_patches.csv", "mammograms.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    lesion_table, healthy, images = (pd.read_csv(tmp_path / name, dtype=str) for name in names)
    assert list(lesion_table.patch_id) == ["a_1", "a_2"]
    assert list(healthy.patch_id) == ["a_3", "b_4", "b_5"]
    assert list(lesion_table.findings) == ["calcification x", "microcalcification"]
    assert list(lesion_table.loc[0, ["left", "top", "right", "bottom"]]) == ["3", "4", "50", "60"]
    assert list(lesion_table.density.fillna("missing")) == ["2", "missing"]
    assert list(healthy.age.fillna("missing")) == ["missing", "61.5", "61.5"]
    assert list(healthy.lesion_id.isna()) == [True] * 3
    assert list(healthy.columns) == list(lesion_table.columns)
    columns = {*record().to_json()} - {"box"} | {"left", "top", "right", "bottom"}
    assert {*healthy.columns} == columns
    assert images.fillna("").to_dict("list") == {
        "image_id": ["a", "b", "c"],
        "patient_id": ["1_F01"] * 3,
        "dataset": ["F01"] * 3,
        "source": ["raw/a.tif", "raw/b.tif", "raw/c.tif"],
        "image_view": ["LCC"] * 3,
        "Format": ["Film"] * 3,
        "age": ["50", "", ""],
        "density": ["3", "", "3"],
        "synthetic": ["False", "True", "False"],
        "lesions": ["2", "0", "0"],
        "lesion_patches": ["2", "0", "0"],
        "healthy_patches": ["1", "2", "0"],
    }


def test_imputation_is_the_mean_over_patients_not_over_patches():
    records = [
        # Patient 1: mean of two mammograms, 45 years and density 2; the first has three patches.
        record("1", 1, image_id="1a", age=40.0, density=1),
        record("1", 2, image_id="1a", age=40.0, density=1),
        record("1", 3, image_id="1a", age=40.0, density=1),
        record("1", 4, image_id="1b", age=50.0, density=3),
        record("2", 5, age=75.0, density=None),
        record("3", 6, age=None, density=4),
    ]
    filled = impute(records, None)
    assert [(r.age, r.age_imputed) for r in filled[4:]] == [(75.0, False), ((45 + 75) / 2, True)]
    assert [(r.density, r.density_imputed) for r in filled[4:]] == [((2 + 4) / 2, True), (4, False)]
    assert filled[:4] == tuple(records[:4])


ages = st.none() | st.floats(20, 90)
densities = st.none() | st.integers(1, 4)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 9), ages, densities), min_size=1), st.data())
def test_values_of_other_patients_never_reach_the_imputed_ones(rows, data):
    patients = sorted({str(patient) for patient, _, _ in rows})
    train = data.draw(st.sets(st.sampled_from(patients), min_size=1))

    def imputed(change):
        return impute(
            [
                record(
                    str(patient),
                    number,
                    age=age + change if age is not None and str(patient) not in train else age,
                    density=density,
                )
                for number, (patient, age, density) in enumerate(rows)
            ],
            train,
        )

    first, second = imputed(0.0), imputed(1000.0)
    assert [r.age for r in first if r.age_imputed] == [r.age for r in second if r.age_imputed]
    known = {}
    for patient, age, _ in rows:
        if age is not None and str(patient) in train:
            known.setdefault(patient, []).append(age)
    for (_, age, density), filled in zip(rows, first, strict=True):
        assert filled.age_imputed == (age is None and bool(known))
        if filled.age_imputed:
            expected = np.mean([np.mean(values) for values in known.values()])
            np.testing.assert_allclose(filled.age, expected, rtol=1e-12)
        else:
            assert filled.age == age
        assert filled.density_imputed == (density is None and filled.density is not None)


def test_what_no_training_patient_has_stays_missing():
    records = [record("1", age=None, density=2), record("2", age=50.0, density=None)]
    first, second = impute(records, ["1"])
    assert (first.age, first.age_imputed) == (None, False)
    assert (second.age, second.density, second.density_imputed) == (50.0, 2.0, True)


def test_imputation_refuses_what_would_hide_a_leak():
    with pytest.raises(DataError, match="no patch is of a training patient; make the splits"):
        impute([record("1"), record("2")], ["3"])
    with pytest.raises(ValueError, match="imputed before"):
        impute(impute([record("1", age=None), record("2")], ["2"]), ["1"])
    assert impute([], ["3"]) == ()


def test_imputation_of_a_record_is_part_of_its_line():
    (filled, _) = impute([record("1", density=None), record("2", density=3)], None)
    row = filled.to_json()
    assert (row["density"], row["density_imputed"], row["age_imputed"]) == (3.0, True, False)
    assert PatchRecord.from_json(row) == filled
