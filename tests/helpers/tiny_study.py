"""A study small enough for a test; as a script, runs one in a process of its own."""

import pathlib

import numpy as np
import patients
import tiny

import data_pipeline.load
import singan_jax
from classify import study
from classify.plan.config import StudyConfig
from classify.plan.plan import Plan

SINGAN = singan_jax.Config(**{**tiny.CHANGES, "steps_per_scale": 2})
CHANGES = {
    "patch_size": 24,
    "protocol": "cross-validation",
    "folds": 3,
    "regimes": ("weighted", "oversample-2", "singan-2"),
    "seeds": 2,
    "backbone": "resnet_small",
    "input_size": 32,
    "epochs": 3,
    "bootstrap": 100,
}


def dataset():
    """Records, and pixels in which malignant patches are brighter than others."""
    records = patients.dataset(benign=9, malign=6, normal=6, zooms=(1,))
    pixels = patients.pixels(records)
    bright = [40 * (record.classification == "Malign") for record in records]
    return records, tuple(
        (image // 2 + 40 + more).astype(np.uint8)
        for image, more in zip(pixels, bright, strict=True)
    )


def load(*_):
    """In place of `data_pipeline.load.load`."""
    return list(zip(*dataset(), strict=True))


def run(folder, monkeypatch, **changes) -> tuple[Plan, study.Study]:
    """Plans and runs, with the made-up dataset in place of a prepared one."""
    monkeypatch.setattr(data_pipeline.load, "load", load)
    plan, backbone = study.prepare(
        StudyConfig(**{**CHANGES, **changes}), SINGAN, pathlib.Path("nowhere")
    )
    return plan, study.run(plan, backbone, pathlib.Path(folder))
