"""Kept classifiers say of their test patches what the study said; what is unfit is refused."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny_study

import data_pipeline.load
from classify.cells import StudyError
from classify.classifiers import kept, retest
from classify.statistics import metrics, statistics
from data_pipeline import query
from data_pipeline.errors import DataError
from singan_jax.images.read import write_png

EVERYTHING = query.parse("bcdr_patches/all_24:all")
NOWHERE = pathlib.Path("nowhere")
CHANGES = {"regimes": ("weighted", "none"), "seeds": 1}


@pytest.fixture(scope="module", params=["head", "all", "last_stage"])
def finished(request, tmp_path_factory):
    """A finished study and its folder."""
    changes = CHANGES | ({} if request.param == "head" else {"lr": 1e-3, "epochs": 2})
    return studied(tmp_path_factory, train=request.param, **changes)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return studied(tmp_path_factory, **CHANGES)


def studied(factory, **changes):
    folder = factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        _, done = tiny_study.run(folder, patch, **changes)
    return done, folder


@pytest.fixture(autouse=True)
def dataset(monkeypatch):
    monkeypatch.setattr(data_pipeline.load, "load", tiny_study.load)


def slug(prediction):
    cell = prediction.cell
    return f"{cell.regime}.zoom{cell.train_zoom}.fold{cell.fold}.seed{cell.seed}.draw{cell.draw}"


def results_of(models):
    """Results of models on the patches of the dataset that they have not seen."""
    patches, _ = retest.patches_of(models, EVERYTHING, NOWHERE)
    return retest.retest(models, *zip(*patches, strict=True))


def test_a_kept_model_repeats_the_studys_predictions(finished):
    done, folder = finished
    assert len(list((folder / "models").iterdir())) == len(done.results.predictions) == 6
    for prediction in done.results.predictions[::2]:
        path = kept.path_of(folder, slug(prediction))
        results = results_of(retest.read_models([str(path)]))
        # Without patients seen in training, its own test patches are left of the whole dataset.
        expected = [done.results.records[row] for row in prediction.rows]
        assert list(results.records) == expected
        (found,) = results.predictions
        for variant, probabilities in prediction.probabilities.items():
            np.testing.assert_allclose(found.probabilities[variant], probabilities, atol=1e-6)


def test_an_ensemble_is_the_mean(finished):
    done, folder = finished
    paths = sorted((folder / "models").glob("*.fold1.*"))
    models = retest.read_models([str(folder / "models/*.fold1.*"), str(paths[0])])
    assert [model.path for model in models] == paths  # each once
    results = results_of(models)
    by_name = {slug(prediction): prediction for prediction in done.results.predictions}
    each = [by_name[path.stem].probabilities["plain"] for path in paths]
    table = retest.table(results)
    np.testing.assert_allclose(table[list(results.classes)], np.mean(each, axis=0), atol=1e-6)
    summary = statistics.summarize(results, bootstrap=100)
    rows = summary[(summary["variant"] == "plain") & (summary["metric"] == "roc_auc")]
    rows = rows[rows["class"] == "Malign"].set_index("regime")
    malign = results.labels == 2
    areas = [metrics.ranking(malign, said[:, 2])["roc_auc"] for said in (*each, sum(each) / 2)]
    assert rows.loc["model", "mean"] == pytest.approx(np.mean(areas[:2]))
    assert rows.loc["ensemble:model", "mean"] == pytest.approx(areas[2])
    assert rows.loc["ensemble:model", "low"] <= areas[2] <= rows.loc["ensemble:model", "high"]


def test_the_file_says_what_it_is(heads):
    done, folder = heads
    path = folder / "models/none.zoom1.fold2.seed0.draw0.safetensors"
    with safetensors.safe_open(path, "np") as file:
        stated = {name: json.loads(value) for name, value in file.metadata().items()}
        assert sorted(file.keys()) == ["head/bias", "head/kernel"]
        assert file.get_tensor("head/kernel").shape == (3, 128)
    expected = {
        "version": 1,
        "task": "three-class",
        "classes": ["Normal", "Benign", "Malign"],
        "dataset": "bcdr_patches/all_24",
        "patch_size": 24,
        "train": "head",
        "cell": {
            **{"regime": "none", "train_zoom": "1", "fold": 2, "seed": 0, "draw": 0},
            "fill_zoom": "",
        },
        "study_seed": 0,
        "backbone": "resnet_small",
        "backbone_sha256": done.backbone.digest,
        "preparation": {
            "input_size": 32,
            "crop_from": 0,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
    }
    assert {name: stated[name] for name in expected} == expected
    seen = done.plan.folds[2].train | done.plan.folds[2].validation
    assert stated["seen"] == sorted(kept.patient_hash("bcdr_patches", name) for name in seen)
    assert not any(name in path.read_bytes().decode("latin-1") for name in seen)
    assert path.stat().st_size < 10_000


def test_features_may_be_kept_and_are_the_studys(heads):
    _, folder = heads
    models = retest.read_models([str(folder / "models/none.zoom1.fold2.seed0.draw0.safetensors")])
    patches, _ = retest.patches_of(models, EVERYTHING, NOWHERE)
    before = {path: path.stat().st_mtime_ns for path in (folder / "features").rglob("*.npz")}
    retest.retest(models, *zip(*patches, strict=True), features=folder / "features")
    after = {path: path.stat().st_mtime_ns for path in (folder / "features").rglob("*.npz")}
    assert after == before  # nothing had to be computed


def test_seen_patients_are_left_out_unless_asked_for(heads):
    done, folder = heads
    (folder / "models/._stray.safetensors").write_text("what macOS leaves")
    models = retest.read_models([str(folder / "models")])
    assert len(models) == 6
    with pytest.raises(StudyError, match="have seen all these patients in training; choose others"):
        retest.patches_of(models, EVERYTHING, NOWHERE)
    patches, left_out = retest.patches_of(models, EVERYTHING, NOWHERE, include_seen=True)
    assert (len(patches), left_out) == (len(done.plan.records), 0)
    patches, left_out = retest.patches_of(models[:1], EVERYTHING, NOWHERE)
    assert {record.patient_id for record, _ in patches} == done.plan.folds[0].test
    assert len(patches) + left_out == len(done.plan.records)
    other = dataclasses.replace(EVERYTHING, dataset="mias_patches")  # the same names, other people
    assert retest.patches_of(models, other, NOWHERE)[1] == 0


def test_what_cannot_be_tested_is_one_line(heads, monkeypatch):
    _, folder = heads
    models = retest.read_models([str(folder / "models/none.zoom1.fold0.seed0.draw0.safetensors")])
    wide = query.parse("bcdr_patches/g1:all")
    with pytest.raises(StudyError, match=r"take patches of 24 pixels; choose one of g1_24, g2_24"):
        retest.patches_of(models, wide, NOWHERE)
    healthy = [one for one in tiny_study.load() if one[0].classification == "Normal"]
    monkeypatch.setattr(data_pipeline.load, "load", lambda *_: healthy)
    with pytest.raises(StudyError, match="no patch of class Benign, Malign to test on"):
        retest.patches_of(models, EVERYTHING, NOWHERE)


def test_an_empty_query_is_one_line(heads, monkeypatch):
    _, folder = heads
    models = retest.read_models([str(folder / "models/none.zoom1.fold0.seed0.draw0.safetensors")])
    asked = query.parse("bcdr_patches/all_24:all[classification=Malign,zoom_group=0]")
    records = [record for record, _ in tiny_study.load()]
    monkeypatch.setattr(data_pipeline.load, "load", lambda _, wanted: query.select(records, wanted))
    with pytest.raises(DataError, match="has no patch with classification=Malign, zoom_group=0"):
        retest.patches_of(models, asked, NOWHERE)


def rewritten(path, out, **facts):
    """A copy of a model's file with other facts."""
    with safetensors.safe_open(path, "np") as file:
        stated = file.metadata() | {name: json.dumps(value) for name, value in facts.items()}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.numpy.save_file(tensors, out, stated)
    return out


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (
            {"classes": ["Healthy", "Suspicious", "?"]},
            r"another classes \(Healthy, Suspicious, \?;",
        ),
        ({"backbone_sha256": "0" * 64}, "another weights of the backbone than"),
        ({"patch_size": 64}, r"another size of patches \(64; there: 24\)"),
        (
            {"preparation": {"input_size": 64, "crop_from": 0}},
            "another preparation of images",
        ),
    ],
)
def test_unlike_models_make_no_ensemble(heads, tmp_path, facts, problem):
    path = heads[1] / "models/none.zoom1.fold0.seed0.draw0.safetensors"
    other = rewritten(path, tmp_path / "other.safetensors", **facts)
    with pytest.raises(StudyError, match=problem) as caught:
        retest.read_models([str(path), str(other)])
    assert str(other) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_backbone_is_refused(heads, tmp_path):
    path = heads[1] / "models/none.zoom1.fold0.seed0.draw0.safetensors"
    other = rewritten(path, tmp_path / "other.safetensors", study_seed=1)  # of its random weights
    with pytest.raises(StudyError, match=r"on features of other weights .* by `weights`"):
        kept.backbone_of(kept.read(other))
    wrong = rewritten(path, tmp_path / "wrong.safetensors", backbone="resnet18")
    with pytest.raises(StudyError, match="does not fit resnet18"):
        kept.read(wrong)


@pytest.mark.parametrize("damage", ["missing", "short", "flipped", "foreign", "newer"])
def test_a_damaged_file_is_named(heads, tmp_path, damage):
    content = (heads[1] / "models/none.zoom1.fold0.seed0.draw0.safetensors").read_bytes()
    path, problem = tmp_path / "x.safetensors", "damaged"
    if damage == "short":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
    elif damage == "foreign":
        safetensors.numpy.save_file({"conv1.weight": np.zeros(3)}, path)
        problem = "no kept classifier"
    elif damage == "newer":
        path.write_bytes(content)
        rewritten(path, path, version=2, made_by="singan-jax 9")
        problem = "made by singan-jax 9, which is newer"
    else:
        problem = "no such file"
    with pytest.raises(StudyError, match=rf"x\.safetensors: {problem}") as caught:
        retest.read_models([str(path)])
    assert "\n" not in str(caught.value)


def test_patterns_that_name_nothing_are_refused(tmp_path):
    for pattern in (tmp_path, tmp_path / "*.safetensors"):
        with pytest.raises(StudyError, match="no kept classifier there"):
            retest.read_models([str(pattern)])


def test_images_become_patches(tmp_path):
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 256, (24, 24, 1), np.uint8)
    write_png(tmp_path / "as_it_is.png", patch)
    write_png(tmp_path / "deep.png", patch.astype(np.uint16) * 257)
    write_png(tmp_path / "colour.png", patch.repeat(3, axis=2))
    write_png(tmp_path / "large.png", patch.repeat(2, axis=0).repeat(2, axis=1))
    write_png(tmp_path / "one_colour.png", np.full((5, 9, 1), 7, np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found, errors = retest.read_patches([str(tmp_path)], 24)
    (error,) = errors
    assert "damaged.png" in str(error)
    by_name = {pathlib.Path(path).stem: pixels for path, pixels in found.items()}
    for name in ("as_it_is", "deep", "colour", "large"):
        np.testing.assert_array_equal(by_name[name], patch)
    assert (by_name["one_colour"] == 7).all()
    red = np.zeros((24, 24, 3), np.uint8)
    red[..., 0] = 200
    assert (retest.to_patch(red, 24) == 60).all()  # 0.299 of it
