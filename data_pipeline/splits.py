"""Splits of patches by patient: those of the paper and of the thesis, and cross-validation.

No patient is ever in two parts of a split; `Fold` and `Splits` cannot be made otherwise. Which part
a patient falls into depends on the seed and on which patients with which worst classifications
there are, not on the order of the records or on how many patches a patient has. So make the splits
from all patches of a dataset, before choosing zoom groups or the like: then a patient is in the
same part whatever is chosen.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from data_pipeline.errors import DataError
from data_pipeline.mammograms import CLASSIFICATIONS, Classification
from data_pipeline.patch_records import PatchRecord

TEST_FRACTION = 0.1  # of all patients; thesis and paper
VALIDATION_FRACTION = 0.3  # of the others; thesis and paper
FOLDS = 3  # paper


@dataclasses.dataclass(frozen=True)
class Fold:
    """Patients to train on and patients to validate on; neither is empty, and they share none."""

    train: frozenset[str]
    validation: frozenset[str]

    def __post_init__(self) -> None:
        _check_parts({"train": self.train, "validation": self.validation})


@dataclasses.dataclass(frozen=True)
class Splits:
    """A test set, and folds of the patients that are not in it.

    Attributes:
      test: patients of the test set, the same for all folds.
      folds: each divides all other patients.
    """

    test: frozenset[str]
    folds: tuple[Fold, ...]

    def __post_init__(self) -> None:
        for fold in self.folds:
            _check_parts({"test": self.test, "train": fold.train, "validation": fold.validation})


def worst_classifications(records: Iterable[PatchRecord]) -> dict[str, Classification]:
    """For each patient, the worst classification of any patch: Malign, Benign, Normal."""
    worst: dict[str, Classification] = {}
    for record in records:
        before = worst.get(record.patient_id, CLASSIFICATIONS[0])
        worst[record.patient_id] = max(before, record.classification, key=CLASSIFICATIONS.index)
    return worst


def paper_splits(records: Iterable[PatchRecord], seed: int, folds: int = FOLDS) -> Splits:
    """10 % of the patients for testing, the others for each fold 70 % training, 30 % validation.

    So the paper (Buetas et al. 2024, arXiv 2405.19754) does it. The folds are drawn independently,
    so their validation sets overlap, and a fold does not depend on how many there are. Numbers of
    patients are rounded to the nearest, halves up, but at least one. Each part has its share of the
    patients of each worst classification, to within one patient.

    Args:
      records: of all patches of a dataset.
      seed: of the draw.
      folds: number of folds.

    Returns:
      The splits.

    Raises:
      DataError: fewer than three patients.
    """
    patients = worst_classifications(records)
    _refuse_fewer(patients, 3, "for training, validation and test")
    test = _draw(patients, TEST_FRACTION, f"{seed}/test")
    drawn = (_fold(patients, test, f"{seed}/fold {number}") for number in range(folds))
    return Splits(test, tuple(drawn))


def paper_fold(
    records: Iterable[PatchRecord], test: frozenset[str], number: int, seed: int
) -> Fold:
    """The fold of a number, from 0, that `paper_splits` of any number of folds has.

    Args:
      records: of all patches of a dataset.
      test: the patients for testing.
      number: of the fold.
      seed: that the splits were drawn with.
    """
    return _fold(worst_classifications(records), test, f"{seed}/fold {number}")


def thesis_splits(records: Iterable[PatchRecord], seed: int, folds: int) -> tuple[Splits, ...]:
    """As `paper_splits`, but for each fold the test patients are drawn anew.

    So the thesis (Buetas 2023) does it. Test sets of different folds may overlap.

    Args:
      records: of all patches of a dataset.
      seed: of the draw.
      folds: number of folds.

    Returns:
      Of each fold its test set and, as the only fold of it, the others.

    Raises:
      DataError: fewer than three patients.
    """
    patients = worst_classifications(records)
    _refuse_fewer(patients, 3, "for training, validation and test")
    drawn = []
    for number in range(folds):
        test = _draw(patients, TEST_FRACTION, f"{seed}/thesis {number}/test")
        fold = _fold(patients, test, f"{seed}/thesis {number}/validation")
        drawn.append(Splits(test, (fold,)))
    return tuple(drawn)


def cross_validation(records: Iterable[PatchRecord], k: int, seed: int) -> tuple[Fold, ...]:
    """Folds in which every patient is validated on exactly once.

    Args:
      records: of all patches of a dataset, or of those not for testing.
      k: number of folds, at least 2.
      seed: of the draw.

    Returns:
      The folds; their validation sets differ by at most one patient in size, and in the number of
      patients of each worst classification.

    Raises:
      DataError: k is less than 2, or there are fewer patients than folds.
    """
    if k < 2:
        raise DataError(f"cross-validation with {k} folds; it needs 2 or more")
    patients = worst_classifications(records)
    _refuse_fewer(patients, k, f"for {k} folds")
    order = _shuffled(patients, f"{seed}/cross-validation")
    parts = [frozenset(order[number::k]) for number in range(k)]
    return tuple(Fold(frozenset(order) - part, part) for part in parts)


def _fold(patients: Mapping[str, Classification], test: frozenset[str], salt: str) -> Fold:
    """Draws 30 % of the patients that are not for testing to validate on."""
    others = {name: patients[name] for name in patients.keys() - test}
    validation = _draw(others, VALIDATION_FRACTION, salt)
    return Fold(frozenset(others) - validation, validation)


def _draw(patients: Mapping[str, Classification], fraction: float, salt: str) -> frozenset[str]:
    """Draws a fraction of the patients, evenly from each classification.

    They are put in order by classification and then taken at equal distances, which gives each
    classification its share to within one patient, and exactly the whole number.
    """
    order = _shuffled(patients, salt)
    total = len(order)
    count = max(1, int(fraction * total + 0.5))
    return frozenset(order[(2 * i + 1) * total // (2 * count)] for i in range(count))


def _shuffled(patients: Mapping[str, Classification], salt: str) -> list[str]:
    """Patients by classification, and within each by a hash that the salt decides."""

    def key(name: str) -> tuple[int, bytes]:
        digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
        return CLASSIFICATIONS.index(patients[name]), digest

    return sorted(patients, key=key)


def _refuse_fewer(patients: Mapping[str, Classification], least: int, purpose: str) -> None:
    if len(patients) < least:
        raise DataError(
            f"{len(patients)} patients, {least} are needed {purpose}; add more patients' mammograms"
        )


def _check_parts(parts: Mapping[str, frozenset[str]]) -> None:
    seen: dict[str, str] = {}
    for part, patients in parts.items():
        if not patients:
            raise DataError(f"no patient is in {part}; add mammograms of other patients")
        for patient in sorted(patients):
            if patient in seen:
                raise DataError(f"patient {patient!r} is in {seen[patient]} and in {part}: a leak")
            seen[patient] = part
