"""What earlier versions wrote still loads and goes on, and a seed still gives what it gave."""

import collections
import dataclasses
import zipfile

import goldens_io
import jax
import numpy as np
import pytest
import tiny

import singan_jax
from singan_jax.workdir.finished import group_folder

CONFIG = dataclasses.replace(tiny.CONFIG, noise_amp=0.2)


def images():
    """Those that the folder was trained on."""
    swept = dataclasses.replace(
        tiny.image(4), name="image4_alpha_rec=5", settings={"alpha_rec": 5.0}
    )
    return [tiny.image(1), tiny.image(2), tiny.image(3, channels=1), swept]


@pytest.fixture
def folder(tmp_path):
    with zipfile.ZipFile(goldens_io.FOLDER / "before/fleet.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_folder_loads(folder):
    fleet = singan_jax.load_fleet(folder)
    assert fleet.config == CONFIG
    found = {member.name: member for member in fleet.members}
    assert {name: (m.digest, m.settings) for name, m in found.items()} == {
        image.name: (image.digest, image.settings) for image in images()
    }
    assert [fleet.num_scales(found[image.name]) for image in images()] == [1, 1, 0, 1]
    (frozen,) = (scale.frozen for scale in fleet.scales(0))
    expected = goldens_io.load("before/finished.npz")
    for path, array in jax.tree_util.tree_leaves_with_path(frozen):
        name = f"image2|[0].frozen{jax.tree_util.keystr(path)}"
        np.testing.assert_array_equal(array[1], expected[name])


@pytest.mark.parametrize(
    "start",
    ["resumed", pytest.param("afresh", marks=pytest.mark.slow)],  # one has not begun there
)
def test_training_gives_what_it_gave(folder, tmp_path_factory, start):
    """To rounding, but where another processor rounds a gradient near zero to the other sign.

    Adam's first step is then the learning rate the other way in one weight, and the weights of
    that member's scale differ by less than such a step. (Compiled for AVX2, for AVX-512 and for
    SSE 4.2: none, one and the same one of the twelve.)
    """
    before = sorted(path.name for path in group_folder(folder, 0).iterdir())
    assert before == ["scale_00_members_0000-0002", "scale_01_members_0000-0002_step_000002"]
    if start == "afresh":
        folder = tmp_path_factory.mktemp("afresh")
    fleet = singan_jax.train_fleet(images(), CONFIG, folder)
    assert not fleet.failed
    expected = goldens_io.load("before/finished.npz")
    found = tiny.weights(folder)
    largest = collections.defaultdict(float)
    for key, array in expected.items():
        member, path = key.split("|")
        if member != "samples":
            scale = path.split(".")[0]
            error = np.abs(found[member][path] - array).max()
            largest[member, scale] = max(largest[member, scale], error)
            if path == "[0].frozen.z_rec":  # random bits and nothing else
                assert error < 1e-6
    assert len(largest) == 12
    assert max(largest.values()) < CONFIG.lr_g
    assert sum(error > 1e-6 for error in largest.values()) <= 2
    for samples in fleet.sample(2, jax.random.key(7)):
        levels = np.abs(samples.pixels - expected[f"samples|{samples.member.name}"].astype(int))
        assert np.quantile(levels, 0.99) <= 1
