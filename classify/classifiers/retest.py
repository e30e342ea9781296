"""Kept classifiers, and ensembles of them, on other patches than those of their study."""

import glob
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from classify import cells, crops
from classify.cells import Cell, Prediction, Results, StudyError
from classify.classifiers import kept
from classify.classifiers.features import FeatureCache
from classify.classifiers.kept import KeptModel
from data_pipeline import builders, load, patches
from data_pipeline.patch_records import PatchRecord
from data_pipeline.query import Query
from singan_jax.errors import ImageError
from singan_jax.images.read import find_images, read_pixels

MODEL = "model"  # the regime that stands for each of the models
ENSEMBLE = f"ensemble:{MODEL}"  # the average of all of them


def read_models(patterns: Sequence[str]) -> list[KeptModel]:
    """Reads the classifiers that patterns name.

    Args:
      patterns: each a file, a folder or a glob.

    Returns:
      At least one, each file once, of one task, backbone and size of patches.

    Raises:
      StudyError: a pattern names nothing, a file cannot be used, or they do not go together.
    """
    paths: dict[pathlib.Path, None] = {}
    for pattern in patterns:
        path = pathlib.Path(pattern)
        if path.is_dir():
            there = sorted(path.glob("*.safetensors"))
            found = [path for path in there if not path.name.startswith(".")]  # as globs do
        elif glob.has_magic(pattern) and not path.exists():
            found = sorted(map(pathlib.Path, glob.glob(pattern, recursive=True)))
        else:
            found = [path]
        if not found:
            raise StudyError(f"{pattern}: no kept classifier there; name a study's models/")
        paths |= dict.fromkeys(found)
    models = [kept.read(path) for path in paths]
    for other in models[1:]:
        _check_alike(models[0], other)
    return models


def _check_alike(one: KeptModel, other: KeptModel) -> None:
    for name, words in {
        "classes": "classes",
        "backbone": "backbone",
        "preparation": "preparation of images",
        "backbone_sha256": "weights of the backbone",
        "patch_size": "size of patches",
    }.items():
        values = [getattr(model.facts, name) for model in (one, other)]
        if values[0] != values[1]:
            shown = [", ".join(v) if name == "classes" else str(v) for v in values]
            detail = "" if "sha256" in name else f" ({shown[1]}; there: {shown[0]})"
            raise StudyError(
                f"{other.path}: has another {words}{detail} than {one.path}; test them one by one"
            )


def predict(
    models: Sequence[KeptModel],
    pixels: Sequence[np.ndarray],
    names: Sequence[str],
    weights: str = "",
    features: pathlib.Path | None = None,
) -> np.ndarray:
    """What each model says of patches.

    Args:
      models: see `read_models`.
      pixels: (H, W, 1) uint8 of each patch.
      names: of the patches, for messages.
      weights: see `kept.backbone_of`.
      features: folder where features are kept for the next time; nowhere where None.

    Returns:
      (models, n, classes) float32; an ensemble is the mean over the models.

    Raises:
      StudyError: see `kept.backbone_of`, or a feature is not finite.
    """
    shared = None  # by all heads: `read_models` has checked that
    found = []
    for model in models:
        vectors = shared
        if model.variables is not None or vectors is None:
            cache = FeatureCache(features, kept.backbone_of(model, weights))
            vectors = cache.get(pixels, names, progress=True)
        if model.variables is None:
            shared = vectors
        found.append(model.probabilities(vectors))
    return np.stack(found)


def patches_of(
    models: Sequence[KeptModel], wanted: Query, data_dir: pathlib.Path, include_seen: bool = False
) -> tuple[list[tuple[PatchRecord, np.ndarray]], int]:
    """The patches of a query that models can be tested on.

    Args:
      models: see `read_models`.
      wanted: the query.
      data_dir: where its dataset was prepared.
      include_seen: whether to keep patches of patients that a model was trained or validated on.

    Returns:
      Records and (H, W, 1) uint8 pixels, and the number of patches left out, whose patients a model
      has seen.

    Raises:
      StudyError: the patches are of another size than those of the training, a class has none, or
        a model has seen all patients.
      DataError: the query selects nothing, or its dataset is not there.
    """
    facts, place = models[0].facts, f"{wanted.dataset}/{wanted.config}:{wanted.split}"
    if builders.config_named(wanted.config).size != facts.patch_size:
        names = ", ".join(builders.config_names(facts.patch_size))
        raise StudyError(
            f"{place}: the models take patches of {facts.patch_size} pixels; choose one of {names}"
        )
    loaded = load.load(data_dir, wanted)
    seen = {patient for model in models for patient in model.facts.seen}
    kept_back = [
        (record, pixels)
        for record, pixels in loaded
        if include_seen or kept.patient_hash(wanted.dataset, record.patient_id) not in seen
    ]
    if not kept_back:
        raise StudyError(
            f"{place}: the models have seen all these patients in training; choose others, or set "
            "`include_seen`"
        )
    there = {cells.label_of(record, facts.task) for record, _ in kept_back}
    missing = [name for k, name in enumerate(cells.CLASSES[facts.task]) if k not in there]
    if missing:
        raise StudyError(
            f"{place}: no patch of class {', '.join(missing)} to test on; choose a wider query"
        )
    return kept_back, len(loaded) - len(kept_back)


def retest(
    models: Sequence[KeptModel],
    records: Sequence[PatchRecord],
    pixels: Sequence[np.ndarray],
    weights: str = "",
    features: pathlib.Path | None = None,
) -> Results:
    """Tests models, and their average, on patches as they are and on random crops of them.

    Args:
      models: see `read_models`.
      records: of the patches.
      pixels: of each, (H, W, 1) uint8.
      weights: see `kept.backbone_of`.
      features: see `predict`.

    Returns:
      What `statistics` takes: the models are replicates of the regime "model", and where there are
      several, "ensemble:model" averages them.

    Raises:
      StudyError: see `predict`.
    """
    task, count = models[0].facts.task, len(records)
    cropped = [
        crops.random_resized_crop(patch, record.pixels_sha256)
        for record, patch in zip(records, pixels, strict=True)
    ]
    names = [record.patch_id for record in records]
    crop_names = [f"crop of {name}" for name in names]
    said = predict(models, [*pixels, *cropped], [*names, *crop_names], weights, features)
    zoom = ", ".join(sorted({str(model.facts.cell["train_zoom"]) for model in models}))
    groups = sorted({str(record.zoom_group) for record in records} - {"0"})
    return Results(
        task=task,
        shared_test=True,
        records=tuple(records),
        labels=np.array([cells.label_of(record, task) for record in records]),
        baseline=MODEL,
        regimes=(MODEL, ENSEMBLE) if len(models) > 1 else (MODEL,),
        train_zooms=(zoom,),
        test_zooms=("+".join(groups) or "1",),
        predictions=tuple(
            Prediction(
                cell=Cell(regime=MODEL, train_zoom=zoom, fold=number, seed=0, draw=0),
                rows=np.arange(count),
                probabilities={"plain": of_model[:count], "cropped": of_model[count:]},
                curves=np.zeros((0, 2), np.float32),
                best_epoch=model.facts.best_epoch,
            )
            for number, (model, of_model) in enumerate(zip(models, said, strict=True))
        ),
    )


def table(results: Results) -> pd.DataFrame:
    """What the average of all models says of each patch as it is.

    Args:
      results: see `retest`.

    Returns:
      One row for each, with the columns patch_id, patient_id, zoom_group, true (the class), and
      the probability of each class.
    """
    every = np.stack([one.probabilities["plain"] for one in results.predictions])
    known = {
        "patch_id": [record.patch_id for record in results.records],
        "patient_id": [record.patient_id for record in results.records],
        "zoom_group": [record.zoom_group for record in results.records],
        "true": [results.classes[label] for label in results.labels],
    }
    return pd.DataFrame(known | dict(zip(results.classes, every.mean(0).T, strict=True)))


def read_patches(
    patterns: Sequence[str], size: int
) -> tuple[dict[str, np.ndarray], list[ImageError]]:
    """Reads any images as patches.

    Args:
      patterns: each a file, a folder or a glob.
      size: pixels of a side.

    Returns:
      By path, (size, size, 1) uint8; and what could not be used.
    """
    paths, errors = find_images(patterns)
    found = {}
    for path in paths:
        try:
            found[path] = to_patch(read_pixels(path), size)
        except ImageError as error:
            errors.append(error)
    return found, errors


def to_patch(pixels: np.ndarray, size: int) -> np.ndarray:
    """Makes any image a patch: 8 bits, grey (ITU-R BT.601), and resized as patches are.

    Args:
      pixels: (H, W, 1 or 3) uint8 or uint16.
      size: pixels of a side.

    Returns:
      (size, size, 1) uint8; a patch of that size stays as it is.
    """
    grey = pixels[..., 0].astype(np.float64)
    if pixels.shape[2] == 3:
        grey = pixels @ np.array([0.299, 0.587, 0.114])
    levels = np.iinfo(pixels.dtype).max / 255
    return patches.resize(np.rint(grey / levels).astype(np.uint8), size, size)[..., None]
