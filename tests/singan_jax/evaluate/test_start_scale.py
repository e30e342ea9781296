"""Start scales chosen by a wanted diversity."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tiny

import singan_jax
from singan_jax import InputError
from singan_jax.evaluate.start_scale import diversities, nearest_start_scale

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("like") / "fleet"
    singan_jax.train_fleet([tiny.image(1), tiny.image(2)], tiny.CONFIG, folder)
    return folder


def test_diversities_are_those_of_drawn_samples(folder, tmp_path):
    fleet = singan_jax.load_fleet(folder)
    found = diversities(fleet, ["image2", "image1"], seed=3, count=5)
    assert {name: len(values) for name, values in found.items()} == {"image1": 3, "image2": 3}
    for start in range(3):
        out = tmp_path / f"{start}"
        singan_jax.write_samples(fleet, out, 5, seed=3, start_scale=start, quiet=True)
        for member in fleet.members:
            paths = [out / member.name / f"{n}.png" for n in range(5)]
            samples = np.stack([np.asarray(PIL.Image.open(path)) / 255 for path in paths])
            rec = fleet.scales(member.group)[-1].rec[member.index, 0] / 2 + 0.5
            expected = samples.std(axis=0, ddof=1).mean() / rec.std()
            assert found[member.name][start] == pytest.approx(expected, rel=1e-3)


def test_the_nearest_start_scale():
    values = {"a": [0.5, 0.2, 0.1], "b": [0.9, 0.6, 0.31]}
    assert nearest_start_scale(0.3, values) == {"a": (1, 0.2), "b": (2, 0.31)}
    for wanted in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"`like`=.*: must be above 0"):
            nearest_start_scale(wanted, values)


def run(folder, out, *arguments):
    command = [sys.executable, "-m", "launch.sample_fleet", f"--workdir={folder}", f"--out={out}"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_records_each_members_start_scale(folder, tmp_path):
    found = diversities(singan_jax.load_fleet(folder), ["image1", "image2"])
    # Exactly what the third scale of one member reaches, so that not all get the same scale.
    done = run(folder, tmp_path / "out", f"--like={found['image1'][2]}", "--num_samples=2")
    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r"(\w+): start scale (\d+), diversity", done.stdout))
    chosen = nearest_start_scale(found["image1"][2], found)
    assert printed == {name: str(scale) for name, (scale, _) in chosen.items()}
    lines = [json.loads(x) for x in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(x["member"], x["start_scale"]) for x in lines] == [
        (name, chosen[name][0]) for name in ("image1", "image2") for _ in range(2)
    ]


def test_a_start_scale_is_either_given_or_chosen(folder, tmp_path):
    done = run(folder, tmp_path / "out", "--like=0.3", "--start_scale=0")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["--like chooses the start scale; leave out --start_scale"]
    assert not (tmp_path / "out").exists()
