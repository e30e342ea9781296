"""Regimes: what the training set of a classifier is made of.

    none           the real patches, each once an epoch
    weighted       the real patches, drawn so that all classes are equally frequent (thesis)
    oversample-k   the malignant class filled up to the benign one with copies of k of its patches
    singan-k       likewise with samples of k generators, one trained on each of those k patches

k is a number or `all`. Which patches they are is up to `sources`, the same for oversample-k as for
singan-k. They may be of another zoom than the lesions trained on, the fill zoom.
"""

import collections
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np

from classify import cells
from classify.cells import Cell, StudyError, ensemble_members
from classify.plan import sources as sources_lib
from classify.plan.protocol import Partition
from classify.plan.sources import FILLED, Sources
from data_pipeline.patch_records import PatchRecord

GOAL = "Benign"  # the class up to whose count `FILLED` is filled up


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
    sources: Sources = sources_lib.ANY,
) -> TrainingSet:
    """Composes the training set of a cell.

    Args:
      cell: the cell.
      records: all patches of the dataset.
      partition: of the cell's fold.
      fill_ratio: malignant patches after filling up, as a multiple of the benign ones.
      seed: of the study, for the draws.
      usable: patch ids that may be sources; all where None.
      sources: how the others are chosen.

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
    counts: collections.Counter[str] = collections.Counter()
    counts.update(records[place].classification for place in places)
    lacking = max(0, round(fill_ratio * counts[GOAL]) - counts[FILLED])
    chosen = sources_lib.choose(sources, regime.sources, cell, records, partition, seed, usable)
    shares = [(chosen[n % len(chosen)], n // len(chosen)) for n in range(lacking)]
    names = tuple(record.patch_id for record in chosen)
    if regime.kind == "oversample":
        by_id = {record.patch_id: place for place, record in enumerate(records)}
        copies = [by_id[record.patch_id] for record, _ in shares]
        return TrainingSet(np.array(places + copies), (), names)
    added = tuple(Synthetic(record.patch_id, record.patient_id, k) for record, k in shares)
    partition.check_sources(added, cell)
    return TrainingSet(np.array(places), added, names)


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
        and the folds have different test patients, so that nothing is left to average (the models
        of other folds may have been trained on a patient).
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
            f"{regime!r}: each fold's model tests other patients, so there is nothing to average;"
            " name two regimes, or use one test set for all folds (`protocol`=paper)"
        )
