"""Whole studies: what they write, how they resume, what they refuse."""

import dataclasses
import json
import pathlib
import shutil
import types

import numpy as np
import pytest
import tiny_study

import data_pipeline.load
from classify import study
from classify.cells import StudyError
from classify.classifiers import predict
from classify.plan import synthetic
from classify.plan.config import StudyConfig
from classify.plan.protocol import LeakError
from classify.report import study_report
from launch import image_source

TABLES = ("plan", "summary", "comparisons", "subgroups", "splits", "misclassified")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study and its folder."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        _, done = tiny_study.run(folder, patch)
    return done, folder


def cell_files(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.npz")}


def test_every_cell_is_trained_and_every_patient_tested(finished):
    done, folder = finished
    assert len(done.results.predictions) == 3 * 3 * 2  # regimes, folds, seeds
    assert len(cell_files(folder)) == 18
    for regime in done.results.regimes:
        for seed in range(2):
            rows = [
                prediction.rows
                for prediction in done.results.predictions
                if (prediction.cell.regime, prediction.cell.seed) == (regime, seed)
            ]
            assert sorted(np.concatenate(rows)) == list(range(len(done.plan.records)))
    for prediction in done.results.predictions:
        fold = done.plan.folds[prediction.cell.fold]
        tested = {done.results.records[row].patient_id for row in prediction.rows}
        assert tested == fold.test
        assert prediction.curves.shape == (3, 2)
        for probabilities in prediction.probabilities.values():
            assert probabilities.shape == (len(prediction.rows), 3)
            np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_generators_are_trained_once_and_only_on_sources(finished):
    done, folder = finished
    fleet = study.singan_jax.load_fleet(folder / "fleet")
    assert {member.name for member in fleet.members} == set(done.plan.wanted)
    by_id = {record.patch_id: record for record in done.plan.records}
    assert all(by_id[name].classification == "Malign" for name in done.plan.wanted)
    assert set(done.samples) == {
        (name, k) for name, count in done.plan.wanted.items() for k in range(count)
    }


def test_generators_know_where_their_patches_are(finished, tmp_path, monkeypatch):
    """So their samples are measured without naming patches."""
    done, folder = finished
    fleet = study.singan_jax.load_fleet(folder / "fleet")
    for member in fleet.members:
        assert member.provenance["data_dir"] == str(pathlib.Path("nowhere").absolute())
    monkeypatch.setattr(
        data_pipeline.load,
        "load",
        lambda data_dir, wanted: tiny_study.load() if data_dir == tmp_path else [],
    )
    images = image_source.training_images(fleet, fleet.members, data_dir=str(tmp_path))
    pixels = {r.patch_id: x for r, x in zip(done.plan.records, done.plan.pixels, strict=True)}
    assert images.keys() == set(done.plan.wanted)
    for name, image in images.items():
        np.testing.assert_array_equal(image.pixels, pixels[name])


def test_synthetic_patches_are_malignant_and_of_training_patients(finished):
    done, _ = finished
    pool = predict.make_pool(done.plan, done.samples)
    patient = {record.patch_id: record.patient_id for record in done.plan.records}
    count = len(done.plan.records)
    some = 0
    for cell in done.plan.sets:
        rows = predict.train_set(done.plan, pool, cell).train
        added = [row for row in rows if row >= count]
        some += len(added)
        places = {place: key for key, place in pool.synthetic.items()}
        for row in added:
            assert pool.labels[row] == 2
            assert patient[places[row][0]] in done.plan.folds[cell.fold].train
    assert some > 0


def test_a_leak_is_refused_where_training_sets_are_made(finished):
    done, _ = finished
    pool = predict.make_pool(done.plan, done.samples)
    cell = next(c for c, chosen in done.plan.sets.items() if chosen.synthetic)
    outsider = min(done.plan.folds[cell.fold].test)
    chosen = done.plan.sets[cell]
    leaking = chosen._replace(synthetic=(chosen.synthetic[0]._replace(patient=outsider),))
    done.plan.sets[cell] = leaking
    try:
        with pytest.raises(LeakError, match=f"patient '{outsider}' is not a training patient"):
            predict.train_set(done.plan, pool, cell)
    finally:
        done.plan.sets[cell] = chosen


def test_the_weighted_regime_alone_is_weighted(finished):
    done, _ = finished
    pool = predict.make_pool(done.plan, done.samples)
    for cell in done.plan.sets:
        weights = predict.train_set(done.plan, pool, cell).weights
        assert (weights is not None) == (cell.regime == "weighted")


def test_the_same_again_trains_nothing_and_gives_the_same(finished, monkeypatch):
    done, folder = finished
    before = cell_files(folder)
    _, again = tiny_study.run(folder, monkeypatch)
    assert cell_files(folder) == before
    assert again.summary.equals(done.summary)
    assert again.comparisons.equals(done.comparisons)


def test_what_is_missing_is_trained_to_the_same_result(finished, monkeypatch):
    _, folder = finished
    lost = sorted((folder / "cells").glob("singan-2.*"))[0]
    with np.load(lost) as file:
        before = {name: file[name] for name in file.files}
    lost.unlink()
    tiny_study.run(folder, monkeypatch)
    with np.load(lost) as file:
        for name, value in before.items():
            np.testing.assert_allclose(file[name], value, atol=1e-5)


def test_the_grid_can_grow(finished, monkeypatch):
    _, folder = finished
    before = cell_files(folder)
    plan, _ = tiny_study.run(folder, monkeypatch, seeds=3, regimes=("weighted", "none"))
    after = cell_files(folder)
    assert {name: after[name] for name in before} == before
    assert len(after) == 18 + 3 + 9  # the third seed of weighted, and all of none
    assert len(plan.sets) == 18


def test_other_settings_are_refused(finished, monkeypatch):
    _, folder = finished
    with pytest.raises(StudyError, match=r"holds another study \(study.epochs 3 there, 4 here\)"):
        tiny_study.run(folder, monkeypatch, epochs=4)


def as_of_an_earlier_version(finished, folder):
    """Copies a study as it was before models, measures, crops and backbone auto."""
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "samples")  # which name the folder of their fleet; they are drawn again
    for path in (folder / "models").iterdir():
        path.unlink()
    for path in (folder / "cells").iterdir():
        with np.load(path) as file:
            kept = {name: file[name] for name in file.files if name not in ("confusion", "roc_auc")}
        np.savez(path, **kept)
    page = json.loads((folder / "study.json").read_text())
    for name in ("crop_from", "keep_models"):
        page["decides"].pop(f"study.{name}", None)
    page["decides"]["study.weights"] = ""
    (folder / "study.json").write_text(json.dumps(page))


def test_a_folder_of_an_earlier_version_goes_on(finished, tmp_path, monkeypatch, capsys):
    done, folder = finished
    old = tmp_path / "old"
    as_of_an_earlier_version(folder, old)
    before = cell_files(old)
    _, again = tiny_study.run(old, monkeypatch)
    assert cell_files(old) == before
    assert again.summary.equals(done.summary)
    assert {prediction.measures for prediction in again.results.predictions} == {None}
    said = capsys.readouterr().out
    assert "18 classifiers have predictions but no file in models/" in said
    assert list((old / "models").iterdir()) == []
    _, grown = tiny_study.run(old, monkeypatch, regimes=("weighted",), seeds=4)
    # A test before this one may have added a seed to the finished study.
    begun = {int(name.split(".seed")[1].split(".")[0]) for name in before}
    assert len(list((old / "models").iterdir())) == 3 * len(set(range(4)) - begun)
    new = {p.cell.seed for p in grown.results.predictions if p.measures is not None}
    assert new == set(range(4)) - begun
    study_report.write(tmp_path / "report.html", grown, old)


def test_backbone_auto_goes_on_with_what_the_folder_was_begun_with(finished, tmp_path, monkeypatch):
    _, folder = finished
    old = tmp_path / "old"
    as_of_an_earlier_version(folder, old)
    monkeypatch.setattr(data_pipeline.load, "load", tiny_study.load)
    config = StudyConfig(**{**tiny_study.CHANGES, "backbone": "auto"})
    plan, backbone = study.prepare(config, tiny_study.SINGAN, pathlib.Path("x"), folder=old)
    assert backbone.name == "resnet_small"
    text = study.describe(plan, backbone, train_generators=True)
    assert text.startswith("Backbone: resnet_small, random weights of seed 0 (auto: the work fold")
    study.run(plan, backbone, old)  # is not another study


def test_models_are_kept_unless_they_are_not_wanted(finished, tmp_path, monkeypatch):
    _, folder = finished
    kept = {path.stem for path in (folder / "models").iterdir()}
    assert kept == {path.stem for path in (folder / "cells").iterdir()}
    changes = {"regimes": ("weighted",), "seeds": 1, "epochs": 1}
    tiny_study.run(tmp_path, monkeypatch, keep_models=False, **changes)
    assert not (tmp_path / "models").exists()
    tiny_study.run(tmp_path, monkeypatch, **changes)  # no other study for all that


def test_a_study_of_an_earlier_version_goes_on(tmp_path):
    config = StudyConfig(**tiny_study.CHANGES)
    plan = types.SimpleNamespace(records=(), config=config, singan=tiny_study.SINGAN)
    backbone = types.SimpleNamespace(digest="0", name="resnet_small")
    study._claim(tmp_path, plan, backbone, None)
    path = tmp_path / "study.json"
    content = json.loads(path.read_text())
    for name in ("config.stretch", "config.pyramid_rule"):
        del content["decides"][name]
    path.write_text(json.dumps(content))
    plan.singan = dataclasses.replace(tiny_study.SINGAN, stretch="42x28")
    with pytest.raises(StudyError, match="stretch  there, 42x28 here"):
        study._claim(tmp_path, plan, backbone, None)
    plan.singan = tiny_study.SINGAN
    study._claim(tmp_path, plan, backbone, None)


def test_a_damaged_prediction_is_named(finished, monkeypatch):
    _, folder = finished
    path = sorted((folder / "cells").glob("weighted.*"))[0]
    content = path.read_bytes()
    path.write_bytes(content[:100])
    try:
        with pytest.raises(StudyError, match=f"{path.name}: is damaged"):
            tiny_study.run(folder, monkeypatch)
    finally:
        path.write_bytes(content)


def test_too_many_generators_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="singan-50: asks for 50 source images"):
        tiny_study.run(tmp_path / "x", monkeypatch, regimes=("weighted", "singan-50"))
    assert not (tmp_path / "x").exists()


def test_a_patch_too_small_for_the_pyramid_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_study, "SINGAN", study.singan_jax.Config(min_size=25))
    with pytest.raises(StudyError, match=r"lower `config\.min_size`"):
        tiny_study.run(tmp_path / "x", monkeypatch)
    assert not (tmp_path / "x").exists()


def test_networks_are_trained_too(tmp_path, monkeypatch):
    changes = {"regimes": ("weighted",), "seeds": 1, "epochs": 1, "lr": 1e-3}
    _, done = tiny_study.run(tmp_path, monkeypatch, train="all", **changes)
    assert len(done.results.predictions) == 3
    assert not (tmp_path / "features").exists()


def test_tables_and_report_are_written(finished, tmp_path):
    done, folder = finished
    for name in TABLES:
        assert (folder / f"{name}.csv").read_text().count("\n") > 1
    page = tmp_path / "report.html"
    study_report.write(page, done, folder)
    text = page.read_text()
    assert "singan-2" in text
    for words in done.plan.config.protocol, "lr_decay_epochs", "scikit-learn":
        assert words in text
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    assert set(runs[0]["seconds"]) >= {"training generators", "features and classifiers"}


def test_the_cost_is_told_before(finished):
    done, _ = finished
    text = study.describe(done.plan, done.backbone, train_generators=True)
    assert f"{len(done.plan.wanted)} generators, 2 iterations a scale" in text
    assert "18 classifiers, 3 epochs" in text


def test_given_samples_take_the_place_of_generators(finished, tmp_path, monkeypatch):
    done, folder = finished
    monkeypatch.setattr(data_pipeline.load, "load", tiny_study.load)
    config = done.plan.config
    samples = folder / "samples"
    plan, backbone = study.prepare(config, tiny_study.SINGAN, pathlib.Path("nowhere"), samples)
    again = study.run(plan, backbone, tmp_path, samples)
    assert not (tmp_path / "fleet").exists()
    usable = {str(row["member"]) for _, row in synthetic.rows(samples)}
    assert {source for chosen in plan.sets.values() for source in chosen.sources} >= usable
    assert again.samples.keys() >= {(name, 0) for name in plan.wanted}
