"""The plan of a study: all that will run, checked and counted before anything starts."""

import dataclasses
import pathlib
from collections.abc import Collection

import numpy as np
import pandas as pd

import singan_jax
from classify import cells
from classify.cells import Cell
from classify.plan import protocol, regimes, synthetic
from classify.plan.config import StudyConfig, validate
from classify.plan.protocol import Partition
from classify.plan.regimes import TrainingSet
from data_pipeline import builders, load, query
from data_pipeline.patch_records import PatchRecord


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study will do.

    Attributes:
      config: of the study.
      singan: of the generators.
      dataset: name and config of the patch dataset.
      records: of all its patches, by patch id.
      pixels: (H, W, 1) uint8 of each.
      labels: (records,) int, of each.
      folds: the patients of each.
      sets: what each classifier is trained on.
      wanted: number of samples by source patch id.
    """

    config: StudyConfig
    singan: singan_jax.Config
    dataset: tuple[str, str]
    records: tuple[PatchRecord, ...]
    pixels: tuple[np.ndarray, ...]
    labels: np.ndarray
    folds: tuple[Partition, ...]
    sets: dict[Cell, TrainingSet]
    wanted: dict[str, int]

    @property
    def test_rows(self) -> np.ndarray:
        """Places of the patches of any test set, (n,) int."""
        return protocol.rows_of(self.records, frozenset().union(*(f.test for f in self.folds)))

    def sources(self) -> list[singan_jax.Image]:
        """The patches that generators are trained on, as images."""
        place = {record.patch_id: n for n, record in enumerate(self.records)}
        name = "/".join(self.dataset)
        return [
            synthetic.to_image(self.records[n], self.pixels[n], f"{name}/{patch_id}")
            for patch_id, n in ((patch_id, place[patch_id]) for patch_id in self.wanted)
        ]


def make(
    config: StudyConfig,
    singan: singan_jax.Config,
    data_dir: pathlib.Path,
    usable: Collection[str] | None = None,
) -> Plan:
    """Plans a study.

    Args:
      config: of the study.
      singan: of the generators.
      data_dir: where the dataset was prepared.
      usable: patch ids that already have samples; None where generators will be trained.

    Raises:
      StudyError: a setting cannot work, a class is missing in a fold, or a regime asks for more
        sources than there are.
      DataError: the dataset is not there, or has fewer patients than folds.
    """
    validate(config)
    dataset = (config.dataset, builders.config_names(config.patch_size)[-1])
    patches = load.load(data_dir, query.Query(*dataset, "all"))
    records = tuple(record for record, _ in patches)
    folds = protocol.partitions(
        records, config.protocol, config.folds, config.seed, data_dir, dataset
    )
    _check_classes(records, folds, config)
    sets = {
        cell: regimes.training_set(
            cell, records, folds[cell.fold], config.fill_ratio, config.seed, usable
        )
        for cell in _cells(config, len(folds))
    }
    labels = np.array([cells.label_of(record, config.task) for record in records])
    plan = Plan(
        config=config,
        singan=singan,
        dataset=dataset,
        records=records,
        pixels=tuple(pixels for _, pixels in patches),
        labels=labels,
        folds=folds,
        sets=sets,
        wanted=synthetic.needs(patch for chosen in sets.values() for patch in chosen.synthetic),
    )
    if usable is None:
        synthetic.check_trainable(plan.sources(), singan)
    return plan


def _check_classes(
    records: tuple[PatchRecord, ...], folds: tuple[Partition, ...], config: StudyConfig
) -> None:
    if not config.shared_test:  # each fold tests few patients; together they test everyone
        nobody: frozenset[str] = frozenset()
        everyone = frozenset().union(*(fold.test for fold in folds))
        folds = (
            *(Partition(fold.train, fold.validation, nobody) for fold in folds),
            Partition(nobody, nobody, everyone),
        )
    protocol.check_classes(records, folds, config.task, config.train_zooms, config.test_zooms)


def _cells(config: StudyConfig, folds: int) -> list[Cell]:
    """All classifiers of the grid."""
    return [
        Cell(regime, zoom, fold, seed, draw)
        for regime in config.trained_regimes
        for zoom in config.train_zooms
        for fold in range(folds)
        for seed in range(config.seeds)
        for draw in range(regimes.draws_of(regime, config.draws))
    ]


def table(plan: Plan) -> pd.DataFrame:
    """What will run: one row for each regime and train zoom, numbers as means over the folds."""
    rows = []
    for regime in plan.config.trained_regimes:
        for zoom in plan.config.train_zooms:
            sets = {
                cell: chosen
                for cell, chosen in plan.sets.items()
                if (cell.regime, cell.train_zoom) == (regime, zoom)
            }
            real = [len(chosen.real) for chosen in sets.values()]
            added = [len(chosen.synthetic) for chosen in sets.values()]
            sources = {source for chosen in sets.values() for source in chosen.sources}
            rows.append(
                {
                    "regime": regime,
                    "train zoom": zoom,
                    "real patches": round(float(np.mean(real)), 1),
                    "synthetic patches": round(float(np.mean(added)), 1),
                    "source images in all": len(sources),
                    "classifiers": len(sets),
                }
            )
    return pd.DataFrame(rows)
