"""Regimes: what the training set of a classifier is made of.

    none           the real patches, each once an epoch
    weighted       the real patches, drawn so that all classes are equally frequent (thesis)
    oversample-k   the malignant class filled up to the benign one with copies of k of its patches
    singan-k       likewise with samples of k generators, one trained on each of those k patches

k is a number or `all`. A draw is one random order of all malignant patches; its k source images are
the first k that are of training patients. So they are the same for oversample-k and singan-k, those
of a smaller k are among those of a larger, and folds share generators.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np

from classify import cells
from classify.cells import Cell, StudyError, ensemble_members
from classify.plan.protocol import Partition
from data_pipeline.patch_records import PatchRecord

FILLED = "Malign"  # the class that is filled up,
GOAL = "Benign"  # and the one up to whose count


class Regime(NamedTuple):
    """A parsed regime; `sources` is None for `all`, and for regimes without sources."""

    kind: Literal["none", "weighted", "oversample", "singan"]
    sources: int | None


class Synthetic(NamedTuple):
    """A sample, named by the source patch of its generator and its number.

    Attributes:
      source: patch id.
      patient: of the source patch.
      number: which sample of that generator, from 0.
    """

    source: str
    patient: str
    number: int


class TrainingSet(NamedTuple):
    """What a cell is trained on.

    Attributes:
      real: (n,) int, places in the records; a place may occur several times.
      synthetic: further patches, of class `FILLED`.
      sources: patch ids of the source images; empty where nothing is filled up.
    """

    real: np.ndarray
    synthetic: tuple[Synthetic, ...]
    sources: tuple[str, ...]


def parse(text: str) -> Regime:
    """Reads a regime.

    Raises:
      StudyError: the text is not a regime.
    """
    kind, _, count = text.partition("-")
    if kind in ("none", "weighted") and not count:
        return Regime(kind, None)  # type: ignore[arg-type]  # mypy does not narrow by `in`
    if kind in ("oversample", "singan") and (count == "all" or (count.isdecimal() and int(count))):
        return Regime(kind, None if count == "all" else int(count))  # type: ignore[arg-type]
    raise StudyError(
        f"regime {text!r}: write none, weighted, oversample-<k>, singan-<k> (k a number from 1 or "
        "all), or ensemble:<regime>+<regime>"
    )


def draws_of(regime: str, draws: int) -> int:
    """How many of the draws differ for a regime: all where it chooses its sources, else one."""
    return draws if parse(regime).sources is not None else 1


def training_set(
    cell: Cell,
    records: Sequence[PatchRecord],
    partition: Partition,
    fill_ratio: float,
    seed: int,
    usable: Collection[str] | None = None,
) -> TrainingSet:
    """Composes the training set of a cell.

    Args:
      cell: the cell.
      records: all patches of the dataset.
      partition: of the cell's fold.
      fill_ratio: malignant patches after filling up, as a multiple of the benign ones.
      seed: of the study, for the draws.
      usable: patch ids that may be sources; all where None.

    Returns:
      The training set; where the malignant class is large enough already nothing is added.

    Raises:
      StudyError: fewer possible sources than the regime asks for, or a leak.
    """
    zooms = cells.zoom_groups(cell.train_zoom)
    places = [
        place
        for place, record in enumerate(records)
        if record.patient_id in partition.train and record.zoom_group in zooms
    ]
    regime = parse(cell.regime)
    if regime.kind in ("none", "weighted"):
        return TrainingSet(np.array(places), (), ())
    by_class = {
        name: [place for place in places if records[place].classification == name]
        for name in (FILLED, GOAL)
    }
    lacking = max(0, round(fill_ratio * len(by_class[GOAL])) - len(by_class[FILLED]))
    possible = [p for p in by_class[FILLED] if usable is None or records[p].patch_id in usable]
    chosen = _choose(cell, regime, [records[place] for place in possible], seed)
    by_id = {records[place].patch_id: place for place in possible}
    shares = [(chosen[n % len(chosen)], n // len(chosen)) for n in range(lacking)]
    sources = tuple(record.patch_id for record in chosen)
    if regime.kind == "oversample":
        copies = [by_id[record.patch_id] for record, _ in shares]
        return TrainingSet(np.array(places + copies), (), sources)
    added = tuple(Synthetic(record.patch_id, record.patient_id, k) for record, k in shares)
    partition.check_sources(added, cell)
    return TrainingSet(np.array(places), added, sources)


def _choose(
    cell: Cell, regime: Regime, possible: Sequence[PatchRecord], seed: int
) -> list[PatchRecord]:
    count = len(possible) if regime.sources is None else regime.sources
    if not 0 < count <= len(possible):
        raise StudyError(
            f"{cell.regime}: asks for {count or 1} source images, and fold {cell.fold} has "
            f"{len(possible)} malignant training patches of zoom {cell.train_zoom} to choose "
            "from; ask for fewer, or for all"
        )
    salt = f"{seed}/sources/{cell.draw}"  # without the fold, so that folds share generators

    def key(record: PatchRecord) -> bytes:
        return hashlib.sha256(f"{salt}/{record.patch_id}".encode()).digest()

    return sorted(possible, key=key)[:count]


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Sampling weights that make all classes equally frequent.

    Args:
      labels: (n,) int.

    Returns:
      (n,) float, 1 over the count of the label's class.
    """
    return 1.0 / np.bincount(labels)[labels]


def check_ensemble(regime: str, regimes: Sequence[str], shared_test: bool) -> None:
    """Refuses an ensemble that cannot be made; accepts a regime that is not an ensemble.

    Args:
      regime: such as `ensemble:singan-4+oversample-4`.
      regimes: all of the study.
      shared_test: see `Results`.

    Raises:
      StudyError: a member is not among the regimes or is named twice, or there is one member only
        and the folds have different test patients, so that nothing is left to average.
    """
    members = ensemble_members(regime)
    for member in members:
        if member not in regimes or ensemble_members(member):
            raise StudyError(
                f"{regime!r}: {member!r} is not among the study's single regimes; add it to them"
            )
    if len({*members}) < len(members):
        raise StudyError(f"{regime!r} names a regime twice; name each once")
    if len(members) == 1 and not shared_test:
        raise StudyError(
            f"{regime!r}: in cross-validation each patch is tested by one fold's model, so there is"
            " nothing to average; name two regimes, or use a fixed test set"
        )
