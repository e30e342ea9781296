"""Shards trained without knowing of each other make, merged, the fleet of one run."""

import dataclasses
import itertools
import json
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny
import tiny_hosts
from commands import refused, run

import singan_jax
from singan_jax.images.read import write_png
from singan_jax.workdir.merge import Shard, merge
from singan_jax.workdir.record import WorkdirError, locked, read_record

CONFIG = dataclasses.replace(tiny_hosts.CONFIG, steps_per_scale=5)
SETTINGS = [f"--config.{name}={value}" for name, value in CONFIG.to_dict().items()]
SEEDS = [1, 2, 3, 4, 5]
SHAPES = {3: (19, 17), 5: (19, 17)}  # two groups, and in shard 1 of 2 but one


def images():
    return [tiny.image(seed, SHAPES.get(seed, (17, 19))) for seed in SEEDS]


def train(folder, given):
    return singan_jax.train_fleet(given, CONFIG, folder).failed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, images())
    return tiny.weights(folder)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with the two finished shards of the fleet."""
    folder = tmp_path_factory.mktemp("parts")
    for n in range(2):
        shard = Shard(n, 2)
        train(shard.folder(folder), shard.part(images()))
    return folder


@pytest.fixture
def folder(parts, tmp_path):
    return shutil.copytree(parts, tmp_path / "fleet")


def assert_merged(folder, whole):
    found = tiny.weights(folder)
    assert found.keys() == whole.keys()
    for name, arrays in found.items():
        for path, array in arrays.items():
            np.testing.assert_array_equal(array, whole[name][path], err_msg=path)
    assert not (folder / "shards").exists()
    assert not (folder / ".merged").exists()


def test_merged_shards_are_the_fleet_of_one_run(folder, whole, monkeypatch):
    lines = [(folder / f"shards/{n}-of-2/metrics.jsonl").read_text() for n in range(2)]
    record = merge(folder)
    assert [member.name for member in record.members] == [f"image{n}" for n in (1, 3, 5, 2, 4)]
    assert_merged(folder, whole)
    assert (folder / "metrics.jsonl").read_text() == "".join(lines)
    assert len((folder / "runs.jsonl").read_text().splitlines()) == 2
    assert len(list((folder / "tensorboard").iterdir())) == 2
    assert merge(folder) == record  # once more does nothing
    monkeypatch.setattr(
        "singan_jax.devices.programs.Compiler.programs", None
    )  # any training would fail
    assert train(folder, images()) == []
    assert read_record(folder) == record


def test_merged_fleet_grows(folder, whole):
    merge(folder)
    train(folder, [*images(), tiny.image(6)])
    found = tiny.weights(folder)
    assert found.keys() == {*whole, "image6"}


class Killed(BaseException):
    pass


def test_killed_at_any_step_merging_goes_on(folder, whole, tmp_path, monkeypatch):
    """Ends at each renaming, just before it and just after."""
    for steps in range(100):
        copy = shutil.copytree(folder, tmp_path / f"copy{steps}")
        left = iter(range(steps))

        def counted(do, left=left):
            def step(*arguments):
                if next(left, None) is None:
                    raise Killed
                result = do(*arguments)
                if next(left, None) is None:
                    raise Killed
                return result

            return step

        with monkeypatch.context() as patch:
            for name in ("rename", "replace"):
                patch.setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
            try:
                merge(copy)
            except Killed:
                pass
            else:
                break
        with pytest.raises(WorkdirError):  # no shard trains on what is between
            Shard(0, 2).folder(copy)
        merge(copy)
        assert_merged(copy, whole)
    assert steps == 2 * 9  # 3 groups, 2 training curves, 3 files, the shards' folder


def test_killed_process_leaves_what_merges(folder, whole):
    script = (
        "import os, pathlib, signal, sys\n"
        "from singan_jax.workdir import merge\n"
        "merge.write_record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge.merge(sys.argv[1])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((folder / "groups").iterdir())) == 3
    merge(folder)
    assert_merged(folder, whole)


def test_what_cannot_be_merged_is_refused(folder, tmp_path):
    def refusal(change):
        copy = shutil.copytree(folder, tmp_path / "copy")
        change(copy)
        before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
        with pytest.raises(WorkdirError) as error:
            merge(copy)
        after = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.name != ".lock")
        assert after == [path for path in before if path.name != ".lock"]
        shutil.rmtree(copy)
        return str(error.value).partition(": ")[2]

    assert refusal(lambda copy: shutil.rmtree(copy / "shards/1-of-2")) == (
        "shard 1 of 2 is missing; train it with `shard`"
    )
    (group, *_) = sorted((folder / "shards/0-of-2/groups").iterdir())
    scale = next(path for path in sorted(group.iterdir()) if path.name.startswith("scale_01"))
    name = scale.relative_to(folder)
    assert refusal(lambda copy: shutil.rmtree(copy / name)) == (
        "shard 0 of 2 is unfinished; go on with it with `shard`"
    )
    assert "(n found: 2, 3)" in refusal(
        lambda copy: shutil.copytree(copy / "shards/0-of-2", copy / "shards/0-of-3")
    )

    def other_config(copy):
        path = copy / "shards/1-of-2/fleet.json"
        content = json.loads(path.read_text())
        content["config"]["lr_g"] = 1.0
        path.write_text(json.dumps(content))

    assert "shard 1 was trained with other settings than shard 0" in refusal(other_config)

    def same_name(copy):
        path = copy / "shards/1-of-2/fleet.json"
        path.write_text(path.read_text().replace('"image2"', '"image1"'))

    assert "have the same member name, 'image1'" in refusal(same_name)
    assert "another fleet" in refusal(
        lambda copy: shutil.copy(copy / "shards/0-of-2/fleet.json", copy / "fleet.json")
    )


def test_shard_that_trains_is_not_merged(folder):
    with locked(folder / "shards/1-of-2"), pytest.raises(WorkdirError, match="is working"):
        merge(folder)


def test_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(WorkdirError, match="holds no shards"):
        merge(tmp_path)
    with pytest.raises(WorkdirError, match="does not exist"):
        merge(tmp_path / "none")


@pytest.mark.parametrize("text", ["4/4", "a/b", "1", "-1/4", "0/0", "1/2/3"])
def test_shard_that_is_none_is_refused(text):
    with pytest.raises(singan_jax.InputError, match=r"must be i/n with i from 0 to n - 1"):
        Shard.parse(text)


def test_shards_are_all_images_evenly():
    for count in (1, 2, 3, 7):
        shares = [Shard.parse(f"{n}/{count}").part(SEEDS) for n in range(count)]
        assert sorted(itertools.chain(*shares)) == SEEDS
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_command_lines(tmp_path):
    """More shards than images; what each command says."""
    pictures, folder = tmp_path / "pictures", tmp_path / "fleet"
    pictures.mkdir()
    write_png(pictures / "one.png", tiny.image(1).pixels)
    common = [f"--images={pictures}", f"--workdir={folder}", *SETTINGS]
    status, out, errors = run("train_fleet", *common, "--shard=1/2")
    assert (status, errors) == (0, [])
    assert "shards/1-of-2: 0 of 0 members are trained" in out
    assert "shard 0 of 2 is missing" in refused("merge", f"--workdir={folder}")
    assert "python -m launch.merge" in refused("train_fleet", *common)
    status, out, errors = run("train_fleet", *common, "--shard=0/2")
    assert (status, errors) == (0, [])
    assert "shards/0-of-2: 1 of 1 members are trained" in out
    assert len(list((folder / "shards/0-of-2/pictures").iterdir())) == 2
    status, out, errors = run("merge", f"--workdir={folder}")
    assert (status, errors) == (0, [])
    assert out == f"{folder}: one fleet of 1 members\n"
    assert len(list((folder / "pictures").iterdir())) == 2
    assert "leave out --shard" in refused("train_fleet", *common, "--shard=0/2")
    out = tmp_path / "samples"
    arguments = (f"--workdir={folder}", "--num_samples=2", f"--out={out}")
    assert run("sample_fleet", *arguments)[0] == 0
    assert len(list((out / "one").iterdir())) == 2
