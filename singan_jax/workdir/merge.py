"""A fleet trained in shards that know nothing of each other, and the one fleet made of them.

Shard i of n trains every n-th image from the i-th on, as a fleet of its own:

    shards/3-of-16/   work folder of shard 3

Merging moves the shards' groups, under new numbers, into the work folder; then fleet.json, which
makes them one fleet; then the shards' folders go. Each step is one renaming or can be repeated, so
merging may be killed at any moment and started again.
"""

import contextlib
import dataclasses
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TypeVar

from data_pipeline.errors import InputWarning
from data_pipeline.files.writing import replacing
from singan_jax.errors import InputError
from singan_jax.scale.pyramid import Pyramid
from singan_jax.workdir import finished
from singan_jax.workdir.checkpoint import Store
from singan_jax.workdir.record import (
    FleetRecord,
    Member,
    WorkdirError,
    locked,
    read_record,
    write_record,
)

_NAME = re.compile(r"(\d+)-of-(\d+)")
_DONE = ".merged"  # what is left of the shards once fleet.json is there
_OURS = re.compile(r"fleet\.json|runs\.jsonl|metrics(_\d+)?\.jsonl|\.lock|\..+\.[0-9a-f]{32}\.tmp")
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `index`, from 0, of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads "i/n".

        Raises:
          InputError: the text has another form.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or int(match[1]) >= int(match[2]):
            raise InputError(f"`shard`={text}: must be i/n with i from 0 to n - 1, as in 0/4")
        return cls(int(match[1]), int(match[2]))

    def part(self, everything: Sequence[_T]) -> list[_T]:
        """The part of a list that falls to this shard."""
        return list(everything[self.index :: self.count])

    def folder(self, folder: pathlib.Path) -> pathlib.Path:
        """Its work folder.

        Raises:
          WorkdirError: `folder` holds a fleet that was trained whole or is merged already.
        """
        if (folder / "fleet.json").exists() or (folder / "groups").exists():
            raise WorkdirError(
                f"{folder}: holds a fleet that is not in shards, or whose merging has begun; leave "
                "out `shard`, or run `merge`, or choose another `workdir`"
            )
        return folder / "shards" / f"{self.index}-of-{self.count}"


def refuse_unmerged(folder: pathlib.Path) -> None:
    """Raises `WorkdirError` where a folder holds shards that are not merged yet."""
    if (folder / "shards").exists():
        raise WorkdirError(
            f"{folder}: holds the shards of a fleet; train them with `shard`, then make one fleet "
            "of them with `merge`, or choose another `workdir`"
        )


def merge(workdir: str | pathlib.Path) -> FleetRecord:
    """Makes one fleet of all shards in a work folder; does nothing where that was done before.

    Returns:
      The fleet.

    Raises:
      WorkdirError: there are no shards, some are missing or unfinished or do not fit together, or
        one is being trained.
    """
    folder = pathlib.Path(workdir)
    if not folder.is_dir():
        raise WorkdirError(f"{folder}: does not exist; name the `workdir` of the shards")
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        if (folder / "shards").exists():
            shards = _all_shards(folder)
            for path in shards:
                stack.enter_context(locked(path))
            _merge(folder, shards)
        elif not (folder / "fleet.json").exists():
            raise WorkdirError(f"{folder}: holds no shards; train them with `shard` first")
        _clear(folder / _DONE)
    return read_record(folder)


def _clear(done: pathlib.Path) -> None:
    """Removes what is left of merged shards; what is not of a fleet stays, which a warning says."""
    if not done.is_dir():
        return
    for shard in done.iterdir():
        if not (_NAME.fullmatch(shard.name) and shard.is_dir()):
            continue
        for path in shard.iterdir():
            if _OURS.fullmatch(path.name) and path.is_file():
                path.unlink()
        for path in (shard / "groups", shard / "pictures", shard):
            with contextlib.suppress(OSError):  # not empty, or not there
                path.rmdir()
    with contextlib.suppress(OSError):
        done.rmdir()
    if left := [path for path in done.rglob("*") if not path.is_dir()]:
        others = f" (and {len(left) - 1} more)" if left[1:] else ""
        problem = "is no part of a fleet, and was among the shards"
        warnings.warn(
            f"{left[0]}{others}: {problem}; move or remove it", InputWarning, stacklevel=3
        )


def _all_shards(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of all shards, in order."""
    found: dict[int, set[int]] = {}
    for path in (folder / "shards").iterdir():
        if (match := _NAME.fullmatch(path.name)) and (path / "fleet.json").exists():
            found.setdefault(int(match[2]), set()).add(int(match[1]))
    if len(found) != 1:
        counts = ", ".join(map(str, sorted(found))) or "none"
        raise WorkdirError(
            f"{folder}: must hold shards i-of-n of a single n (n found: {counts}); remove those "
            f"that do not belong from {folder / 'shards'}"
        )
    ((count, indices),) = found.items()
    missing = [n for n in range(count) if n not in indices]
    if missing:
        raise WorkdirError(f"{folder}: {_listed(missing, count)} missing; train it with `shard`")
    return [folder / "shards" / f"{n}-of-{count}" for n in range(count)]


def _listed(indices: Sequence[int], count: int) -> str:
    shown = ", ".join(map(str, indices[:20])) + (", ..." if indices[20:] else "")
    return f"shard {shown} of {count} is" if len(indices) == 1 else f"shards {shown} of {count} are"


def _merge(folder: pathlib.Path, shards: Sequence[pathlib.Path]) -> None:
    records = [read_record(path) for path in shards]
    moves = _moves(folder, shards, records)
    merged = _merged(folder, records)
    _require_finished(folder, shards, records, moves)
    if (folder / "fleet.json").exists() and read_record(folder) != merged:
        raise WorkdirError(
            f"{folder}: holds another fleet beside the shards; move {folder / 'shards'} into a "
            "folder of its own and merge there"
        )
    (folder / "groups").mkdir(exist_ok=True)
    for source, target in [*moves, *_sights(folder, shards, records)]:
        if source.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)
    for name in ("metrics.jsonl", "runs.jsonl"):
        _join_lines([path / name for path in shards], folder / name)
    write_record(folder, merged)
    (folder / "shards").rename(folder / _DONE)


def _numbered(records: Sequence[FleetRecord]) -> Iterator[tuple[int, int, int]]:
    """(shard, its group, the merged fleet's group) of all groups."""
    number = 0
    for shard, record in enumerate(records):
        for group in record.groups():
            yield shard, group, number
            number += 1


def _moves(
    folder: pathlib.Path, shards: Sequence[pathlib.Path], records: Sequence[FleetRecord]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Each group's folder in its shard and in the merged fleet."""
    return [
        (finished.group_folder(shards[shard], group), finished.group_folder(folder, number))
        for shard, group, number in _numbered(records)
    ]


def _sights(
    folder: pathlib.Path, shards: Sequence[pathlib.Path], records: Sequence[FleetRecord]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """The same for each shard's pictures and training curves."""
    found = [(path / "tensorboard", folder / "tensorboard" / path.name) for path in shards]
    for shard, group, number in _numbered(records):
        for path in (shards[shard] / "pictures").glob(f"group_{group:04d}_*"):
            renamed = path.name.replace(f"group_{group:04d}", f"group_{number:04d}", 1)
            found.append((path, folder / "pictures" / renamed))
    return found


def _merged(folder: pathlib.Path, records: Sequence[FleetRecord]) -> FleetRecord:
    """What fleet.json will say."""
    config = records[0].config
    for shard, record in enumerate(records):
        if record.config != config:
            raise WorkdirError(
                f"{folder}: shard {shard} was trained with other settings than shard 0; train one "
                "of them again with those of the other"
            )
    numbers = {(shard, group): number for shard, group, number in _numbered(records)}

    def placed(shard: int, members: Sequence[Member]) -> list[Member]:
        return [dataclasses.replace(m, group=numbers[shard, m.group]) for m in members]

    members = [m for shard, record in enumerate(records) for m in placed(shard, record.members)]
    retired = [m for shard, record in enumerate(records) for m in placed(shard, record.retired)]
    sources: dict[str, str] = {}
    for member in members:
        if member.name in sources:
            raise WorkdirError(
                f"{folder}: {member.source} and {sources[member.name]} in two shards have the same "
                f"member name, {member.name!r}; all shards must be given the same `images`"
            )
        sources[member.name] = member.source
    return FleetRecord(config, tuple(members), tuple(retired))


def _require_finished(
    folder: pathlib.Path,
    shards: Sequence[pathlib.Path],
    records: Sequence[FleetRecord],
    moves: Sequence[tuple[pathlib.Path, pathlib.Path]],
) -> None:
    unfinished = []
    places = iter(moves)
    for shard, record in enumerate(records):
        for members in record.groups().values():
            source, target = next(places)
            store = Store(source if source.exists() else target, read_only=True)
            scales = Pyramid.of(members[0].shape[:2], record.config).num_scales
            if finished.finished_scales(store, range(len(members)), scales) < scales:
                unfinished.append(shard)
    if unfinished:
        listed = _listed(list(dict.fromkeys(unfinished)), len(shards))
        raise WorkdirError(f"{folder}: {listed} unfinished; go on with it with `shard`")


def _join_lines(parts: Sequence[pathlib.Path], whole: pathlib.Path) -> None:
    with replacing(whole) as file:
        for part in parts:
            if part.exists():
                content = part.read_bytes()
                file.write(content[: content.rfind(b"\n") + 1])  # a kill may leave half a line
