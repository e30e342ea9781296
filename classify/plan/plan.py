"""The plan of a study: all that will run, checked and counted before anything starts."""

import dataclasses
import pathlib
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

import singan_jax
from classify import cells
from classify.cells import Cell
from classify.plan import protocol, regimes, sources, synthetic
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
      data_dir: where the patch dataset was prepared.
      dataset: its name and config.
      records: of all its patches, by patch id.
      pixels: (H, W, 1) uint8 of each.
      labels: (records,) int, of each.
      folds: the patients of each.
      sets: what each classifier is trained on.
      wanted: number of samples by source patch id.
    """

    config: StudyConfig
    singan: singan_jax.Config
    data_dir: pathlib.Path
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
        split, folder = "/".join(self.dataset) + ":all", str(self.data_dir.absolute())
        return [
            synthetic.to_image(self.records[n], self.pixels[n], f"{split}/{patch_id}", folder)
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
      StudyError: a setting cannot work, a class is missing in a fold, the same pixels are of two
        patients, a fill zoom is missing in the dataset, or a regime asks for more sources than
        there are; and see `sources.read`.
      DataError: the dataset is not there, or has fewer patients than folds.
    """
    validate(config)
    config = dataclasses.replace(config, folds=config.num_folds)  # the number, not 0, is told
    configs = builders.config_names(config.patch_size)
    dataset = (config.dataset, configs[-1])
    patches = load.load(data_dir, query.Query(*dataset, "all"))
    records = tuple(record for record, _ in patches)
    folds = protocol.partitions(
        records, config.protocol, config.num_folds, config.seed, data_dir, dataset
    )
    _check_classes(records, folds, config)
    _check_duplicates(records, [pixels for _, pixels in patches], config)
    sources.check_fill_zooms(config.fill_zooms, records)
    chosen = sources.read(config.sources, records, folds, data_dir, config.dataset, configs)
    sets = {
        cell: regimes.training_set(
            cell, records, folds[cell.fold], config.fill_ratio, config.seed, usable, chosen
        )
        for cell in _cells(config, len(folds))
    }
    labels = np.array([cells.label_of(record, config.task) for record in records])
    plan = Plan(
        config=config,
        singan=singan,
        data_dir=data_dir,
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
    if config.protocol == "cross-validation":  # one replicate tests the patients of all folds
        nobody: frozenset[str] = frozenset()
        everyone = frozenset().union(*(fold.test for fold in folds))
        folds = (
            *(Partition(fold.train, fold.validation, nobody) for fold in folds),
            Partition(nobody, nobody, everyone),
        )
    protocol.check_classes(records, folds, config.task, config.train_zooms, config.test_zooms)


def _check_duplicates(
    records: tuple[PatchRecord, ...], pixels: list[np.ndarray], config: StudyConfig
) -> None:
    if not config.allow_duplicates:
        zooms = {*config.train_zooms, *config.test_zooms, *config.fill_zooms} - {cells.SAME}
        protocol.check_duplicates(records, pixels, zooms)


def _cells(config: StudyConfig, folds: int) -> list[Cell]:
    """All classifiers of the grid."""
    return [
        Cell(regime, zoom, fold, seed, draw, fill)
        for regime in config.trained_regimes
        for zoom in config.train_zooms
        for fill in _cell_fill_zooms(regime, zoom, config)
        for fold in range(folds)
        for seed in range(config.seeds)
        for draw in range(regimes.draws_of(regime, config.draws))
    ]


def _cell_fill_zooms(regime: str, train_zoom: str, config: StudyConfig) -> tuple[str, ...]:
    fills = cells.fill_zooms_at(train_zoom, config.fill_zooms)
    return tuple(dict.fromkeys(cells.fill_zoom_of(regime, train_zoom, fill) for fill in fills))


def table(plan: Plan) -> pd.DataFrame:
    """What will run: one row for each regime, train zoom and fill zoom.

    Numbers of patches and of source images are means over the classifiers.
    """
    places: dict[tuple[str, str, str], list[TrainingSet]] = {}
    for cell, chosen in plan.sets.items():
        place = cell.regime, cell.train_zoom, cell.fill_zoom
        places.setdefault(place, []).append(chosen)
    rows = []
    for (regime, zoom, fill), sets in places.items():
        every = {source for chosen in sets for source in chosen.sources}
        rows.append(
            {
                "regime": regime,
                "train zoom": zoom,
                "fill zoom": (fill or zoom) if cells.fills_up(regime) else "",
                "real patches": _mean(len(chosen.real) for chosen in sets),
                "synthetic patches": _mean(len(chosen.synthetic) for chosen in sets),
                "source images": _mean(len(chosen.sources) for chosen in sets),
                "source images in all": len(every),
                "classifiers": len(sets),
            }
        )
    return pd.DataFrame(rows)


def _mean(values: Iterable[int]) -> float:
    return round(float(np.mean(list(values))), 1)
