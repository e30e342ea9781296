"""`launch.test_classifier`, as users run it: on another dataset, on images, on bad input."""

import io

import numpy as np
import pandas as pd
import pytest
import tiny_bcdr
import tiny_study
from commands import refused, run

from classify.classifiers import retest
from data_pipeline import bcdr_patches, builders, load, query
from singan_jax.images.read import write_png

FEW = "--bootstrap=100"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of the kept models of a study."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.run(folder, patch, regimes=("weighted",), seeds=1)
    return folder / "models"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared dataset of patients that the models have not seen."""
    folder = tmp_path_factory.mktemp("data")
    root = tiny_bcdr.write(folder / "raw")
    builders.prepare(bcdr_patches.Builder, root, folder, 24, workers=1, progress=False)
    return folder


def test_an_ensemble_is_tested_on_another_dataset(models, data, tmp_path):
    asked = ["--query=bcdr_patches/g2_24:all", f"--data_dir={data}", f"--out={tmp_path}", FEW]
    status, out, errors = run("test_classifier", f"--model={models}", *asked)
    assert (status, errors) == (0, [])
    assert "ensemble:model" in out
    assert "Confusion, shares of the true class; ensemble:model at zoom 2" in out
    patches = load.load(data, query.parse("bcdr_patches/g2_24:all"))
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert list(table["patch_id"]) == [record.patch_id for record, _ in patches]
    pixels = [pixels for _, pixels in patches]
    said = retest.predict(retest.read_models([str(models)]), pixels, table["patch_id"]).mean(0)
    found = table[["Normal", "Benign", "Malign"]]
    np.testing.assert_allclose(found, said, atol=1e-6)
    called = np.array(found.columns)[found.to_numpy().argmax(1)]
    counts = pd.crosstab(table["true"], called, normalize="index")
    confusion = pd.read_csv(tmp_path / "confusion.csv", index_col="true")
    for true, name in counts.stack().index:
        assert confusion.loc[true, name] == pytest.approx(counts.loc[true, name])
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert set(summary["regime"]) == {"model", "ensemble:model"}
    assert set(summary["variant"]) == {"plain", "cropped"}


def test_images_are_answered_beside_a_bad_one(models, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        write_png(tmp_path / f"{name}.png", rng.integers(0, 256, (30, 40, 3), np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    status, out, errors = run("test_classifier", f"--model={models}", f"--images={tmp_path}")
    assert status == 2
    (line,) = errors
    assert "damaged.png: is damaged" in line
    table = pd.read_csv(io.StringIO(out), index_col="file")
    assert list(table.index) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert list(table.columns) == ["Normal", "Benign", "Malign"]
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)


def test_bad_commands_are_one_line(models, tmp_path):
    one = f"--model={models}"
    assert "either a --query or --images" in refused("test_classifier", one)
    query_ = "--query=bcdr_patches/all_24:all"
    assert "needs --data_dir" in refused("test_classifier", one, query_)
    line = refused("test_classifier", one, query_, f"--data_dir={tmp_path}")
    assert "is not prepared; run python -m launch.build_dataset" in line
