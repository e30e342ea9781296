"""The command lines, as processes: what they write, what they say, how they exit."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import PIL.Image
import pytest
import tiny
from commands import refused, run

import singan_jax
from singan_jax.images.read import read_image, write_png
from singan_jax.scale.pyramid import Pyramid

SETTINGS = [f"--config.{k}={v}" for k, v in tiny.CHANGES.items()]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A gray 16-bit image, an RGB one and a damaged file."""
    folder = tmp_path_factory.mktemp("inputs")
    rgb = tiny.image(1).pixels
    gray = tiny.image(2, channels=1).pixels.astype(np.uint16) * 257
    write_png(folder / "rgb.png", rgb)
    write_png(folder / "gray16.png", gray)
    (folder / "damaged.png").write_bytes((folder / "rgb.png").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def fleet(inputs, tmp_path_factory):
    """A trained fleet, and how its command ended."""
    folder = tmp_path_factory.mktemp("trained") / "fleet"
    return folder, run("train_fleet", f"--images={inputs}", f"--workdir={folder}", *SETTINGS)


def test_good_images_train_beside_a_damaged_one(fleet):
    folder, (status, out, errors) = fleet
    assert status == 2
    assert "2 of 2 members are trained" in out
    assert "damaged.png" in errors[0]
    assert "is damaged or truncated" in errors[0]
    assert errors[1:] == ["1 images were refused, see above"]
    loaded = singan_jax.load_fleet(folder)
    assert {m.name: m.bit_depth for m in loaded.members} == {"rgb": 8, "gray16": 16}
    assert [loaded.num_scales(member) for member in loaded.members] == [3, 3]


def test_work_folder_shows_how_it_went(fleet):
    folder, _ = fleet
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = {(r["member"], r["scale"]): r["step"] for r in rows if "step" in r}
    assert set(steps) == {(name, scale) for name in ("rgb", "gray16") for scale in range(3)}
    assert set(steps.values()) == {tiny.CONFIG.steps_per_scale}
    amps = {(r["member"], r["scale"]): r["noise_amp"] for r in rows if "noise_amp" in r}
    assert amps["rgb", 0] == 1.0
    assert 0 < amps["rgb", 2] < 0.2
    (run_record,) = (folder / "runs.jsonl").read_text().splitlines()
    assert "--config.min_size=12" in json.loads(run_record)["command"]
    assert len(list((folder / "pictures").glob("*.png"))) == 6  # two groups, three scales
    assert list((folder / "tensorboard").iterdir())


def test_finished_fleet_says_so_and_does_nothing(fleet, inputs):
    folder, _ = fleet
    before = {path: path.stat().st_mtime_ns for path in (folder / "groups").rglob("*")}
    images = [f"--images={inputs / name}.png" for name in ("rgb", "gray16")]
    status, out, errors = run("train_fleet", *images, f"--workdir={folder}", *SETTINGS)
    assert (status, errors) == (0, [])
    assert "2 of 2 members are trained" in out
    assert {path: path.stat().st_mtime_ns for path in (folder / "groups").rglob("*")} == before


def test_other_settings_are_refused(fleet, inputs):
    images = [f"--images={inputs / name}.png" for name in ("rgb", "gray16")]
    arguments = [*images, f"--workdir={fleet[0]}", *SETTINGS, "--config.lr_g=0.001"]
    line = refused("train_fleet", *arguments)
    assert "lr_g 0.0005 there, 0.001 here" in line
    assert "choose another --workdir" in line


def test_strict_trains_nothing(inputs, tmp_path):
    folder = tmp_path / "fleet"
    status, _, errors = run(
        "train_fleet", f"--images={inputs}", f"--workdir={folder}", "--strict", *SETTINGS
    )
    assert status == 2
    assert errors[-1] == "1 of 3 images refused; none trained"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--images=none.png"], "none.png: does not exist"),
        (["--images=*.nothing"], "matches no file"),
        (["--images=x.png", "--config.lr_g=-1"], "--config.lr_g=-1.0 is out of range"),
        (["--images=x.png", "--config.width=3"], "Unknown command line flag 'config.width'"),
        (["--images=x.png", "--config=huge"], "<singan|thesis|quick|super_resolution|animation>"),
        (["--images=x.png", "y.png"], "'y.png' is no flag"),
    ],
)
def test_bad_commands_say_what_is_wrong(tmp_path, arguments, problem):
    status, _, errors = run("train_fleet", *arguments, f"--workdir={tmp_path / 'fleet'}")
    assert status == 2
    assert problem in errors[0]
    assert not (tmp_path / "fleet").exists()


def test_folder_that_cannot_be_written(inputs, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    folder = tmp_path / "file" / "fleet"
    image = f"--images={inputs / 'rgb.png'}"
    line = refused("train_fleet", image, f"--workdir={folder}", *SETTINGS)
    assert "cannot be written (Not a directory); choose another --workdir" in line


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk"
)
def test_full_disk_is_one_line_and_goes_on_later(inputs, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    arguments = [f"--images={inputs / 'rgb.png'}", f"--workdir={disk / 'fleet'}", *SETTINGS]
    try:
        status, _, errors = run("train_fleet", *arguments)
        assert status == 1
        (line,) = errors
        assert "No space left" in line
        assert "repeat the command to go on" in line
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        status, out, _ = run("train_fleet", *arguments)
        assert (status, "1 of 1 members are trained" in out) == (0, True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_samples(fleet, tmp_path):
    folder, out = fleet[0], tmp_path / "samples"
    arguments = [f"--workdir={folder}", "--num_samples=3", f"--out={out}", "--seed=5"]
    status, said, errors = run("sample_fleet", *arguments)
    assert (status, errors) == (0, [])
    assert "6 samples" in said
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(m["member"], m["index"]) for m in lines[:3]] == [("gray16", n) for n in range(3)]
    assert all(m["seed"] == 5 and m["start_scale"] == 0 for m in lines)
    assert {pathlib.Path(m["source"]).name for m in lines} == {"rgb.png", "gray16.png"}
    gray, rgb = (read_image(out / f"{name}/2.png", tiny.CONFIG) for name in ("gray16", "rgb"))
    assert (gray.pixels.dtype, gray.shape[2]) == (np.uint16, 1)
    assert (rgb.pixels.dtype, rgb.shape[2]) == (np.uint8, 3)
    assert (gray.pixels % 257 > 0).any()  # more than 8 bits are used
    first = {path.name: path.read_bytes() for path in out.rglob("*.png")}
    run("sample_fleet", *arguments)
    assert {path.name: path.read_bytes() for path in out.rglob("*.png")} == first
    line = refused("sample_fleet", *arguments[:3], "--seed=6")
    assert "seed 5 there, 6 here" in line


def test_sample_sizes_and_start_scale(fleet, tmp_path):
    common = [f"--workdir={fleet[0]}", "--num_samples=1", "--members=rgb"]
    run("sample_fleet", *common, f"--out={tmp_path / 'wide'}", "--scale_h=1.5")
    height, width = Pyramid.of((17, 19), tiny.CONFIG).sizes[-1]
    with PIL.Image.open(tmp_path / "wide/rgb/0.png") as image:
        assert image.size == (int(width * 1.5), height)
    line = refused("sample_fleet", *common, f"--out={tmp_path / 'late'}", "--start_scale=3")
    assert "start scale 3 is out of range; the fleet has scales 0 to 2" in line
    line = refused("sample_fleet", *common[:2], "--members=rbg", f"--out={tmp_path / 'who'}")
    assert "has no member 'rbg'" in line
    line = refused("sample_fleet", f"--workdir={tmp_path}", f"--out={tmp_path / 'x'}")
    assert "holds no fleet" in line


@pytest.mark.parametrize(
    "launcher",
    [
        "train_fleet",
        "sample_fleet",
        "photographs",
        "demo",
        "build_dataset",
        "study",
        "train_classifier",
        "test_classifier",
    ],
)
def test_help_teaches(launcher):
    _, out, _ = run(launcher, "--help")
    assert f"python -m launch.{launcher}" in out
    assert "How long:" in out


@pytest.mark.slow
def test_photographs(tmp_path):
    status, out, errors = run(
        "photographs", f"--out={tmp_path}", "--steps_per_scale=1", timeout=600
    )
    assert (status, errors) == (0, [])
    page = tmp_path / "index.html"
    assert str(page) in out
    text = page.read_text()
    assert text.count("<h2>") == 4
    assert text.count('src="data:image/png') == 4 * 4 * 6  # members, scales, pictures a scale
    assert len(list((tmp_path / "samples").glob("*/*.png"))) == 80
