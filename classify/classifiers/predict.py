"""Trains the classifiers of a plan and keeps their predictions on test patches, a file a cell."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import tqdm

from classify import cells, crops, npz_files
from classify.backbones.backbone import Backbone
from classify.cells import Cell, EpochMeasures, Prediction, StudyError, Variant
from classify.classifiers import finetune, heads, kept
from classify.classifiers.features import FeatureCache
from classify.classifiers.finetune import Trainable, TrainedNetwork
from classify.classifiers.heads import TrainedHead
from classify.classifiers.training import TrainSet, TrainSettings
from classify.plan import protocol, regimes
from classify.plan.plan import Plan
from classify.plan.synthetic import Samples


@dataclasses.dataclass(frozen=True)
class Pool:
    """All patches of a study: the dataset's, then synthetic ones, then crops of test patches.

    Attributes:
      pixels: (H, W, 1) uint8 of each.
      names: of each, for messages.
      labels: (patches,) int.
      synthetic: place of each synthetic patch.
      crops: place of the crop of each test patch, by its place in the records.
    """

    pixels: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    synthetic: dict[tuple[str, int], int]
    crops: dict[int, int]


def make_pool(plan: Plan, samples: Samples) -> Pool:
    """Puts the patches of a plan, and the samples it wants, into one pool."""
    count, test = len(plan.records), plan.test_rows
    cropped = [
        crops.random_resized_crop(plan.pixels[row], plan.records[row].pixels_sha256) for row in test
    ]
    task = plan.config.task
    label = cells.CLASSES[task].index(cells.TARGETS[task])  # samples are of malignant lesions
    return Pool(
        pixels=(*plan.pixels, *samples.values(), *cropped),
        names=(
            *(record.patch_id for record in plan.records),
            *(f"sample {number} of {source}" for source, number in samples),
            *(f"crop of {plan.records[row].patch_id}" for row in test),
        ),
        labels=np.concatenate([plan.labels, np.full(len(samples), label), plan.labels[test]]),
        synthetic={key: count + n for n, key in enumerate(samples)},
        crops={int(row): count + len(samples) + n for n, row in enumerate(test)},
    )


def train_set(plan: Plan, pool: Pool, cell: Cell) -> TrainSet:
    """A cell's training and validation set, as places in the pool."""
    chosen, fold = plan.sets[cell], plan.folds[cell.fold]
    fold.check_sources(chosen.synthetic, cell)
    added = [pool.synthetic[patch.source, patch.number] for patch in chosen.synthetic]
    rows = np.concatenate([chosen.real, np.array(added, dtype=np.int64)])
    weighted = regimes.parse(cell.regime).kind == "weighted"
    return TrainSet(
        key=f"{plan.config.seed}/{cell.fold}/{cell.seed}/{cell.train_zoom}",
        train=rows,
        weights=regimes.class_weights(pool.labels[rows]) if weighted else None,
        validation=protocol.rows_of(plan.records, fold.validation, cell.train_zoom),
    )


def train_and_predict(
    plan: Plan, pool: Pool, backbone: Backbone, folder: pathlib.Path
) -> tuple[Prediction, ...]:
    """Trains what is not trained yet, and reads the rest.

    Args:
      plan: of the study.
      pool: of its patches.
      backbone: frozen for `train="head"`, else where training starts from.
      folder: of the study's work; gets `features/`, `cells/` and `models/`.

    Returns:
      One prediction for each cell of the plan, in its order.

    Raises:
      StudyError: a feature is not finite, or a file in the folder is damaged.
    """
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    paths = {cell: folder / "cells" / f"{_slug(cell)}.npz" for cell in plan.sets}
    missing = [cell for cell in plan.sets if not paths[cell].exists()]
    trained: Iterator[tuple[Prediction, TrainedHead | TrainedNetwork]]
    if missing and plan.config.train == "head":
        cache = FeatureCache(folder / "features", backbone)
        features = cache.get(pool.pixels, pool.names, progress=True)  # (patches, features)
        trained = _train_heads(plan, pool, features, missing)
    else:
        trained = _train_networks(plan, pool, backbone, missing)
    bar = tqdm.tqdm(trained, "classifiers", len(missing), unit="", disable=not missing)
    for prediction, model in bar:
        cell = prediction.cell
        if plan.config.keep_models:  # first, so that what has a prediction has its model
            path = kept.path_of(folder, _slug(cell))
            kept.write(path, plan, backbone, cell, model)
        _save(paths[cell], prediction)
    return tuple(_load(paths[cell], cell, plan) for cell in plan.sets)


def without_model(plan: Plan, folder: pathlib.Path) -> int:
    """How many cells have a prediction, but no kept classifier."""
    return sum(not kept.path_of(folder, _slug(cell)).exists() for cell in plan.sets)


def settings(plan: Plan) -> TrainSettings:
    """How the classifiers of a plan are trained."""
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    return TrainSettings(**{name: getattr(plan.config, name) for name in names})


def _train_heads(
    plan: Plan, pool: Pool, features: np.ndarray, missing: Sequence[Cell]
) -> Iterator[tuple[Prediction, TrainedHead]]:
    sets = [train_set(plan, pool, cell) for cell in missing]
    classes = len(cells.CLASSES[plan.config.task])
    for place, head in heads.train_heads(features, pool.labels, classes, sets, settings(plan)):
        yield _predict(plan, pool, missing[place], head, features), head


def _train_networks(
    plan: Plan, pool: Pool, backbone: Backbone, missing: Sequence[Cell]
) -> Iterator[tuple[Prediction, TrainedNetwork]]:
    pixels = np.stack(pool.pixels)  # (patches, H, W, 1)
    classes = len(cells.CLASSES[plan.config.task])
    for cell in missing:
        with tqdm.tqdm(total=plan.config.epochs, desc=_slug(cell), unit=" epochs") as bar:
            network = finetune.train_network(
                backbone,
                pixels,
                pool.labels,
                classes,
                train_set(plan, pool, cell),
                settings(plan),
                cast(Trainable, plan.config.train),  # "head" does not come here
                bar.update,
            )
        yield _predict(plan, pool, cell, network, pixels), network


def _predict(
    plan: Plan, pool: Pool, cell: Cell, model: TrainedHead | TrainedNetwork, inputs: np.ndarray
) -> Prediction:
    """What a model says of its fold's test patches; `inputs` are those of the whole pool."""
    rows = protocol.rows_of(plan.records, plan.folds[cell.fold].test)  # of all zooms
    probabilities: dict[Variant, np.ndarray] = {
        "plain": model.probabilities(inputs[rows]),
        "cropped": model.probabilities(inputs[[pool.crops[row] for row in rows]]),
    }
    return Prediction(cell, rows, probabilities, model.curves, model.best_epoch, model.measures)


def _slug(cell: Cell) -> str:
    fill = f".fill{cell.fill_zoom}" if cell.fill_zoom else ""
    zooms = f"zoom{cell.train_zoom}{fill}"
    return f"{cell.regime}.{zooms}.fold{cell.fold}.seed{cell.seed}.draw{cell.draw}"


def _save(path: pathlib.Path, prediction: Prediction) -> None:
    content = {
        "rows": prediction.rows,
        "curves": prediction.curves,
        "best_epoch": np.array(prediction.best_epoch),
    }
    if prediction.measures:
        content |= prediction.measures._asdict()
    npz_files.write(path, content | {str(k): v for k, v in prediction.probabilities.items()})


def _load(path: pathlib.Path, cell: Cell, plan: Plan) -> Prediction:
    """Reads a prediction, whose rows become places among the test rows of the plan."""
    try:
        content = npz_files.read(path)
        probabilities: dict[Variant, np.ndarray] = {
            "plain": content["plain"],
            "cropped": content["cropped"],
        }
        rows = np.asarray(np.searchsorted(plan.test_rows, content["rows"]))
        measures = None
        if "confusion" in content:  # files of earlier versions have no measures
            measures = EpochMeasures(content["confusion"], content["roc_auc"])
        curves, best_epoch = content["curves"], int(content["best_epoch"])
        return Prediction(cell, rows, probabilities, curves, best_epoch, measures)
    except npz_files.DAMAGE as error:
        raise StudyError(
            f"{path}: is damaged ({error}); delete it and run the same command again"
        ) from error
