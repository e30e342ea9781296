"""Studies of other fill zooms, sources and protocols; and folders of earlier versions."""

import dataclasses
import json
import pathlib

import numpy as np
import patients
import PIL.Image
import pytest
import tiny_study

import data_pipeline.load
from classify import study
from classify.cells import StudyError
from classify.classifiers import predict
from classify.plan import protocol, synthetic
from classify.plan.config import StudyConfig
from classify.report import study_report
from data_pipeline import builders, splits

RECORDS = patients.dataset(benign=12, malign=10, normal=10, zooms=(1, 2))
PIXELS = patients.pixels(RECORDS)
COPIES = {"regimes": ("weighted", "oversample-2"), "seeds": 1, "epochs": 1, "folds": 2}
SINGAN = {**COPIES, "regimes": ("weighted", "oversample-1", "singan-1")}


@pytest.fixture
def two_zooms(monkeypatch):
    """A made-up dataset of two zooms in place of a prepared one."""
    monkeypatch.setattr(tiny_study, "load", lambda *_: list(zip(RECORDS, PIXELS, strict=True)))
    given = splits.paper_splits(RECORDS, builders.SPLIT_SEED)
    monkeypatch.setattr(data_pipeline.load, "paper_splits", lambda *_: given)
    return monkeypatch


def cell_files(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.npz")}


def read_settings(folder):
    return json.loads((folder / "study.json").read_text())


def test_fill_zooms_are_added_to_a_grid_whose_files_stay(tmp_path, two_zooms):
    tiny_study.run(tmp_path, two_zooms, **COPIES)
    before = cell_files(tmp_path)
    assert set(before) == {
        f"{regime}.zoom1.fold{fold}.seed0.draw0.npz"
        for regime in COPIES["regimes"]
        for fold in range(2)
    }
    plan, done = tiny_study.run(tmp_path, two_zooms, **COPIES, fill_zooms=("1", "2"))
    after = cell_files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {
        f"oversample-2.zoom1.fill2.fold{fold}.seed0.draw0.npz" for fold in range(2)
    }
    table = (tmp_path / "plan.csv").read_text().splitlines()
    assert table[0].startswith("regime,train zoom,fill zoom,real patches")
    assert [line.split(",")[:3] for line in table[1:]] == [
        *(["weighted", "1", ""], ["oversample-2", "1", "1"], ["oversample-2", "1", "2"]),
    ]
    assert list(done.comparisons["fill_zoom"].unique()) == ["1", "2"]
    assert "oversample-2          1         2" in study.describe(plan, done.backbone, True)


def write_samples(folder, plan):
    """Made-up samples of all generators that a plan wants, as `sample_fleet` writes them."""
    patient = {record.patch_id: record.patient_id for record in RECORDS}
    rng = np.random.default_rng(0)
    lines = []
    folder.mkdir()
    for name, count in plan.wanted.items():
        for index in range(count):
            file = f"{name}.{index}.png"
            pixels = rng.integers(0, 256, (24, 24), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / file)
            lines.append({"file": file, "member": name, "index": index, "patient": patient[name]})
    (folder / synthetic.MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_generators_are_of_the_fill_zoom_and_given_samples_too(tmp_path, two_zooms):
    two_zooms.setattr(data_pipeline.load, "load", tiny_study.load)
    config = StudyConfig(**{**tiny_study.CHANGES, **SINGAN, "fill_zooms": ("2",)})
    nowhere = pathlib.Path("nowhere")
    plan, backbone = study.prepare(config, tiny_study.SINGAN, nowhere)
    assert plan.wanted
    assert all(name.endswith("_g2") for name in plan.wanted)
    by_id = {record.patch_id: n for n, record in enumerate(RECORDS)}
    for image in plan.sources():
        assert (image.pixels == PIXELS[by_id[image.name]]).all()
        assert image.provenance["zoom_group"] == "2"

    samples = write_samples(tmp_path / "samples", plan)
    given, _ = study.prepare(config, tiny_study.SINGAN, nowhere, samples)
    assert set(given.wanted) <= set(plan.wanted)
    done = study.run(given, backbone, tmp_path / "study", samples)
    pool = predict.make_pool(given, done.samples)
    for cell, chosen in given.sets.items():
        control = given.sets[cell._replace(regime="oversample-1")] if chosen.sources else chosen
        assert chosen.sources == control.sources
        rows = predict.train_set(given, pool, cell).train
        zooms = {RECORDS[row].zoom_group for row in rows if row < len(RECORDS)}
        assert zooms == ({0, 1, 2} if cell.regime == "oversample-1" else {0, 1})
    page = tmp_path / "report.html"
    study_report.write(page, done, tmp_path / "study")
    assert "filled up at zoom 2, trained on zoom 1, tested on zoom 1" in page.read_text()

    other = dataclasses.replace(config, fill_zooms=("1",))
    with pytest.raises(StudyError, match="0 malignant training patches of zoom 1 to choose from"):
        study.prepare(other, tiny_study.SINGAN, nowhere, samples)


def test_a_fill_zoom_that_is_not_there_is_refused_before_anything(tmp_path, two_zooms):
    with pytest.raises(StudyError, match="`fill_zooms`=3: the dataset has no malignant patch of z"):
        tiny_study.run(tmp_path / "x", two_zooms, **COPIES, fill_zooms=("1", "3"))
    assert not (tmp_path / "x").exists()


def test_listed_sources_decide_and_need_a_folder_of_their_own(tmp_path, two_zooms):
    folds = protocol.partitions(RECORDS, "cross-validation", 2, 0, None, ("", ""))
    trained = sorted(frozenset().union(*(fold.train for fold in folds)), reverse=True)
    names = tuple(f"{patient}_1_g1" for patient in trained if patient.startswith("malign"))
    assert len(names) > 2
    plan, _ = tiny_study.run(tmp_path, two_zooms, **COPIES, sources=names)
    for cell, chosen in plan.sets.items():
        there = [n for n in names if n.split("_1_g1")[0] in plan.folds[cell.fold].train]
        assert chosen.sources == (tuple(there[:2]) if cell.regime == "oversample-2" else ())
    with pytest.raises(StudyError, match=r"study.sources malign\d_F01_1_g1,.* there, random h"):
        tiny_study.run(tmp_path, two_zooms, **COPIES)


def test_a_study_by_the_thesis_tests_each_fold_on_patients_of_its_own(tmp_path, two_zooms):
    changes = {**COPIES, "protocol": "thesis", "folds": 4}
    plan, done = tiny_study.run(tmp_path, two_zooms, **changes)
    assert len({fold.test for fold in plan.folds}) > 1
    for one in done.results.predictions:
        tested = {done.results.records[row].patient_id for row in one.rows}
        assert tested == plan.folds[one.cell.fold].test
    assert set(done.summary["replicates"]) == {4}
    assert not done.summary.query("metric == 'accuracy'")["sd_folds"].isna().any()
    before = cell_files(tmp_path)
    tiny_study.run(tmp_path, two_zooms, **changes | {"folds": 5})
    after = cell_files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    page = tmp_path / "report.html"
    study_report.write(page, done, tmp_path)
    assert "drawn anew for each fold" in page.read_text()


def as_of_before(folder, **changes):
    """Makes study.json what earlier versions wrote."""
    content = read_settings(folder)
    del content["format"], content["decides"]["study.sources"]
    content["decides"] |= {"study.folds": 5, **changes}
    (folder / "study.json").write_text(json.dumps(content))


def test_a_folder_of_an_earlier_version_goes_on(tmp_path, two_zooms):
    tiny_study.run(tmp_path, two_zooms, **COPIES | {"folds": 5})
    before = cell_files(tmp_path)
    as_of_before(tmp_path)
    tiny_study.run(tmp_path, two_zooms, **COPIES | {"folds": 0})
    assert cell_files(tmp_path) == before
    as_of_before(tmp_path)
    with pytest.raises(StudyError, match=r"\(study.folds 5 there, 4 here\)"):
        tiny_study.run(tmp_path, two_zooms, **COPIES | {"folds": 4})


def test_what_was_called_thesis_goes_on_as_paper_and_never_as_thesis(tmp_path, two_zooms):
    changes = {**COPIES, "protocol": "paper", "folds": 0}
    tiny_study.run(tmp_path, two_zooms, **changes)
    before = cell_files(tmp_path)
    assert len(before) == 2 * 3
    as_of_before(tmp_path, **{"study.protocol": "thesis"})
    with pytest.raises(
        StudyError, match=r"`protocol`=paper \(in earlier versions thesis"
    ) as caught:
        tiny_study.run(tmp_path, two_zooms, **changes | {"protocol": "thesis"})
    assert "\n" not in str(caught.value)
    _, done = tiny_study.run(tmp_path, two_zooms, **changes)
    assert cell_files(tmp_path) == before
    assert read_settings(tmp_path)["decides"]["study.protocol"] == "paper"
    assert np.isfinite(done.summary.query("metric == 'accuracy'")["sd_folds"]).all()
    with pytest.raises(StudyError, match="which is `protocol`=paper"):
        tiny_study.run(tmp_path, two_zooms, **changes | {"protocol": "thesis"})


def test_the_defaults_are_three_folds_of_the_paper_and_five_of_a_cross_validation():
    assert (StudyConfig().protocol, StudyConfig().num_folds) == ("paper", 3)
    assert StudyConfig(protocol="cross-validation").num_folds == 5
    assert StudyConfig(protocol="thesis", folds=10).num_folds == 10
