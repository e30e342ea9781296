"""The protocol: which patients a classifier is trained, validated and tested on."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from classify import cells
from classify.cells import CLASSES, Cell, StudyError
from data_pipeline import builders, duplicates, load, splits
from data_pipeline.patch_records import PatchRecord, pixels_digest

MEANINGS = {
    "paper": "10 % of the patients for testing, the same in all folds; of the others 70 % for "
    "training and 30 % for validation, drawn anew for each fold",
    "thesis": "10 % of the patients for testing, drawn anew for each fold; of the others 70 % for "
    "training and 30 % for validation, likewise",
    "cross-validation": "each patient for testing in one fold; of the others two thirds for "
    "training and a third for validation",
}
_VALIDATION_FOLDS = 3  # of a cross-validation: a third of the patients that are not for testing


class LeakError(StudyError):
    """A patient whose patches, or samples made from them, would be on both sides of a split."""


class _HasSource(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def patient(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Partition:
    """The patients of one fold; no patient is in two parts."""

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]

    def __post_init__(self) -> None:
        for one, other in (
            (self.train, self.validation),
            (self.train, self.test),
            (self.validation, self.test),
        ):
            if both := one & other:
                raise LeakError(f"patient {min(both)!r} is in two parts of a fold: a leak")

    def check_sources(self, synthetic: Iterable[_HasSource], cell: Cell) -> None:
        """Raises `LeakError` for a synthetic patch whose source's patient is not for training."""
        for patch in synthetic:
            if patch.patient not in self.train:
                raise LeakError(
                    f"{cell.regime}, fold {cell.fold}: a sample made from {patch.source!r} must "
                    f"not be trained on, its patient {patch.patient!r} is not a training patient "
                    "of this fold; train generators on training patients only"
                )


def partitions(
    records: Sequence[PatchRecord],
    protocol: str,
    folds: int,
    seed: int,
    data_dir: pathlib.Path,
    dataset: tuple[str, str],
) -> tuple[Partition, ...]:
    """The patients of each fold.

    See `MEANINGS`. Numbers of patients are rounded to the nearest, halves up, and each part has its
    share of the patients of each worst classification, to within one patient. The paper's splits
    are those that the dataset was prepared with, and so are its first three folds. But in a
    cross-validation a fold does not depend on how many there are.

    Args:
      records: all patches of the dataset.
      protocol: one of `MEANINGS`.
      folds: how many.
      seed: of the draw, but for the paper's, which depends on the dataset alone.
      data_dir: where the dataset was prepared.
      dataset: its name and config.

    Raises:
      DataError: the dataset is not there, or there are fewer patients than folds.
    """
    if protocol == "paper":
        given = load.paper_splits(data_dir, *dataset)
        drawn = list(given.folds[:folds])
        for number in range(len(drawn), folds):
            drawn.append(splits.paper_fold(records, given.test, number, builders.SPLIT_SEED))
        return tuple(Partition(fold.train, fold.validation, given.test) for fold in drawn)
    if protocol == "thesis":
        return tuple(
            Partition(fold.train, fold.validation, part.test)
            for part in splits.thesis_splits(records, seed, folds)
            for fold in part.folds
        )
    found = []
    for number, outer in enumerate(splits.cross_validation(records, folds, seed)):
        others = [record for record in records if record.patient_id in outer.train]
        inner = splits.cross_validation(others, _VALIDATION_FOLDS, seed + number)[0]
        found.append(Partition(inner.train, inner.validation, outer.validation))
    return tuple(found)


def check_classes(
    records: Sequence[PatchRecord],
    folds: Sequence[Partition],
    task: str,
    train_zooms: Sequence[str],
    test_zooms: Sequence[str],
) -> None:
    """Refuses folds in which a class is missing.

    Every class must be in the training and validation set of each fold at each train zoom, and in
    the test set at each test zoom. Test sets of a cross-validation are pooled, so give the folds
    without theirs and the pool as a fold of its own.

    Raises:
      StudyError: naming the fold, the part, the zoom and the class.
    """
    for number, fold in enumerate(folds):
        parts = [("training", fold.train, zoom) for zoom in train_zooms]
        parts += [("validation", fold.validation, zoom) for zoom in train_zooms]
        parts += [("test", fold.test, zoom) for zoom in test_zooms]
        for part, patients, zoom in parts:
            there = {cells.label_of(records[row], task) for row in rows_of(records, patients, zoom)}
            missing = [name for k, name in enumerate(CLASSES[task]) if k not in there]
            if missing and patients:
                raise StudyError(
                    f"fold {number}: no patch of class {', '.join(missing)} is in its {part} set "
                    f"at zoom {zoom}; use fewer folds (`protocol`=cross-validation "
                    "`folds`=), another `seed`, or more patients"
                )


def check_duplicates(
    records: Sequence[PatchRecord], pixels: Sequence[np.ndarray], zooms: Iterable[str]
) -> None:
    """Refuses patches of two patients with the same pixels, who may be in two parts of a fold.

    Args:
      records: all patches of the dataset.
      pixels: (H, W, 1) uint8 of each.
      zooms: that the study uses, of training, filling and testing; others do not count.

    Raises:
      LeakError: naming the first such pair.
    """
    groups = frozenset[int]().union(*map(cells.zoom_groups, zooms))
    rows = [row for row, record in enumerate(records) if record.zoom_group in groups]
    pairs = duplicates.equal_pairs(pixels_digest(pixels[row][..., 0]) for row in rows)
    found = [
        (records[rows[first]], records[rows[second]])
        for first, second in pairs
        if records[rows[first]].patient_id != records[rows[second]].patient_id
        and not duplicates.is_degenerate(pixels[rows[first]])
    ]
    if found:
        who = [f"{r.patch_id!r} ({r.source}) of patient {r.patient_id!r}" for r in found[0]]
        more = f", and {len(found) - 1} more such pairs" if found[1:] else ""
        raise LeakError(
            f"{who[0]} and {who[1]} have the same pixels{more}: a leak where one is trained on and "
            "the other tested; build the dataset without one of them, or set `allow_duplicates`"
        )


def rows_of(
    records: Sequence[PatchRecord], patients: frozenset[str], zoom: str | None = None
) -> np.ndarray:
    """Places of the patches of some patients, (n,) int; of all zoom groups where None."""
    groups = None if zoom is None else cells.zoom_groups(zoom)
    return np.array(
        [
            place
            for place, record in enumerate(records)
            if record.patient_id in patients and (groups is None or record.zoom_group in groups)
        ],
        dtype=np.int64,
    )
