"""Simulated results of a study, for tests that train nothing."""

import zlib

import numpy as np
from make_record import record

from classify.cells import (
    CLASSES,
    Cell,
    Prediction,
    Results,
    ensemble_members,
    fill_zoom_of,
    fill_zooms_at,
    label_of,
)

EPOCHS = 8
PATIENT_SHARE, MODEL_SHARE = 0.2, 0.3  # of the noise's variance; the rest is the patch's


def make_results(
    task="three-class",
    shared_test=True,
    regimes=("weighted", "oversample-4", "singan-4"),
    gain=None,
    seed=0,
    patients=60,
    train_zooms=("1",),
    test_zooms=("1",),
    folds=3,
    seeds=2,
    draws=2,
    separability=1.0,
    fill_zooms=("same",),
    redrawn_test=False,
):
    """Results of a made-up study; the first regime is the baseline.

    Evidence for each class is normal with variance 1, about d for the true class and about 0 for
    others, where d is `separability` plus the regime's `gain`, less 0.4 for a lesion of a zoom
    that was not trained on. Probabilities are the posterior given the evidence, so they are
    calibrated; for two classes the true ROC-AUC is Phi(d).

    `draws` is for regimes that choose source images, those that end in a number. A fill zoom that
    is not the train zoom costs 0.2 of d.
    """
    records = study_records(patients)
    labels, n_classes = np.array([label_of(r, task) for r in records]), len(CLASSES[task])
    patient = np.unique([entry.patient_id for entry in records], return_inverse=True)[1]
    noise = shared_noise(seed, patient, n_classes)

    def predict(cell):
        d = separability + (gain or {}).get(cell.regime, 0)
        unseen = [e.zoom_group and str(e.zoom_group) not in cell.train_zoom for e in records]
        d = d - 0.4 * np.array(unseen, bool)[:, None] - 0.2 * bool(cell.fill_zoom)
        rows = np.flatnonzero(shared_test | (patient % folds == cell.fold))
        rows = redrawn(records, seed, cell.fold) if redrawn_test else rows
        own = np.random.default_rng([seed, 1, zlib.crc32(text_of(cell).encode())])
        signal = d * np.eye(n_classes)[labels] + noise
        probabilities = {}
        for variant in ("plain", "cropped"):
            evidence = signal + np.sqrt(MODEL_SHARE) * own.normal(size=noise.shape)
            probabilities[variant] = posterior(labels, d, evidence)[rows]
        curves = learning_curves(own)
        return Prediction(cell, rows, probabilities, curves, int(curves[:, 1].argmin()))

    cells = all_cells(regimes, train_zooms, folds, seeds, draws, fill_zooms)
    return Results(
        task=task,
        shared_test=shared_test and not redrawn_test,
        records=records,
        labels=labels,
        baseline=regimes[0],
        regimes=tuple(regimes),
        train_zooms=tuple(train_zooms),
        test_zooms=tuple(test_zooms),
        predictions=tuple(map(predict, cells)),
        redrawn_test=redrawn_test,
        fill_zooms=tuple(fill_zooms),
    )


def shared_noise(seed, patient, n_classes):
    """That of patients and of patches, the same for all models: (patches, classes)."""
    rng = np.random.default_rng([seed, 0])
    noise = np.sqrt(PATIENT_SHARE) * rng.normal(size=(patient.max() + 1, n_classes))[patient]
    return noise + np.sqrt(1 - PATIENT_SHARE - MODEL_SHARE) * rng.normal(size=noise.shape)


def redrawn(records, seed, fold):
    """Places of the patches of four in ten patients of each worst class; others in each fold."""
    number = np.array([int(entry.patient_id.split("_")[0]) for entry in records])
    turn = np.random.default_rng([seed, 2, fold]).permutation(number.max() // 3 + 1)
    return np.flatnonzero(turn[number // 3] % 5 < 2)


def posterior(labels, d, evidence):
    priors = np.bincount(labels, minlength=evidence.shape[1]) / len(labels)
    odds = priors * np.exp(d * evidence)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def text_of(cell):
    """Of a cell without a fill zoom of its own the text that seeds were made from at first."""
    fields = {name: value for name, value in cell._asdict().items() if value != ""}
    return f"Cell({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def learning_curves(rng):
    curves = np.exp(-np.arange(EPOCHS)[:, None] / 3) * [1, 0.8] + [0.1, 0.3]
    return (curves + 0.02 * rng.random((EPOCHS, 2))).astype(np.float32)


def all_cells(regimes, train_zooms, folds, seeds, draws, fill_zooms=("same",)):
    return [
        Cell(regime, zoom, fold, number, draw, fill)
        for regime in regimes
        if not ensemble_members(regime)
        for zoom in train_zooms
        for fill in dict.fromkeys(
            fill_zoom_of(regime, zoom, fill) for fill in fill_zooms_at(zoom, fill_zooms)
        )
        for fold in range(folds)
        for number in range(seeds)
        for draw in range(draws if regime[-1].isdecimal() else 1)
    ]


def study_records(patients):
    """Two normal patches of each patient; two in three have a lesion too, in each zoom group."""
    records = []
    for number in range(patients):
        common = {
            "patient": f"{number}_F01",
            "image_id": f"img_{number}",
            "density": (1, 2, 3, 4, None)[number % 5],
            "view": ("CC", "MLO")[number % 2],
            "laterality": ("R", "L")[number // 3 % 2],
            "format": ("Film", "Digital")[number // 2 % 2],
        }
        records += [record(**common, number=k, classification="Normal") for k in (10, 11)]
        worst = ("Normal", "Benign", "Malign")[number % 3]
        if worst != "Normal":
            findings = ("microcalcification",) if number % 4 < 2 else ("nodule",)
            records += [
                record(**common, number=zoom, classification=worst, zoom_group=zoom,
                       findings=findings)
                for zoom in (1, 2, 3)
            ]  # fmt: skip
    return tuple(records)
