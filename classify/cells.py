"""What is trained in a study, and what comes of it: the dataclasses its parts share."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from data_pipeline.patch_records import PatchRecord
from singan_jax.errors import InputError

Variant = Literal["plain", "cropped"]  # test patches as they are; or one random resized crop each

CLASSES = {
    "binary": ("Healthy", "Suspicious"),
    "three-class": ("Normal", "Benign", "Malign"),
}
TARGETS = {"binary": "Suspicious", "three-class": "Malign"}  # the class that a study is about
TARGET_WORDS = {"binary": "suspicious patches", "three-class": "malignant lesions"}
SAME = "same"  # a fill zoom: that of the lesions trained on


class StudyError(InputError):
    """A study that cannot be run as asked for; the message says what to change."""


class Cell(NamedTuple):
    """One classifier to be trained.

    Attributes:
      regime: what its training set is made of; see `regimes`.
      train_zoom: zoom groups of the lesions trained on, such as "1" or "1+2".
      fold: number of the fold.
      seed: of initialisation and sampling.
      draw: which random choice of source images; 0 where the regime chooses none.
      fill_zoom: zoom groups of the copies or samples that fill the training set up, where they are
        others than `train_zoom`; else empty.
    """

    regime: str
    train_zoom: str
    fold: int
    seed: int
    draw: int
    fill_zoom: str = ""


class Zooms(NamedTuple):
    """Zoom groups that a result is of, each a text such as "1" or "1+2".

    Attributes:
      train: of the lesions trained on.
      test: of the lesions tested on.
      fill: of the copies or samples that training sets are filled up with; empty where nothing is.
    """

    train: str
    test: str
    fill: str = ""


class EpochMeasures(NamedTuple):
    """How well a classifier does in each epoch, on the training set, then on the validation set.

    Of the training set each patch as the epoch visits it, before the step that it is for; of the
    validation set all patches after the epoch. Patches count as the most probable class.

    Attributes:
      confusion: (epochs, 2, classes, classes) int32, patches by class and called class.
      roc_auc: (epochs, 2, classes) float32, of each class against the others; NaN where the class
        or every other one has no patch.
    """

    confusion: np.ndarray
    roc_auc: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """(epochs, 2)."""
        right = np.trace(self.confusion, axis1=2, axis2=3)
        return np.asarray(right / self.confusion.sum((2, 3)))

    @property
    def precision(self) -> np.ndarray:
        """(epochs, 2, classes); NaN where nothing is called that class."""
        return self._right(axis=2)

    @property
    def recall(self) -> np.ndarray:
        """(epochs, 2, classes); NaN where the class has no patch."""
        return self._right(axis=3)

    def _right(self, axis: int) -> np.ndarray:
        right, all_ = np.diagonal(self.confusion, axis1=2, axis2=3), self.confusion.sum(axis)
        return np.divide(right, all_, out=np.full(right.shape, np.nan), where=all_ > 0)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one trained classifier predicts for its fold's test patches, of all zoom groups.

    Attributes:
      cell: which classifier.
      rows: (n,) int, places of the test patches in `Results.records`.
      probabilities: by variant, (n, classes) float32; rows sum to 1.
      curves: (epochs, 2) float32, mean cross-entropy on training and validation set after each
        epoch.
      best_epoch: the one with the least validation loss, from 0; its weights made the predictions.
      measures: of each epoch; None where an earlier version made the file.
    """

    cell: Cell
    rows: np.ndarray
    probabilities: dict[Variant, np.ndarray]
    curves: np.ndarray
    best_epoch: int
    measures: EpochMeasures | None = None


@dataclasses.dataclass(frozen=True)
class Results:
    """All predictions of a study.

    Attributes:
      task: "binary" or "three-class".
      shared_test: whether all folds have the same test patients (the paper's protocol). If not,
        each patient is in the test set of exactly one fold (cross-validation), unless:
      records: of all patches of any test set.
      labels: (len(records),) int, places in `CLASSES[task]`.
      baseline: the regime that the others are compared with.
      regimes: all, in the order asked for, ensembles included.
      train_zooms: all, in the order asked for.
      test_zooms: likewise; a test zoom selects healthy patches and lesions of its zoom groups.
      predictions: one for each cell.
      redrawn_test: each fold has test patients of its own, drawn anew (the thesis' protocol), so
        that a patient may be in the test sets of several folds, or of none.
      fill_zooms: all, in the order asked for; `SAME` is the train zoom.
    """

    task: str
    shared_test: bool
    records: tuple[PatchRecord, ...]
    labels: np.ndarray
    baseline: str
    regimes: tuple[str, ...]
    train_zooms: tuple[str, ...]
    test_zooms: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    redrawn_test: bool = False
    fill_zooms: tuple[str, ...] = (SAME,)

    @property
    def zooms(self) -> tuple[Zooms, ...]:
        """All combinations; where nothing is filled up, `fill` is empty in each."""
        filling = [name for name in self.regimes if fills_up(name)]
        return tuple(
            Zooms(train, test, fill)
            for train in self.train_zooms
            for fill, test in itertools.product(
                fill_zooms_at(train, self.fill_zooms) if filling else ("",), self.test_zooms
            )
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of labels and probabilities."""
        return CLASSES[self.task]

    @property
    def target(self) -> int:
        """The class that the study is about."""
        return self.classes.index(TARGETS[self.task])


def label_of(record: PatchRecord, task: str) -> int:
    """The class of a patch in a task."""
    if task == "binary":
        return int(record.zoom_group > 0)
    return CLASSES[task].index(record.classification)


def zoom_groups(text: str) -> frozenset[int]:
    """Zoom groups that a text such as "1" or "1+3" names, and group 0, the healthy patches.

    Raises:
      StudyError: it names anything but 1, 2 and 3.
    """
    parts = text.split("+")
    if not set(parts) <= {"1", "2", "3"} or len(set(parts)) < len(parts):
        raise StudyError(f"zoom {text!r}: write 1, 2 or 3, or several joined by +, such as 1+2")
    return frozenset({0, *map(int, parts)})


def ensemble_members(regime: str) -> tuple[str, ...]:
    """The regimes whose models an ensemble averages; empty for a regime that is not an ensemble.

    An ensemble is written as `ensemble:singan-4` or `ensemble:singan-4+oversample-4`.
    """
    kind, _, members = regime.partition(":")
    return tuple(members.split("+")) if kind == "ensemble" else ()


def fills_up(regime: str) -> bool:
    """Whether the malignant class is filled up in a regime; in an ensemble, in any of its own."""
    names = ensemble_members(regime) or (regime,)
    return any(name.startswith(("oversample-", "singan-")) for name in names)


def fill_zooms_at(train_zoom: str, fill_zooms: Sequence[str]) -> tuple[str, ...]:
    """The fill zooms at a train zoom, each once; `SAME`, or the same groups, is the train zoom."""
    found: dict[frozenset[int], str] = {zoom_groups(train_zoom): train_zoom}
    named = [train_zoom if text == SAME else text for text in fill_zooms]
    return tuple(dict.fromkeys(found.setdefault(zoom_groups(text), text) for text in named))


def fill_zoom_of(regime: str, train_zoom: str, fill_zoom: str) -> str:
    """`Cell.fill_zoom` of a single regime where training sets are filled up at a fill zoom."""
    return fill_zoom if fills_up(regime) and fill_zoom != train_zoom else ""


def control_of(regime: str) -> str:
    """The control of `singan-k`: `oversample-k`, copies of the same source images."""
    return regime.replace("singan-", "oversample-")
