"""A study's folder that an earlier version wrote goes on, and says what it said."""

import json
import zipfile

import goldens_io
import pandas as pd
import pytest
import tiny_study

from classify import study


@pytest.fixture
def folder(tmp_path):
    with zipfile.ZipFile(goldens_io.FOLDER / "before/study.zip") as archive:
        archive.extractall(tmp_path)
    for path in tmp_path.rglob("run.json"):
        path.write_text(path.read_text().replace("WORKDIR", str(tmp_path)))
    return tmp_path


def test_a_finished_study_is_not_run_again(folder, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.npz")}
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("summary", "comparisons")}
    # Random weights of the backbone differ in their last bits between processors.
    content = json.loads((folder / "study.json").read_text())
    backbone = study.load_backbone("resnet_small", "random", 32)
    content["decides"]["backbone"] = backbone.digest
    (folder / "study.json").write_text(json.dumps(content))
    monkeypatch.setattr("singan_jax.devices.programs.Compiler.programs", None)  # trains nothing
    tiny_study.run(folder, monkeypatch)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.npz")}
    assert len(before) == 18
    assert after == before
    for name, table in tables.items():
        found = pd.read_csv(folder / f"{name}.csv")
        pd.testing.assert_frame_equal(found[list(table)], table, atol=1e-6)
