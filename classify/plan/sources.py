"""Sources: the malignant patches that are copied, or that generators are trained on.

    random         any malignant patch of a training patient
    balanced       half of films, half of digital mammograms, as in the thesis; of an odd number the
                   larger half is of films
    <patch ids>    these, in this order
    <a query>      any that it selects, see `data_pipeline.query`

Patches of patients who are not for training in a fold are no sources in that fold. But for listed
ones, a draw is one random order of all malignant patches. The k sources are the first k that may
be: those of a smaller k are among those of a larger, and folds share generators.

At another fill zoom the same lesions are the sources, so that effects of the zoom are not mixed
with those of the choice. Random sources follow the order at the train zoom; the others follow one
order at all train zooms. A patch that is named stands for its lesion where it is not of the fill
zoom itself. At a joint fill zoom, such as 1+2, the second patch of a lesion comes after the first
of every other.
"""

import collections
import hashlib
import itertools
import pathlib
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from classify import cells
from classify.cells import Cell, StudyError
from classify.plan.protocol import LeakError, Partition
from data_pipeline import load, query
from data_pipeline.patch_records import PatchRecord

FILLED = "Malign"  # the class that is filled up
RANDOM, BALANCED = "random", "balanced"


class Sources(NamedTuple):
    """Which patches may be sources.

    Attributes:
      kind: how they are chosen.
      named: patch ids, where they are listed or queried.
    """

    kind: Literal["random", "balanced", "listed", "queried"] = "random"
    named: tuple[str, ...] = ()


ANY = Sources()


def are_listed(stated: Sequence[str]) -> bool:
    """Whether `StudyConfig.sources` lists patch ids."""
    return tuple(stated) not in ((RANDOM,), (BALANCED,)) and not query.is_query(",".join(stated))


def read(
    stated: Sequence[str],
    records: Sequence[PatchRecord],
    folds: Sequence[Partition],
    data_dir: pathlib.Path,
    dataset: str,
    configs: Sequence[str],
) -> Sources:
    """Reads `StudyConfig.sources`, and checks them.

    Args:
      stated: a query may be split at its commas, as a command line does it.
      records: all patches of the dataset.
      folds: of the study.
      data_dir: where the dataset was prepared.
      dataset: its name.
      configs: of the dataset, in the study's patch size.

    Raises:
      StudyError: a patch is not there or is not malignant, or a query is of another dataset.
      LeakError: a patch is of a patient who is for testing in every fold, or one that is listed of
        a patient who is for training in none.
      DataError: the query is wrong.
    """
    if tuple(stated) in ((RANDOM,), (BALANCED,)):
        return Sources("random" if RANDOM in stated else "balanced")
    by_id = {record.patch_id: record for record in records}
    if are_listed(stated):
        sources = Sources("listed", tuple(stated))
    else:
        sources = Sources("queried", _selected(",".join(stated), data_dir, dataset, configs))
    for name in sources.named:
        if name not in by_id:
            raise StudyError(
                f"`sources`: {dataset}/{configs[-1]} has no patch {name!r}; write random, "
                "balanced, ids of its malignant patches, or a query that selects some"
            )
        if by_id[name].classification != FILLED:
            raise StudyError(
                f"`sources`: {name!r} is {by_id[name].classification}, and only malignant patches "
                "are filled up with; leave it out (a query with [classification=Malign])"
            )
        _check_patient(sources, by_id[name], folds)
    return sources


def _selected(
    text: str, data_dir: pathlib.Path, dataset: str, configs: Sequence[str]
) -> tuple[str, ...]:
    wanted = query.parse(text)
    if wanted.dataset != dataset or wanted.config not in configs:
        raise StudyError(
            f"`sources`={text}: is of {wanted.dataset}/{wanted.config}, the study is of {dataset}, "
            f"whose configs in its `patch_size` are {', '.join(configs)}"
        )
    return tuple(record.patch_id for record, _ in load.load(data_dir, wanted))


def _check_patient(sources: Sources, record: PatchRecord, folds: Sequence[Partition]) -> None:
    patient = record.patient_id
    who = f"`sources`: {record.patch_id!r} is of patient {patient!r}, who is for"
    if all(patient in fold.test for fold in folds):
        raise LeakError(f"{who} testing in every fold; leave it out, or choose another `protocol`")
    if sources.kind == "listed" and not any(patient in fold.train for fold in folds):
        raise LeakError(f"{who} training in no fold; leave it out, or use more `folds`")


def choose(
    sources: Sources,
    count: int | None,
    cell: Cell,
    records: Sequence[PatchRecord],
    partition: Partition,
    seed: int,
    usable: Collection[str] | None = None,
) -> list[PatchRecord]:
    """Chooses the sources of a cell.

    Args:
      sources: which may be.
      count: how many; all where None. Of named sources there may be fewer in a fold, where
        patients of some are not for training in it.
      cell: which.
      records: all patches of the dataset.
      partition: of the cell's fold.
      seed: of the study, for the draws.
      usable: patch ids that there are samples of; all where None.

    Returns:
      Malignant patches of training patients, of the fill zoom.

    Raises:
      StudyError: there are too few.
    """
    malignant = [record for record in records if record.classification == FILLED]
    groups = cells.zoom_groups(cell.fill_zoom or cell.train_zoom)
    possible = [r for r in malignant if r.patient_id in partition.train and r.zoom_group in groups]
    if sources.kind != "listed" and usable is not None:
        possible = [record for record in possible if record.patch_id in usable]
    salt = f"{seed}/sources/{cell.draw}"  # without the fold, so that folds share generators
    if sources.named:
        named = _at_zoom(sources, malignant, groups)
        possible = [record for record in possible if record.patch_id in named]
        count = _count_named(count, cell, len(named), len(possible))
    if sources.kind == "listed":
        ordered = sorted(possible, key=lambda record: named.index(record.patch_id))
    elif sources.kind == "random" and not cell.fill_zoom:
        ordered = sorted(possible, key=lambda record: _digest(f"{salt}/{record.patch_id}"))
    else:
        ordered = _by_lesion(sources, possible, malignant, cell, salt)
    chosen = (_balanced if sources.kind == "balanced" else _first)(ordered, count, cell)
    for record in chosen:
        if usable is not None and record.patch_id not in usable:
            raise StudyError(
                f"{cell.regime}: `sources` names {record.patch_id!r}, and `samples` has none made "
                "from it; draw them, or leave it out"
            )
    return chosen


def _at_zoom(
    sources: Sources, malignant: Sequence[PatchRecord], groups: frozenset[int]
) -> list[str]:
    """Patch ids of the fill zoom that the named ones stand for, in their order, each once."""
    by_id = {record.patch_id: record for record in malignant}
    of_lesion: dict[str, list[str]] = collections.defaultdict(list)
    for record in malignant:
        if record.zoom_group in groups:
            of_lesion[lesion(record)].append(record.patch_id)
    found: list[list[str]] = []
    for name in sources.named:
        record = by_id[name]
        found.append([name] if record.zoom_group in groups else sorted(of_lesion[lesion(record)]))
        if not found[-1] and sources.kind == "listed":
            zoom = "+".join(map(str, sorted(groups - {0})))
            raise StudyError(f"`sources`: the lesion of {name!r} has no patch of zoom {zoom}")
    turns = itertools.chain.from_iterable(itertools.zip_longest(*found))
    return list(dict.fromkeys(name for name in turns if name is not None))


def _count_named(count: int | None, cell: Cell, named: int, possible: int) -> int:
    """How many of the named sources a cell has."""
    if count is not None and count > named:
        raise StudyError(
            f"{cell.regime}: asks for {count} source images, and `sources` names {named}; name "
            "more, or ask for fewer or for all"
        )
    if not possible:
        raise StudyError(
            f"{cell.regime}: none of the patches that `sources` names is of a training patient of "
            f"fold {cell.fold}; name those of more patients, or choose another `seed`"
        )
    return possible if count is None else min(count, possible)


def _first(ordered: Sequence[PatchRecord], count: int | None, cell: Cell) -> list[PatchRecord]:
    count = len(ordered) if count is None else count
    if not 0 < count <= len(ordered):
        raise StudyError(
            f"{cell.regime}: asks for {count or 1} source images, and fold {cell.fold} has "
            f"{_there(ordered, cell)} to choose from; ask for fewer, or for all"
        )
    return list(ordered[:count])


def _by_lesion(
    sources: Sources,
    possible: Sequence[PatchRecord],
    malignant: Sequence[PatchRecord],
    cell: Cell,
    salt: str,
) -> list[PatchRecord]:
    """In the draw's order of lesions; of several patches of a lesion, one in each turn."""
    place: dict[str, bytes] = {}
    if sources.kind == "random":  # as the sources at the train zoom are ordered
        for record in malignant:
            if record.zoom_group in cells.zoom_groups(cell.train_zoom):
                own = _digest(f"{salt}/{record.patch_id}")
                place[lesion(record)] = min(own, place.get(lesion(record), own))
    before: collections.Counter[str] = collections.Counter()
    turns = []
    for record in sorted(possible, key=lambda record: _digest(f"{salt}/{record.patch_id}")):
        name = lesion(record)
        turns.append((before[name], place.get(name, _digest(f"{salt}/{name}")), record))
        before[name] += 1
    return [record for *_, record in sorted(turns, key=lambda turn: turn[:2])]


def _balanced(ordered: Sequence[PatchRecord], count: int | None, cell: Cell) -> list[PatchRecord]:
    """The first of each format, film and digital in turn."""
    if count is None:
        raise StudyError(
            f"{cell.regime}: `sources`=balanced are half of films, half of digital mammograms; ask "
            "for a number of them"
        )
    films = [record for record in ordered if record.format == "Film"]
    digital = [record for record in ordered if record.format == "Digital"]
    wanted = count - count // 2, count // 2
    if len(films) < wanted[0] or len(digital) < wanted[1]:
        raise StudyError(
            f"{cell.regime}: `sources`=balanced needs {wanted[0]} of films and {wanted[1]} of "
            f"digital mammograms, and fold {cell.fold} has {len(films)} and {len(digital)} in "
            f"{_there(ordered, cell)}; ask for fewer, or use `sources`=random"
        )
    both = itertools.zip_longest(films[: wanted[0]], digital[: wanted[1]])
    return [record for record in itertools.chain.from_iterable(both) if record is not None]


def _there(possible: Sequence[PatchRecord], cell: Cell) -> str:
    zoom = cell.fill_zoom or cell.train_zoom
    return f"{len(possible)} malignant training patches of zoom {zoom}"


def lesion(record: PatchRecord) -> str:
    """Which lesion a patch shows, the same for all its zooms."""
    return f"{record.patient_id}/{record.image_id}/{record.lesion_id}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def check_fill_zooms(fill_zooms: Iterable[str], records: Sequence[PatchRecord]) -> None:
    """Raises `StudyError` for a fill zoom that no malignant patch has."""
    there = {record.zoom_group for record in records if record.classification == FILLED}
    for text in fill_zooms:
        lacking = () if text == cells.SAME else cells.zoom_groups(text) - {0} - there
        if lacking:
            known = ", ".join(map(str, sorted(there))) or "none"
            raise StudyError(
                f"`fill_zooms`={text}: the dataset has no malignant patch of zoom group "
                f"{min(lacking)}; it has {known}"
            )
