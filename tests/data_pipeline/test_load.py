"""Loading the patches of a query from a prepared dataset."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest
import tiny_bcdr

from data_pipeline import bcdr_patches, builders, load, patch_records, query, splits
from data_pipeline.errors import DataError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    raw = tiny_bcdr.write(tmp_path_factory.mktemp("raw") / "bcdr")
    data_dir = tmp_path_factory.mktemp("data")
    for size in (8, None):
        builders.prepare(bcdr_patches.Builder, raw, data_dir, size, workers=1, progress=False)
    return data_dir


@pytest.fixture(scope="module")
def rows(data_dir):
    """The lines of metadata.jsonl."""
    path = data_dir / "extracted/bcdr_patches_8/metadata.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def loaded(data_dir, text):
    return load.load(data_dir, query.parse(text))


def refusal(data_dir, text):
    with pytest.raises(DataError) as caught:
        loaded(data_dir, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_patches_come_with_record_and_pixels(data_dir, rows):
    folder = data_dir / "extracted/bcdr_patches_8"
    found = loaded(data_dir, "bcdr_patches/all_8:all")
    by_id = sorted(patch_records.read_metadata(folder), key=lambda record: record.patch_id)
    assert [record for record, _ in found] == by_id
    assert len(found) == len(rows)
    for record, pixels in found:
        assert (pixels.shape, pixels.dtype) == ((8, 8, 1), np.uint8)
        assert patch_records.pixels_digest(pixels[..., 0]) == record.pixels_sha256
        with PIL.Image.open(folder / record.file_name) as png:
            np.testing.assert_array_equal(pixels[..., 0], np.array(png))


def test_native_patches_keep_their_sizes(data_dir):
    for record, pixels in loaded(data_dir, "bcdr_patches/g2_native:train"):
        assert pixels.shape == (record.box.height, record.box.width, 1)


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ("classification=Malign", lambda r: r["classification"] == "Malign"),
        (
            "classification=Benign|Malign,Format=Film",
            lambda r: r["classification"] != "Normal" and r["Format"] == "Film",
        ),
        ("suspicious=false,dataset=DN01", lambda r: r["dataset"] == "DN01"),
        ("density=none", lambda r: r["density"] is None),
        ("density=2|3", lambda r: r["density"] in (2, 3)),
        ("lesion_id=none", lambda r: r["lesion_id"] is None),
        ("findings=nodule", lambda r: "nodule" in r["findings"]),
        ("image_view=LO|RO", lambda r: r["view"] == "MLO"),
    ],
)
@pytest.mark.parametrize(("config", "zooms"), [("g1_8", (0, 1)), ("all_8", (0, 1, 2, 3))])
def test_conditions_select(data_dir, rows, conditions, holds, config, zooms):
    found = loaded(data_dir, f"bcdr_patches/{config}:all[{conditions}]")
    wanted = [r["patch_id"] for r in rows if r["zoom_group"] in zooms and holds(r)]
    assert wanted
    assert [record.patch_id for record, _ in found] == sorted(wanted)


def test_splits_are_parts_of_all(data_dir):
    train, test, both = (
        {record.patch_id for record, _ in loaded(data_dir, f"bcdr_patches/g3_8:{split}")}
        for split in ("train", "test", "all")
    )
    assert train
    assert test
    assert not train & test
    assert train | test == both


def test_the_splits_of_the_thesis(data_dir):
    records = patch_records.read_metadata(data_dir / "extracted/bcdr_patches_8")
    wanted = splits.paper_splits(records, builders.SPLIT_SEED)
    for config in ("g1_8", "all_8", "g2_native"):
        found = load.paper_splits(data_dir, "bcdr_patches", config)
        assert found == wanted
        test = {record.patient_id for record, _ in loaded(data_dir, f"bcdr_patches/{config}:test")}
        assert test == found.test
    assert len(wanted.folds) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "photos/g1_8:train",
            "no dataset 'photos'; there are bcdr_patches, mias_patches, thesis_patches",
        ),
        ("bcdr_patches/g7:train", "there is no config 'g7'"),
        ("bcdr_patches/g1_8:val", "has no split 'val'; there are test, train, all"),
        ("bcdr_patches/g1_8:train[colour=red]", "patches have no field 'colour'"),
        (
            "bcdr_patches/g1_8:train[Format=film]",
            "Format=film: no patch of bcdr_patches/g1_8:train",
        ),
        ("bcdr_patches/g1_8:all[zoom_group=2]", "there are 0, 1"),
    ],
)
def test_queries_that_fit_nothing(data_dir, text, problem):
    assert problem in refusal(data_dir, text)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("bcdr_patches/g1_64:train", "`source`=bcdr (or phantom) `data_dir`={} `patch_size`=64"),
        ("mias_patches/g2:test", "`source`=mias `data_dir`={} `patch_size`=224"),
        ("thesis_patches/g1:all", "`source`=thesis `data_dir`={} `patch_size`=224"),
        ("mias_patches/all_native:test", "`source`=mias `data_dir`={} `patch_size`=native"),
    ],
)
def test_what_is_not_prepared_names_the_command(data_dir, text, command):
    line = refusal(data_dir, text)
    assert f"{text.partition(':')[0]} is not prepared" in line
    assert f"`build_dataset` {command.format(data_dir)}" in line


def test_a_folder_that_does_not_exist(tmp_path):
    assert "is not prepared" in refusal(tmp_path / "none", "bcdr_patches/g1:train")
    assert not (tmp_path / "none").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:20_000])


def overwrite(path):
    data = path.read_bytes()
    path.write_bytes(data[:5_000] + bytes(3_000) + data[8_000:])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("bcdr_patches-train.array_record-00000-of-00001", cut),
        ("bcdr_patches-train.array_record-00000-of-00001", overwrite),
        ("bcdr_patches-train.array_record-00000-of-00001", lambda path: path.unlink()),
        ("dataset_info.json", lambda path: path.write_text("{")),
        ("dataset_info.json", lambda path: path.unlink()),
    ],
)
def test_damage_is_one_line(data_dir, tmp_path, name, damage):
    copy = shutil.copytree(data_dir / "bcdr_patches", tmp_path / "bcdr_patches")
    damage(copy / "g1_8/1.0.0" / name)
    line = refusal(tmp_path, "bcdr_patches/g1_8:train")
    assert f"{copy / 'g1_8/1.0.0'}: is damaged (" in line


def test_damaged_splits_are_one_line(data_dir, tmp_path):
    copy = shutil.copytree(data_dir / "bcdr_patches", tmp_path / "bcdr_patches")
    (copy / "g1_8/1.0.0/metadata.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged") as caught:
        load.paper_splits(tmp_path, "bcdr_patches", "g1_8")
    assert "\n" not in str(caught.value)
