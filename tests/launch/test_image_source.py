"""The images that a fleet was trained on, found again: files, and patches of datasets."""

import json
import pathlib
import types

import numpy as np
import pytest
from make_record import record

import singan_jax
from classify.plan import synthetic
from data_pipeline import load, query
from data_pipeline.errors import DataError
from launch import cli
from launch.image_source import Source, training_images
from singan_jax.images.read import write_png
from singan_jax.workdir.enroll import enroll

CONFIG = singan_jax.Config(min_size=12, max_size=18)
QUERY = "bcdr_patches/g1:train[classification=Malign,view=MLO]"
RECORDS = [
    record("1_F01", 1, classification="Malign", zoom_group=1, patch_id="a_lesion_z1"),
    record("2_F01", 2, classification="Malign", zoom_group=1, patch_id="b_lesion_z1"),
    record("3_F01", 3, classification="Benign", zoom_group=1, patch_id="c_lesion_z1"),
]


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder that takes the place of a prepared dataset of `RECORDS`."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = {r.patch_id: rng.integers(0, 256, (20, 22, 1), np.uint8) for r in RECORDS}

    def loaded(place, wanted):
        assert place == folder
        return [(r, pixels[r.patch_id]) for r in query.select(RECORDS, wanted)]

    monkeypatch.setattr(load, "load", loaded)
    return types.SimpleNamespace(folder=folder, pixels=pixels)


def enrolled(folder, images):
    folder.mkdir()
    enroll(folder, images, CONFIG)
    return singan_jax.load_fleet(folder)


def forget(fleet):
    """The same fleet, as one that does not know where its dataset was."""
    path = fleet.folder / "fleet.json"
    content = json.loads(path.read_text())
    for member in content["members"]:
        member["provenance"].pop("data_dir", None)
    path.write_text(json.dumps(content))
    return singan_jax.load_fleet(fleet.folder)


def test_patches_are_found_again_without_being_named(data_dir, tmp_path):
    images = Source([QUERY], CONFIG, str(data_dir.folder)).read()[0]
    assert [image.name for image in images] == ["a_lesion_z1", "b_lesion_z1"]
    write_png(tmp_path / "file.png", data_dir.pixels["c_lesion_z1"][:, ::-1])
    images += singan_jax.read_images([str(tmp_path / "file.png")], CONFIG)[0]
    fleet = enrolled(tmp_path / "fleet", images)
    assert fleet.members[0].provenance["data_dir"] == str(data_dir.folder)
    for known, given in ((fleet, None), (forget(fleet), str(data_dir.folder))):
        found = training_images(known, known.members, data_dir=given)
        assert list(found) == ["a_lesion_z1", "b_lesion_z1", "file"]
        for name in ("a_lesion_z1", "b_lesion_z1"):
            np.testing.assert_array_equal(found[name].pixels, data_dir.pixels[name])


def test_a_relative_folder_of_datasets_is_kept_absolute(data_dir, monkeypatch):
    monkeypatch.chdir(data_dir.folder.parent)
    (image, _) = Source([QUERY], CONFIG, "data").read()[0]
    assert image.provenance["data_dir"] == str(data_dir.folder)


def test_nothing_else_of_a_patch_is_recorded_anew():
    image = synthetic.to_image(RECORDS[0], np.zeros((20, 22, 1), np.uint8), "x", "/data")
    before = synthetic.to_image(RECORDS[0], np.zeros((20, 22, 1), np.uint8), "x")
    assert image.provenance == {**before.provenance, "data_dir": "/data"}
    assert set(before.provenance) == {
        *("patient", "classification", "zoom_group", "mammogram", "synthetic")
    }


def test_what_to_name_where_patches_are_not_found(data_dir, tmp_path):
    images = Source([QUERY], CONFIG, str(data_dir.folder)).read()[0]
    fleet = enrolled(tmp_path / "fleet", images)
    data_dir.pixels["b_lesion_z1"] = data_dir.pixels["b_lesion_z1"][::-1].copy()
    wanted = "b_lesion_z1: the image .* name it by `images`=bcdr_patches/g1:train and its dataset"
    with pytest.raises(singan_jax.InputError, match=wanted + " by `data_dir`$"):
        training_images(fleet, fleet.members)
    data_dir.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(singan_jax.InputError, match=r"was in .*data in training.* by `data_dir`$"):
        training_images(fleet, fleet.members)
    fleet = forget(fleet)
    with pytest.raises(DataError, match=r"^bcdr_patches/g1:train: needs `data_dir`, the folder of"):
        training_images(fleet, fleet.members)


def test_many_patches_are_one_query(data_dir, monkeypatch):
    asked = []
    loaded = load.load
    monkeypatch.setattr(load, "load", lambda *given: asked.append(given[1]) or loaded(*given))
    sources = [f"bcdr_patches/g1:train/{r.patch_id}" for r in RECORDS]
    images = Source(sources, CONFIG, str(data_dir.folder)).read()[0]
    assert [image.source for image in images] == sources
    (one,) = asked
    assert one.conditions == (("patch_id", tuple(r.patch_id for r in RECORDS)),)


def test_a_file_that_looks_like_a_query_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("a").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 22, 3), np.uint8)
    write_png("a/b:c.png", pixels)
    ((image,), errors) = Source(["a/b:c.png"], CONFIG).read()
    assert errors == []
    np.testing.assert_array_equal(image.pixels, pixels)


def test_files_of_one_stem_train_under_names_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("a/photo.png", "b/photo.png", "scan.png", "scan.bmp")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        write_png(path, rng.integers(0, 256, (20, 22, 3), np.uint8))  # endings decide nothing
    images, errors = Source([str(path) for path in paths], CONFIG).read()
    assert errors == []
    assert [image.name for image in images] == ["a_photo", "b_photo", "scan.png", "scan.bmp"]


def test_one_picture_under_three_names_is_one_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 22, 3), np.uint8)
    for name in ("a", "b", "c"):
        write_png(tmp_path / f"{name}.png", pixels)
    (tmp_path / "notes.txt").write_text("of no picture")
    with cli._warnings_in_lines():
        images, errors = Source([str(tmp_path)], CONFIG).read()
    assert ([image.name for image in images], errors) == (["a", "b", "c"], [])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "skipped: 1 file of other kinds (1 .txt)"
    assert (
        f"{tmp_path}/b.png (and 1 more like it): the same picture as {tmp_path}/a.png" in lines[1]
    )
