"""BCDR's features tables: which numbers come with which lesion, and where they end up."""

import csv
import shutil

import pandas as pd
import pytest
import tiny_bcdr
from make_record import record

from data_pipeline import bcdr, radiomics
from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.mammograms import Lesion, Mammogram
from data_pipeline.patch_records import write_tables

KEYS = ("patient_id", "study_id", "series", "lesion_id", "segmentation_id", "image_view")


@pytest.fixture
def read(tmp_path):
    """Reads a features table beside outlines of lesion 7, segmented as 9 and 10."""

    def read(lines, columns=(*KEYS, "age", "i_mean", "s_area", "t_energ"), series=("series",)):
        def table(name, columns, lines):
            path = tmp_path / name
            path.write_text("\n".join([",".join(columns), *lines]) + "\n")
            return path

        keys = (*KEYS[:2], *series, *KEYS[3:])
        values = {**dict.fromkeys(KEYS, "1"), "lesion_id": "7", "image_view": "2"}
        rows = [[{**values, "segmentation_id": n}[key] for key in keys] for n in ("9", "10", "x")]
        outlines = tables.read(table("outlines.csv", keys, [",".join(row) for row in rows]), ())
        skips = []
        found = radiomics.read(
            table("features.csv", columns, lines),
            series,
            outlines,
            lambda row, reason: skips.append((row.line, reason)),
        )
        return found, skips

    return read


def test_numbers_come_by_patient_study_view_lesion_segmentation_and_series(read):
    found, skips = read(["1,1,1,7,10,2,51,.5,120,1e-2", "01,1,1,7,9,2,51, 0.25 , 80.5,-3"])
    assert skips == []
    assert found == {
        (1, 1, 2, 7, 10, 1): (("i_mean", 0.5), ("s_area", 120.0), ("t_energ", 0.01)),
        (1, 1, 2, 7, 9, 1): (("i_mean", 0.25), ("s_area", 80.5), ("t_energ", -3.0)),
    }


def test_a_set_without_series_or_some_of_the_columns(read):
    columns = [column for column in KEYS if column != "series"]
    found, skips = read(["1,1,7,9,2,4"], (*columns, "i_mean"), series=())
    assert (found, skips) == ({(1, 1, 2, 7, 9): (("i_mean", 4.0),)}, [])


def test_what_is_blank_is_missing_and_what_is_no_number_is_told(read):
    found, skips = read(["1,1,1,7,9,2,51, NaN,,x1"])
    assert found == {(1, 1, 2, 7, 9, 1): (("i_mean", None), ("s_area", None), ("t_energ", None))}
    assert skips == [(2, "t_energ is 'x1', not a number; the value is taken as missing")]


@pytest.mark.parametrize("text", ["inf", "1e999", "1,5", "0x10", "1_0", "--1", "nan(1)"])
def test_what_is_no_number(read, text):
    (_, ((_, reason),)) = read([f'1,1,1,7,9,2,51,"{text}",1,1'])
    assert reason.startswith(f"i_mean is {text!r}, not a number")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,1,1,7,9,2,51,1,1,1", "its lesion and segmentation again; their first row is used"),
        ("1,1,1,8,9,2,51,1,1,1", "no row of outlines has its patient, study, view, lesion and"),
        ("1,1,2,7,9,2,51,1,1,1", "no row of outlines has"),
        ("1,1,1,7,9,3,51,1,1,1", "no row of outlines has"),
        ("1,1,1,7,9,,51,1,1,1", "image_view is '', not a whole number"),
        ("1,1,1,7,9,2,51,1,1", "has 9 values, but there are 10 columns"),
    ],
)
def test_rows_that_are_left_out(read, line, reason):
    found, ((number, told),) = read(["1,1,1,7,9,2,51,5,6,7", line])
    assert list(found.values()) == [(("i_mean", 5.0), ("s_area", 6.0), ("t_energ", 7.0))]
    assert number == 3
    assert told.startswith(reason)


def test_a_table_without_its_keys_is_refused(read):
    with pytest.raises(DataError, match=r"features.csv has no column 'lesion_id'"):
        read(["1,1,1,7,9"], ("patient_id", "study_id", "series", "segmentation_id", "image_view"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tiny_bcdr.write(tmp_path_factory.mktemp("raw") / "bcdr")


def test_each_lesion_of_a_tree_has_the_numbers_of_the_segmentation_that_is_used(raw):
    lesions = {
        (m.dataset, m.file.name, lesion.lesion_id): dict(lesion.radiomics)
        for m in bcdr.read(raw).mammograms
        for lesion in m.lesions
    }
    wanted = {}
    for name in ("F01", "F02", "F03", "D01", "D02"):
        images = {}  # the features table does not name the image, the outlines do
        for row in tiny_bcdr.rows(raw, name, "outlines"):
            images[row["lesion_id"], row["segmentation_id"]] = row["image_filename"].split("/")[-1]
        for row in tiny_bcdr.rows(raw, name, "features"):
            image = images[row["lesion_id"], row["segmentation_id"]]
            key = name, image, row["lesion_id"]
            if key not in wanted or int(row["segmentation_id"]) < wanted[key][0]:
                numbers = {k: float(v) for k, v in row.items() if k[:2] in ("i_", "s_", "t_")}
                wanted[key] = int(row["segmentation_id"]), numbers
    assert lesions == {key: numbers for key, (_, numbers) in wanted.items()}
    assert {len(numbers) for numbers in lesions.values()} == {24, 28}  # F03 lacks four


def test_a_tree_without_features_or_with_a_damaged_table_gives_the_same_but_for_them(raw, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "raw")
    tiny_bcdr.table(copy, "F01", "features").unlink()
    tiny_bcdr.rewrite(tiny_bcdr.table(copy, "D01", "features"), "segmentation_id", "id")
    before, after = bcdr.read(raw), bcdr.read(copy)
    (skip,) = set(after.skips) - set(before.skips)
    assert (skip.source, skip.where) == ("BCDR-D01_dataset/bcdr_d01_features.csv", "")
    assert "no column 'segmentation_id'" in skip.reason
    assert skip.reason.endswith("the radiomics of D01 are left blank")
    for old, new in zip(before.mammograms, after.mammograms, strict=True):
        assert old.source == new.source
        for one, other in zip(old.lesions, new.lesions, strict=True):
            assert one.outline == other.outline
            assert other.radiomics == (() if old.dataset in ("F01", "D01") else one.radiomics)


def mammogram(image_id, lesions):
    return Mammogram(
        image_id, "F01", "1_F01", None, f"{image_id}.tif", "CC", "L", "Film", None, 3, lesions, True
    )


def test_radiomics_are_columns_of_lesions_only_and_blank_where_there_are_none(tmp_path):
    first = Lesion("1", "Benign", radiomics=(("i_mean", 0.1 + 0.2), ("s_area", 120.0)))
    second = Lesion("2", "Malign", radiomics=(("s_area", None), ("t_energ", 1e-9)))
    mammograms = [mammogram("a", (first, second)), mammogram("b", (Lesion("1", "Benign"),))]
    records = [
        record(number=0, image_id="a", classification="Normal"),
        record(number=1, image_id="a", lesion_id="1"),
        record(number=2, image_id="a", lesion_id="1", zoom_group=2),
        record(number=3, image_id="a", lesion_id="2"),
        record(number=4, image_id="b", lesion_id="1"),
    ]
    write_tables(tmp_path, mammograms, records)
    with (tmp_path / "lesions.csv").open() as file:
        rows = list(csv.DictReader(file))
    numbers = [(row["i_mean"], row["s_area"], row["t_energ"]) for row in rows]
    assert numbers == [
        ("0.30000000000000004", "120", ""),
        ("0.30000000000000004", "120", ""),
        ("", "", "1e-09"),
        ("", "", ""),
    ]
    assert not {"i_mean", "s_area", "t_energ"} & {*pd.read_csv(tmp_path / "healthy_patches.csv")}
    write_tables(tmp_path, [mammogram("b", ())], records[-1:])
    assert not any(c[:2] == "i_" for c in pd.read_csv(tmp_path / "lesions.csv"))
