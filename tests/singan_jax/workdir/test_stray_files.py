"""Files that people and systems leave anywhere in a work folder neither stop anything nor go."""

import json
import shutil
import warnings

import jax
import numpy as np
import pytest
import tiny

import singan_jax
from data_pipeline.errors import InputWarning
from singan_jax.evaluate import start_scale
from singan_jax.workdir import checkpoint
from singan_jax.workdir.checkpoint import CheckpointName, Store
from singan_jax.workdir.merge import Shard, merge
from singan_jax.workdir.record import WorkdirError

STRAY = (".DS_Store", "._scale_00_members_0000-0001", ".nfs0000000000000001", "Thumbs.db")
STRAY += ("desktop.ini", "notes.txt~", "scale_00_members_0000-0001.zip")
STRAY_FOLDERS = ("lost+found", "my copy of scale_00_members_0000-0001", ".Trash-1000")
SEEDS = (1, 2)


def images():
    return [tiny.image(seed) for seed in SEEDS]


def litter(root):
    """Leaves stray files and folders in every folder below; returns them."""
    left = []
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in STRAY:
            (folder / name).write_text("stray")
            left.append(folder / name)
        for name in STRAY_FOLDERS:
            (folder / name).mkdir()
            (folder / name / "file").write_text("stray")
            left.append(folder / name / "file")
    return left


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stray") / "fleet"
    singan_jax.train_fleet(images(), tiny.CONFIG, folder)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "fleet")


def all_lines(path):
    def refuse(token):
        raise AssertionError(f"{path}: {token}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_training_goes_on_among_stray_files_and_leaves_them(folder, trained):
    last = CheckpointName(2, range(2))
    shutil.rmtree(folder / "groups/0000" / str(last))
    left = litter(folder)
    singan_jax.train_fleet(images(), tiny.CONFIG, folder)
    assert [path for path in left if not path.exists()] == []
    expected = tiny.weights(trained)
    for name, arrays in tiny.weights(folder).items():
        for path, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name][path], err_msg=path)
    samples = list(singan_jax.load_fleet(folder).sample(2, jax.random.key(0)))
    assert len(samples) == 2
    assert all_lines(folder / "metrics.jsonl")
    assert all_lines(folder / "runs.jsonl")


def test_only_interrupted_saves_are_cleared_away(tmp_path):
    store, name = Store(tmp_path / "group"), CheckpointName(1, range(2), 30)
    store.save(name, {"x": np.zeros(3)})
    store.wait()
    left = litter(tmp_path / "group")
    partial = [f"{name}.orbax-checkpoint-tmp", f"{name}.orbax-checkpoint-tmp-1700000000000000"]
    for folder in partial:
        (tmp_path / "group" / folder / "d").mkdir(parents=True)
    others = ["notes.orbax-checkpoint-tmp", f"{name}.orbax-checkpoint-tmp-of-mine"]
    for folder in others:
        (tmp_path / "group" / folder).mkdir()
    store.clean()
    assert store.names() == [name]
    assert not any((tmp_path / "group" / folder).exists() for folder in partial)
    assert all((tmp_path / "group" / folder).exists() for folder in others)
    assert all(path.exists() for path in left)
    restored = store.restore(name, {"x": jax.ShapeDtypeStruct((3,), np.float64)})
    np.testing.assert_array_equal(restored["x"], np.zeros(3))


def test_orbax_names_unfinished_saves_as_is_known_here():
    path = checkpoint.ocp.path.atomicity  # where the installed version says so
    assert path.TMP_DIR_SUFFIX == ".orbax-checkpoint-tmp"
    assert checkpoint._UNFINISHED.fullmatch(f"{CheckpointName(0, range(9))}{path.TMP_DIR_SUFFIX}")


def test_shards_with_stray_files_merge_and_leave_them(tmp_path, trained):
    folder = tmp_path / "fleet"
    for n, image in enumerate(images()):
        shutil.copytree(trained, Shard(n, 2).folder(folder))
        record = json.loads((Shard(n, 2).folder(folder) / "fleet.json").read_text())
        for member in record["members"]:
            member["name"] = f"{member['name']}_of_{image.name}"
        (Shard(n, 2).folder(folder) / "fleet.json").write_text(json.dumps(record))
    count = len(litter(folder / "shards"))
    (folder / "shards/0-of-2 (copy)").mkdir()
    with pytest.warns(InputWarning, match=r"is no part of a fleet, and was among the shards; move"):
        merged = merge(folder)
    assert len(merged.members) == 4
    assert not (folder / "shards").exists()
    there = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"stray"]
    assert len(there) == count
    assert not (folder / ".merged/0-of-2/fleet.json").exists()
    assert singan_jax.load_fleet(folder).num_scales(merged.members[3]) == 3


# --- fleets that are not finished -------------------------------------------------------------


def about(record):
    return [str(warning.message) for warning in record if warning.category is InputWarning]


def test_sampling_says_once_which_scales_lack(folder, tmp_path):
    fleet = singan_jax.load_fleet(folder)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        singan_jax.write_samples(fleet, tmp_path / "whole", 2, quiet=True)
    assert about(found) == []
    _, (height, width), (rows, columns) = fleet.bucket(fleet.members[0]).pyramid.sizes
    shutil.rmtree(folder / "groups/0000" / str(CheckpointName(2, range(2))))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        singan_jax.write_samples(fleet, tmp_path / "part", 2, quiet=True)
    assert about(found) == [
        f"image1 (and 1 more): 2 of 3 scales are finished; samples have {width}x{height} pixels "
        f"instead of {columns}x{rows}; go on with `train_fleet`"
    ]
    shutil.rmtree(folder / "groups")
    with pytest.raises(WorkdirError, match="'image1' has no finished scale yet; go on with"):
        singan_jax.write_samples(fleet, tmp_path / "none", 2, quiet=True)
    with pytest.raises(WorkdirError, match="'image1' has no finished scale yet; go on with"):
        start_scale.diversities(fleet, ["image1"])
