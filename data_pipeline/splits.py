"""Splits of patches by patient: those of the thesis, and cross-validation.

No patient is ever in two parts of a split; `Fold` and `Splits` cannot be made otherwise. Which part
a patient falls into depends on the seed and on which patients with which worst classifications
there are, not on the order of the records or on how many patches a patient has. So make the splits
from all patches of a dataset, before choosing zoom groups or the like: then a patient is in the
same part whatever is chosen.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from data_pipeline.mammograms import CLASSIFICATIONS, Classification, DataError
from data_pipeline.patch_records import PatchRecord

TEST_FRACTION = 0.1  # of all patients; thesis
VALIDATION_FRACTION = 0.3  # of the others; thesis
FOLDS = 3  # thesis


@dataclasses.dataclass(frozen=True)
class Fold:
    """Patients to train on and patients to validate on; neither is empty, and they share none."""

    train: frozenset[str]
    validation: frozenset[str]

    def __post_init__(self) -> None:
        _check_parts({"train": self.train, "validation": self.validation})


@dataclasses.dataclass(frozen=True)
class Splits:
    """The thesis' splits.

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


def thesis_splits(records: Iterable[PatchRecord], seed: int) -> Splits:
    """10 % of the patients for testing, the others three times 70 % training, 30 % validation.

    The three folds are drawn independently, so their validation sets overlap. Numbers of patients
    are rounded to the nearest, halves up, but at least one. Each part has its share of the patients
    of each worst classification, to within one patient.

    Args:
      records: of all patches of a dataset.
      seed: of the draw.

    Returns:
      The splits.

    Raises:
      DataError: fewer than three patients.
    """
    patients = worst_classifications(records)
    _refuse_fewer(patients, 3, "for training, validation and test")
    test = _draw(patients, TEST_FRACTION, f"{seed}/test")
    others = {name: patients[name] for name in patients.keys() - test}
    folds = []
    for number in range(FOLDS):
        validation = _draw(others, VALIDATION_FRACTION, f"{seed}/fold {number}")
        folds.append(Fold(frozenset(others) - validation, validation))
    return Splits(test, tuple(folds))


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
