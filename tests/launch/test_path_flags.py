"""Flags that name files and folders: every launcher reads them alike."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tiny
from absl import flags
from commands import refused

import singan_jax
from classify.plan.config import StudyConfig
from data_pipeline.errors import DataError
from launch import path_flags, settings
from singan_jax.images.read import write_png

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHERS = [
    path.stem for path in (ROOT / "launch").glob("*.py") if "cli.run(main)" in path.read_text()
]
# Flags of text that name no file: whoever adds a flag says here which kind it is.
WORDS = {
    *("coordinator", "shard", "sweep", "members", "query", "regime", "patch_size"),
    *("dataset", "task", "regimes", "baseline", "train_zooms", "test_zooms", "fill_zooms"),
    *("config.compute_dtype", "config.precision", "tpu"),
    *("sources", "protocol", "backbone", "train", "config.stretch", "config.pyramid_rule"),
}
# Parses each flag of each launcher, one module after another in one process; all that a launcher
# defines is taken away again, as the next one defines flags of the same names.
WALK = """
import importlib, json, sys
from absl import app, flags, logging  # whose own flags are not of interest

def outcome(flag, text):
    try:
        return flag.parser.parse(text)
    except ValueError as error:
        return f"refused: {error}"

known, found = set(flags.FLAGS), {}
for launcher in sys.argv[1:]:
    module = importlib.import_module(f"launch.{launcher}")
    for name in sorted(set(flags.FLAGS) - known):
        flag = flags.FLAGS[name]
        if flag.parser.flag_type() not in ("int", "float", "bool", "string enum"):
            found[f"{launcher} {name}"] = {
                "type": flag.parser.flag_type(),
                "home": outcome(flag, "~/fleet"),
                "address": outcome(flag, "gs://bucket/x"),
                "commas": outcome(flag, "a/b:c[d=e,f=g]"),
                "shown": flags.FLAGS.get_key_flags_for_module(module).count(flag),
            }
        delattr(flags.FLAGS, name)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def walked():
    """What each flag of text of each launcher makes of some texts."""
    done = subprocess.run(
        [sys.executable, "-c", WALK, *LAUNCHERS],
        cwd=ROOT,
        env={**os.environ, "HOME": "/home/someone"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_launcher_is_walked(walked):
    assert {key.split()[0] for key in walked} == set(LAUNCHERS)
    assert len(LAUNCHERS) > 12


def test_each_flag_of_text_is_a_path_or_known_to_be_none(walked):
    others = {key for key, flag in walked.items() if flag["type"] != "path"}
    assert {key.split()[1] for key in others} <= WORDS
    paths = {key.split()[1] for key in walked} - {key.split()[1] for key in others}
    assert paths == {
        *("workdir", "out", "data_dir", "raw_dir", "samples", "images", "together", "masks"),
        *("input", "mask", "model", "run", "weights", "inception", "features", "study"),
        *("json", "plot"),
    }


def test_each_path_knows_homes_and_refuses_other_machines(walked):
    for key, flag in walked.items():
        if flag["type"] == "path":
            assert flag["home"] == "/home/someone/fleet", key
            is_pattern = key.split()[1] in ("images", "together")  # refused where it is read
            refusal = "gs://bucket/x" if is_pattern else "refused: is an address, not a folder"
            assert flag["address"].startswith(refusal), key
            assert flag["commas"] == "a/b:c[d=e,f=g]", key
            assert flag["shown"] == 1, f"{key} is not in --help"


def test_a_path_is_kept_as_it_is_written(tmp_path):
    for text in ("edits/", "./a.png", "a//b", "photos/*.png", "bcdr_patches/g1:train[a=b,c=d]"):
        assert path_flags.local(text) == text
    address = (tmp_path / "a b").as_uri()
    assert "%20" in address
    assert path_flags.local(address) == str(tmp_path / "a b")
    for text in ("", "a\0b", "https://example.org/a.png", "~nobody-of-that-name/x"):
        with pytest.raises(DataError):
            path_flags.local(text)


def test_an_empty_path_is_refused_unless_it_unsets():
    values = flags.FlagValues()
    values["plain"] = flags.Flag(path_flags.Parser(), None, "plain", None, "")
    with pytest.raises(flags.IllegalFlagValueError, match=r"--plain=: the name .* is empty"):
        values(["command", "--plain="])
    assert path_flags._OptionalParser().parse("") == ""


def test_a_work_folder_elsewhere_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused("train_fleet", "--images=a.png", "--workdir=gs://bucket/x")
    assert line.startswith("flag --workdir=gs://bucket/x: is an address, not a folder or file; ")
    assert not list(tmp_path.iterdir())
    assert not (ROOT / "gs:").exists()


def test_an_address_among_images_keeps_no_good_one_from_training(tmp_path):
    write_png(tmp_path / "good.png", tiny.image(1).pixels)
    patterns = ["gs://bucket/photo.png", str(tmp_path / "good.png")]
    images, (error,) = singan_jax.read_images(
        [path_flags._PatternParser().parse(p) for p in patterns], tiny.CONFIG
    )
    assert [image.name for image in images] == ["good"]
    assert str(error).startswith("gs://bucket/photo.png: is an address, not a folder or file; ")


def test_paths_in_files_of_settings_are_read_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    file = tmp_path / "study.yaml"
    sections = {"study": StudyConfig}
    for text, expected in (("~/net.pth", "/home/someone/net.pth"), ("net.pth", "net.pth")):
        file.write_text(f"study: {{weights: {text}}}")
        assert settings.read_yaml(file, sections)["study"] == {"weights": expected}
    file.write_text("study: {weights: 's3://bucket/net.pth'}")
    with pytest.raises(singan_jax.InputError, match=r"study\.weights: s3://.* is an address"):
        settings.read_yaml(file, sections)
