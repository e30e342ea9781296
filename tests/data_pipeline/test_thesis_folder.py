"""A folder that the thesis' scripts made: read, packed, written; bad lines and images in it."""

import json
import os

import numpy as np
import PIL.Image
import pytest
import tiny_bcdr

from data_pipeline import (
    bcdr_patches,
    builders,
    load,
    patch_records,
    query,
    thesis_folder,
    thesis_patches,
)
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Skip
from data_pipeline.patches import PatchSettings
from data_pipeline.resizing import resize, resize_as_opencv

SIDE = 20


def pixels_of(number, side=SIDE):
    return np.random.default_rng(number).integers(0, 256, (side, side), np.uint8)


def line(number, patient="1_F01", kind="Benign", **changes):
    healthy = kind == "Normal"
    row = {
        "file_name": f"{number}.png",
        "patient_id": patient,
        "image_view": 1,
        "Format": "Film",
        "classification": kind if healthy else f" {kind} ",
        "age": 50,
        "density": 2,
        "zoom_group": 0 if healthy else 1,
        "suspicious": int(not healthy),
        "calcification": 0,
        "nodule": int(not healthy),
    }
    return {**row, **changes}


LINES = (
    line(0),
    line(1, "2_F01", "Malign", image_view=4, zoom_group=3, calcification=1),
    line(2, "2_F01", "Normal", image_view=2, age=None),
    line(3, "3_D02", "Malign", Format="Digital", density=None),
    line(4, "3_DN01", "Normal", Format="Digital", image_view=0),
    line(5, "3_DN01", "Normal", Format="Digital", image_view=3),
)


@pytest.fixture
def make(tmp_path):
    """Writes a folder: a line, as a dictionary or as text, each, and the images of the former."""

    def make(lines=LINES, name="metadata.jsonl"):
        root = tmp_path / "raw"
        root.mkdir(exist_ok=True)
        texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
        (root / name).write_text("".join(f"{text}\n" for text in texts))
        for number, row in enumerate(lines):
            if isinstance(row, dict):
                file = root / row["file_name"]
                file.parent.mkdir(exist_ok=True)
                PIL.Image.fromarray(pixels_of(number)).save(file, format="PNG")
        return root

    return make


def run(root, out, size=None, workers=1, allow_duplicates=False, **settings):
    chosen = PatchSettings(size=size, **settings)
    how = {"workers": workers, "progress": False, "allow_duplicates": allow_duplicates}
    return thesis_folder.extract(root, out, chosen, **how)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def skips(root):
    return [(skip.where, skip.reason) for skip in thesis_folder.read(root)[1]]


def test_records_say_what_lines_did(make, tmp_path):
    result = run(make(), tmp_path / "out")
    assert result.skips == ()
    assert [record.patch_id for record in result.records] == ["0", "1", "2", "3", "4", "5"]
    assert result.records[1] == patch_records.PatchRecord(
        patch_id="1",
        file_name="patches/2_F01/1.png",
        patient_id="2_F01",
        image_id="1",
        dataset="F01",
        source="1.png",
        view="MLO",
        laterality="L",
        format="Film",
        classification="Malign",
        lesion_id="1",
        findings=("calcification", "nodule"),
        zoom_group=3,
        box=Box(0, 0, SIDE, SIDE),
        age=50.0,
        density=2,
        synthetic=False,
        pixels_sha256=patch_records.pixels_digest(pixels_of(1)),
    )
    healthy = result.records[2]
    assert (healthy.classification, healthy.zoom_group, healthy.lesion_id) == ("Normal", 0, None)
    assert (healthy.age, healthy.findings) == (None, ())
    assert [r.dataset for r in result.records] == ["F01", "F01", "F01", "D02", "DN01", "DN01"]
    # The scripts count the views of healthy digital patches from 0, all others from 1.
    views = [patch_records.image_view(r.laterality, r.view) for r in result.records]
    assert views == ["RCC", "LO", "LCC", "RCC", "RCC", "LO"]
    assert patch_records.read_metadata(tmp_path / "out") == result.records
    names = {path.name for path in (tmp_path / "out").iterdir()} - {".lock"}
    assert names == {
        *("patches", "metadata.jsonl", "skipped.jsonl", "extraction.json"),
        *("lesions.csv", "healthy_patches.csv"),
    }


def test_pixels_stay_as_they_are_or_are_resized_by_the_rules(make, tmp_path):
    root = make()
    for size in (None, SIDE):
        for record in run(root, tmp_path / f"out{size}", size).records:
            with PIL.Image.open(tmp_path / f"out{size}" / record.file_name) as png:
                assert png.mode == "L"
                np.testing.assert_array_equal(np.array(png), pixels_of(int(record.patch_id)))
    for rules, resized in (("clean", resize), ("thesis", resize_as_opencv)):
        for record in run(root, tmp_path / rules, 8, rules=rules).records:
            with PIL.Image.open(tmp_path / rules / record.file_name) as png:
                wanted = resized(pixels_of(int(record.patch_id)), 8, 8)
                np.testing.assert_array_equal(np.array(png), wanted)
            assert record.box == Box(0, 0, 8, 8)


def test_the_same_again_changes_nothing_and_workers_do_not_either(make, tmp_path):
    root = make()
    first = run(root, tmp_path / "out")
    before = tree(tmp_path / "out")
    again = run(root, tmp_path / "out")
    assert (again.records, again.reused) == (first.records, 4)
    assert tree(tmp_path / "out") == before
    run(root, tmp_path / "two", workers=2)
    other = tree(tmp_path / "two")
    assert other.keys() == before.keys()
    assert {n: c for n, c in other.items() if n != "extraction.json"} == {
        n: c for n, c in before.items() if n != "extraction.json"
    }


def test_an_image_that_changed_is_taken_again_and_other_lines_are_refused(make, tmp_path):
    root = make()
    run(root, tmp_path / "out")
    PIL.Image.fromarray(pixels_of(99)).save(root / "3.png")
    result = run(root, tmp_path / "out")
    assert result.reused == 3
    assert result.records[3].pixels_sha256 == patch_records.pixels_digest(pixels_of(99))
    make((*LINES[:5], line(5, "3_DN01", "Normal", Format="Digital", image_view=2)))
    with pytest.raises(DataError, match="holds patches of another source, or images or annot"):
        run(root, tmp_path / "out")
    with pytest.raises(DataError, match=r"has other settings \(size None there, 8 here"):
        run(root, tmp_path / "out", 8)


def test_views_count_from_1_where_no_healthy_digital_patch_has_0(make):
    root = make((*LINES[:4], LINES[5]))
    patch = thesis_folder.read(root)[0][-1]
    assert patch.line.view(patch.counts_from_0) == ("R", "MLO")


def test_a_bad_line_is_named_with_file_and_number_and_the_rest_goes_on(make, tmp_path):
    lines = (
        *LINES[:2],
        '{"file_name": "7.png", "patient',
        line(3, "3_D02", "Malign", nodule="yes"),
        "",
        *LINES[4:],
        line(7, suspicious=0),
    )
    root = make(lines)
    assert skips(root) == [
        ("line 3", "is no JSON (Unterminated string starting at: line 1 column 24 (char 23))"),
        ("line 4", "nodule is 'yes', not a whole number from 0 to 1"),
        ("line 8", "it contradicts itself: Benign, zoom_group 1, suspicious 0"),
    ]
    result = run(root, tmp_path / "out")
    assert {skip.source for skip in result.skips} == {"metadata.jsonl"}
    assert [record.patch_id for record in result.records] == ["0", "1", "4", "5"]
    written = (tmp_path / "out/skipped.jsonl").read_text().splitlines()
    assert [Skip(**json.loads(text)) for text in written] == list(result.skips)


def test_what_is_no_utf8_is_one_line(make):
    root = make()
    data = (root / "metadata.jsonl").read_bytes().split(b"\n")
    data[1] = b"\xff" + data[1]
    (root / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(data))
    assert skips(root) == [("line 2", "is no UTF-8")]


def test_missing_and_bad_images_are_named_by_their_line(make, tmp_path):
    root = make()
    (root / "0.png").unlink()
    (root / "1.png").write_bytes((root / "1.png").read_bytes()[:100])
    PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / "3.png")
    (root / "4.png").write_text("not an image")
    result = run(root, tmp_path / "out")
    told = {skip.where: skip.reason for skip in result.skips}
    assert told.keys() == {"line 1", "line 2", "line 4", "line 5"}
    assert told["line 1"] == "0.png is missing; restore it"
    assert told["line 2"].startswith("1.png cannot be read as PNG, or is damaged (")
    assert told["line 4"] == "3.png has mode RGB; convert it to 8-bit grayscale PNG"
    assert told["line 5"].startswith("4.png cannot be read as PNG, or is damaged (")
    assert all("\n" not in reason and str(root) not in reason for reason in told.values())
    assert [record.patch_id for record in result.records] == ["2", "5"]
    make()
    assert [record.patch_id for record in run(root, tmp_path / "mended").records] == [*"012345"]


@pytest.mark.parametrize("name", ["../0.png", "/etc/hostname", "../../raw2/0.png"])
def test_files_elsewhere_are_not_read(make, name):
    root = make(LINES[1:])
    with (root / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(line(0, file_name=name)) + "\n")
    ((where, reason),) = skips(root)
    assert where == "line 6"
    assert "leads out of its source" in reason


@pytest.mark.parametrize("name", [".png", "a b.png", "é.png", "-.png"])
def test_names_that_cannot_be_are_refused(make, name):
    ((where, reason),) = skips(make((*LINES, line(0, file_name=name))))
    assert where == "line 7"
    assert reason.startswith(f"file_name is {name!r}; rename it")


def test_what_is_there_again_is_used_once(make):
    lines = (*LINES, line(0, "9_F01"), line(7), line(8, "8_F02"), line(9, zoom_group=2))
    root = make(lines)
    for name in ("0", "7", "8", "9"):  # 0 of line 7 overwrote that of line 1
        PIL.Image.fromarray(pixels_of(0)).save(root / f"{name}.png")
    assert skips(root) == [
        ("line 7", "an image named 0 again; line 1 is used"),
        ("line 8", "7 is the same image as 0 of patient 1_F01 (line 1), which is used"),
        ("line 9", "8 is the same image as 0 of patient 1_F01 (line 1), which is used"),
    ]  # at another zoom, a lesion as large as its image shows the same


def test_an_image_of_two_patients_is_refused(make, tmp_path):
    root = make((*LINES, line(7, "8_F02")))
    PIL.Image.fromarray(pixels_of(0)).save(root / "6.png")
    (root / "6.png").rename(root / "7.png")
    wanted = "0.png of patient 1_F01 and 7.png of patient 8_F02 are the same patch: a leak where"
    with pytest.raises(DataError, match=wanted):
        run(root, tmp_path / "out")
    result = run(root, tmp_path / "out", allow_duplicates=True)
    assert len(result.duplicates) == 1  # of equal files the first is used
    assert [skip.where for skip in result.skips] == ["line 7"]
    # The same pixels in another file: both are used where that is allowed.
    PIL.Image.fromarray(pixels_of(0)).save(root / "7.png", compress_level=0)
    with pytest.raises(DataError, match=wanted):
        run(root, tmp_path / "other")
    result = run(root, tmp_path / "other", allow_duplicates=True)
    (pair,) = result.duplicates
    assert (pair.kind, pair.first.name, pair.second.name) == ("equal patches", "0", "7")
    assert {"0", "7"} <= {record.patch_id for record in result.records}


def test_an_image_of_one_patient_that_is_there_again_is_listed(make, tmp_path):
    root = make((*LINES, line(7)))
    PIL.Image.fromarray(pixels_of(0)).save(root / "7.png")
    (pair,) = run(root, tmp_path / "out").duplicates
    assert not pair.is_leak


def test_folders_that_cannot_be_used(make, tmp_path):
    with pytest.raises(DataError, match=r"none: has no metadata\.jsonl; give the folder that"):
        thesis_folder.read(tmp_path / "none")
    with pytest.raises(DataError, match=r"nothing in it can be used; .*: metadata\.jsonl is empty"):
        thesis_folder.read(make(()))
    with pytest.raises(
        DataError, match=r"raw: nothing in it can be used; first fault: metadata\.jsonl line 2 lac"
    ):
        thesis_folder.read(make(("", "{}", line(1, age=0))))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_metadata_that_may_not_be_read(make):
    root = make()
    (root / "metadata.jsonl").chmod(0)
    with pytest.raises(DataError, match=r"metadata\.jsonl: cannot be read \(Permission denied"):
        thesis_folder.read(root)


def test_thesis_metadata_go_before_other_metadata(make):
    root = make(("{}",))
    make(name="thesis_metadata.jsonl")
    patches, left_out = thesis_folder.read(root)
    assert (len(patches), left_out) == (6, ())
    assert patches[0].where == ("thesis_metadata.jsonl", "line 1")


def test_where_metadata_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"thesis_metadata\.jsonl: cannot be written \(No such fi"):
        thesis_folder.write(tmp_path / "none", [])


@pytest.fixture(scope="module")
def phantom_data(tmp_path_factory):
    """A phantom's dataset with its metadata in the thesis' format, and one made from these."""
    raw = tiny_bcdr.write(tmp_path_factory.mktemp("raw") / "bcdr")
    data_dir = tmp_path_factory.mktemp("data")
    options = {"workers": 1, "progress": False}
    result = builders.prepare(bcdr_patches.Builder, raw, data_dir, 16, rules="thesis", **options)
    folder = builders.extracted_folder(data_dir, "bcdr_patches", 16)
    thesis_folder.write(folder, result.records)
    builders.prepare(thesis_patches.Builder, folder, data_dir, 16, **options)
    return data_dir


def test_a_dataset_comes_back_from_the_format(phantom_data):
    """The same patches with the same pixels, and records in all that the format can say."""
    before, after = (
        load.load(phantom_data, query.parse(f"{name}/all_16:all"))
        for name in ("bcdr_patches", "thesis_patches")
    )
    same = ("patch_id", "patient_id", "dataset", "view", "laterality", "format", "classification")
    same += ("zoom_group", "synthetic", "pixels_sha256")
    assert len(after) == len(before) > 100
    for (old, old_pixels), (new, new_pixels) in zip(before, after, strict=True):
        np.testing.assert_array_equal(old_pixels, new_pixels)
        for field in same:
            assert getattr(old, field) == getattr(new, field)
        assert new.source == old.file_name
        assert old.age in (None, new.age)
        assert old.density in (None, new.density)
        assert new.age is not None
        assert new.density is not None
        assert set(new.findings) == set(old.findings) & {"nodule", "calcification"}
    assert {record.synthetic for record, _ in after} == {True}


def test_queries_and_splits_of_the_dataset(phantom_data):
    found = load.load(
        phantom_data, query.parse("thesis_patches/g1_16:train[classification=Malign]")
    )
    assert found
    assert {record.zoom_group for record, _ in found} == {1}
    tested = [
        {r.patient_id for r, _ in load.load(phantom_data, query.parse(f"{name}/g1_16:test"))}
        for name in ("bcdr_patches", "thesis_patches")
    ]
    assert tested[0] == tested[1]
