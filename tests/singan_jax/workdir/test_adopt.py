"""Fleets go on where their files have other names now, or are read in another way."""

import dataclasses
import os
import re

import numpy as np
import pytest
import tiny

from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images import compose
from singan_jax.images.compose import Sweep
from singan_jax.images.read import Image, read_images, write_png
from singan_jax.workdir.adopt import as_trained
from singan_jax.workdir.enroll import enroll
from singan_jax.workdir.record import WorkdirError

CONFIG = Config()


def drawn(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (30, 41, channels)).astype(np.uint8)


def former_name(file):
    """The rule of names before scripts other than Latin's kept theirs."""
    stem = os.path.splitext(os.path.basename(file))[0]
    return re.sub(r"^\.|[^A-Za-z0-9._-]", "_", stem)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in", "fleet", "new"):
        (tmp_path / name).mkdir()
    return tmp_path / "fleet"


def former(files):
    """Images as they were read and named before: gray that is stored as colour stayed colour."""
    images, errors = read_images(files, CONFIG)
    assert not errors
    return [
        dataclasses.replace(
            image if image.shape[2] == 3 else image.in_colour(), name=former_name(image.source)
        )
        for image in images
    ]


FILES = ("two words é.png", "scan.v1.png", ".photo+1.png", "乳房.png", "plain.png")


def test_a_fleet_of_former_names_goes_on(folder):
    files = [f"in/{name}" for name in FILES]
    for seed, file in enumerate(files):
        write_png(file, drawn(seed))
    old = enroll(folder, former(files), CONFIG)
    assert [m.name for m in old.members] == ["two_words__", "scan.v1", "_photo_1", "__", "plain"]
    images, _ = read_images(files, CONFIG)
    assert [image.name for image in images] != [m.name for m in old.members]
    content = (folder / "fleet.json").read_bytes()
    again = enroll(folder, images, CONFIG)
    assert again == old
    assert (folder / "fleet.json").read_bytes() == content
    found = as_trained(images, old.members)
    assert [image.name for image in found] == [m.name for m in old.members]


def test_a_fleet_of_gray_stored_as_colour_goes_on_in_colour(folder):
    write_png("in/a.png", drawn(0, 1).repeat(3, axis=2))
    write_png("in/b.png", drawn(1))
    files = ["in/a.png", "in/b.png"]
    old = enroll(folder, former(files), CONFIG)
    assert [m.shape for m in old.members] == [(30, 41, 3)] * 2
    images, _ = read_images(files, CONFIG)
    assert [image.shape[2] for image in images] == [1, 3]
    assert enroll(folder, images, CONFIG) == old
    found = as_trained(images, old.members)
    assert [image.digest for image in found] == [m.digest for m in old.members]
    # A new fleet of the same files trains in gray.
    assert enroll(folder.parent / "new", images, CONFIG).members[0].shape == (30, 41, 1)


def test_with_a_mask_too(folder):
    write_png("in/a.png", drawn(0, 1).repeat(3, axis=2))
    mask = np.zeros((30, 41, 1), np.uint8)
    mask[5:9] = 255
    pair = [compose.with_mask(image, Image("m", "m.png", mask)) for image in former(["in/a.png"])]
    old = enroll(folder, pair, CONFIG)
    images, _ = read_images(["in/a.png"], CONFIG)
    now = [compose.with_mask(image, Image("m", "m.png", mask)) for image in images]
    assert (old.members[0].shape[2], now[0].shape[2]) == (4, 2)
    assert enroll(folder, now, CONFIG) == old


def test_gray_and_colour_together_train_as_before(folder):
    write_png("in/a.png", drawn(0, 1).repeat(3, axis=2))
    write_png("in/b.png", drawn(1))
    old = compose.together("joint", "in", former(["in/a.png", "in/b.png"]))
    new = compose.together("joint", "in", read_images(["in"], CONFIG)[0])
    assert new.digest == old.digest
    short = Image("c", "c.png", drawn(2)[:-1])
    images = [read_images(["in/a.png"], CONFIG)[0][0], short]
    with pytest.raises(ImageError, match=r"is 41x29 with 3 channels"):
        compose.together("joint", "in", images)


def test_renamed_files_go_on(folder):
    for seed, name in enumerate("abc"):
        write_png(f"in/{name}.png", drawn(seed))
    old = enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)
    os.rename("in/b.png", "in/renamed.png")
    assert enroll(folder, read_images(["in"], CONFIG)[0], CONFIG) == old
    # A further file of a name that was one of theirs gets another name.
    os.rename("in/c.png", "in/moved.png")
    write_png("in/b.png", drawn(7))
    with pytest.raises(WorkdirError, match=r"^in/b\.png: differs from the image that .* as 'b'"):
        enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)


def test_a_second_file_of_one_stem_keeps_the_name_of_the_first(folder):
    """Alone it was `photo`; beside photo.bmp its own name is photo.png."""
    write_png("in/photo.png", drawn(0))
    old = enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)
    (folder.parent / "in/photo.jpg").write_bytes((folder.parent / "in/photo.png").read_bytes())
    write_png("in/photo.jpg", drawn(1))
    new = enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)
    assert [m.name for m in old.members] == ["photo"]
    assert sorted(m.name for m in new.members) == ["photo", "photo.jpg"]
    assert old.members[0] in new.members


@pytest.mark.filterwarnings("ignore::data_pipeline.errors.InputWarning")
def test_one_picture_under_several_names_is_adopted_as_often(folder):
    for name in ("ä", "ö", "ü"):
        write_png(f"in/{name}x.png", drawn(0))
    images, _ = read_images(["in"], CONFIG)
    named = [dataclasses.replace(image, name=f"old{n}") for n, image in enumerate(images)]
    old = enroll(folder, named, CONFIG)
    assert enroll(folder, images, CONFIG) == old
    assert [image.name for image in as_trained(images, old.members)] == ["old0", "old1", "old2"]


def test_members_of_a_sweep_are_told_apart_by_their_settings(folder):
    write_png("in/é.png", drawn(0))
    sweep = Sweep.parse(["alpha_rec=10.000001,10.000002", "lr_g=1e-3"], CONFIG)
    members = [m for image in former(["in/é.png"]) for m in sweep.members(image)]
    assert len({member.name for member in members}) == 2
    old = enroll(folder, members, CONFIG)
    images, _ = read_images(["in/é.png"], CONFIG)
    now = [member for image in images for member in sweep.members(image)]
    assert not {member.name for member in now} & {member.name for member in members}
    assert enroll(folder, now[::-1], CONFIG) == old
    other = Sweep.parse(["alpha_rec=10.000003"], CONFIG)
    with pytest.raises(WorkdirError, match=r"trained on in/é\.png too"):
        enroll(folder, other.members(images[0]), CONFIG)


def test_an_image_that_changed_is_refused(folder):
    write_png("in/a.png", drawn(0))
    enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)
    write_png("in/a.png", drawn(1))
    with pytest.raises(WorkdirError, match=r"^in/a\.png: differs from the image that"):
        enroll(folder, read_images(["in"], CONFIG)[0], CONFIG)


@pytest.mark.slow
def test_training_goes_on_under_a_new_name(tmp_path):
    """The trained member, its checkpoint and its bits are those of the former name."""
    import singan_jax

    first = singan_jax.train_fleet([tiny.image(1)], tiny.CONFIG, tmp_path)
    renamed = dataclasses.replace(tiny.image(1), name="乳房", source="in/乳房.png")
    expected = tiny.weights(tmp_path)["image1"]
    again = singan_jax.train_fleet([renamed], tiny.CONFIG, tmp_path)
    assert [m.name for m in first.members] == [m.name for m in again.members] == ["image1"]
    for path, array in tiny.weights(tmp_path)["image1"].items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)
