"""Plans of studies on prepared datasets."""

import json

import numpy as np
import PIL.Image
import pytest
import tiny_study

from classify.cells import StudyError
from classify.plan import plan
from classify.plan.config import GRID, StudyConfig, validate
from classify.plan.protocol import LeakError
from data_pipeline import builders, load, thesis_patches

SIDE = 24
LOAD = load.load


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A dataset of a folder as the thesis' scripts write it: four patients of each class."""
    raw = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(24):
        kind = ("Normal", "Benign", "Malign")[number // 2 % 3]
        zooms = (0,) if kind == "Normal" else (1, 2, 3)
        for zoom in zooms:
            name = f"{len(lines)}.png"
            PIL.Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(raw / name)
            lines.append(
                {
                    "file_name": name,
                    "patient_id": f"{number // 2}_F01",
                    "image_view": 1 + number % 2,
                    "Format": "Film",
                    "classification": kind,
                    "age": 50,
                    "density": 2,
                    "zoom_group": zoom,
                    "suspicious": int(zoom > 0),
                    "calcification": 0,
                    "nodule": int(zoom > 0),
                }
            )
    (raw / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data_dir = tmp_path_factory.mktemp("data")
    builders.prepare(thesis_patches.Builder, raw, data_dir, SIDE, workers=1, progress=False)
    return data_dir


def test_a_study_of_patches_that_the_thesis_made(data_dir):
    config = StudyConfig(**{**tiny_study.CHANGES, "dataset": "thesis_patches", "seeds": 1})
    made = plan.make(config, tiny_study.SINGAN, data_dir)
    assert made.dataset == ("thesis_patches", f"all_{SIDE}")
    assert len(made.records) == 8 + 2 * 8 * 3
    assert len(made.folds) == 3
    assert sum(made.wanted.values()) > 0
    for source in made.sources():
        assert source.pixels.shape == (SIDE, SIDE, 1)


def with_a_copy(data_dir, wanted):
    """In place of `load.load`: a lesion's patch is that of another patient too."""
    patches = LOAD(data_dir, wanted)
    lesions = [record for record, _ in patches if record.zoom_group == 1]
    other = next(record for record in lesions if record.patient_id != lesions[0].patient_id)
    copied = next(pixels for record, pixels in patches if record is lesions[0])
    return [(record, copied if record is other else pixels) for record, pixels in patches]


def test_the_same_patch_of_two_patients_is_refused_unless_allowed(data_dir, monkeypatch):
    monkeypatch.setattr(load, "load", with_a_copy)
    changes = {**tiny_study.CHANGES, "dataset": "thesis_patches", "seeds": 1}
    with pytest.raises(LeakError, match="have the same pixels: a leak"):
        plan.make(StudyConfig(**changes), tiny_study.SINGAN, data_dir)
    made = plan.make(StudyConfig(**changes, allow_duplicates=True), tiny_study.SINGAN, data_dir)
    assert made.config.to_dict()["allow_duplicates"] is True
    assert "allow_duplicates" in GRID  # so that old folders go on, and with either


def test_every_dataset_that_can_be_loaded_can_be_studied():
    for name in load.BUILDERS:
        assert validate(StudyConfig(dataset=name)).dataset == name
    with pytest.raises(StudyError, match="bcdr_patches, mias_patches, thesis_patches"):
        validate(StudyConfig(dataset="photographs"))
