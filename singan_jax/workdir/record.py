"""What a work folder records of its fleet: config, members, where each is kept.

Its files:

    fleet.json    config and members; written once, extended when images are added
    runs.jsonl    one line per run: command, versions, devices
    groups/0000/  checkpoints of a group of members of one shape (see `checkpoint`)
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from singan_jax import runtime
from singan_jax.config import Config
from singan_jax.errors import InputError
from singan_jax.files import differences, write_atomically
from singan_jax.images.read import Image

FORMAT = 2
_RESERVE = 2**20  # bytes for logs and pictures beside a checkpoint
GROUP_SIZE = 256  # members whose arrays are held in host memory at once


class WorkdirError(InputError):
    """The work folder cannot serve this command; the message says why and how to go on."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One image of a fleet and the place of its model.

    Attributes:
      name: unique in the fleet.
      source: path of the image.
      digest: of its pixels; with config and seed it determines the model.
      shape: (H, W, C); C is 2 or 4 where the last channel is a mask.
      bit_depth: 8 or 16.
      provenance: of the image, for manifests.
      group: number of the group it is kept in.
      index: its place in that group.
      images: how many images train the model together.
      settings: hyperparameters that differ from the fleet's config.
      attempt: number of restarts after training went wrong; part of its seed.
    """

    name: str
    source: str
    digest: str
    shape: tuple[int, int, int]
    bit_depth: int
    provenance: Mapping[str, str]
    group: int
    index: int
    images: int = 1
    settings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    attempt: int = 0

    @property
    def kind(self) -> tuple[tuple[int, int, int], int]:
        """What members that share programs have in common: see `bucket.Bucket`."""
        return self.shape, self.images

    @property
    def has_mask(self) -> bool:
        """Whether the last channel is a mask."""
        return self.shape[2] in (2, 4)


@dataclasses.dataclass(frozen=True)
class FleetRecord:
    """The content of fleet.json.

    Attributes:
      config: common to all members.
      members: one per image.
      retired: attempts that went wrong and were started afresh elsewhere; their places in their
        groups stay taken.
    """

    config: Config
    members: tuple[Member, ...]
    retired: tuple[Member, ...] = ()

    def groups(self) -> dict[int, list[Member]]:
        """Members by group, including the retired ones, each in the order of `index`."""
        found: dict[int, list[Member]] = {}
        for member in sorted((*self.members, *self.retired), key=lambda m: (m.group, m.index)):
            found.setdefault(member.group, []).append(member)
        return found


def read_record(folder: pathlib.Path) -> FleetRecord:
    """Reads fleet.json.

    Raises:
      WorkdirError: there is no fleet.json, or it is damaged or of another format.
    """
    path = folder / "fleet.json"
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise WorkdirError(
                f"{path}: format {content['format']}, this version reads {FORMAT}; use the "
                "version of singan-jax that wrote it"
            )
        members, retired = (
            tuple(Member(**{**m, "shape": tuple(m["shape"])}) for m in content[name])
            for name in ("members", "retired")
        )
        return FleetRecord(Config(**content["config"]), members, retired)
    except FileNotFoundError:
        raise WorkdirError(
            f"{folder}: holds no fleet (no fleet.json); train one with `train_fleet`"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise WorkdirError(f"{path}: damaged ({error!r}); restore it from a copy") from error


def write_record(folder: pathlib.Path, record: FleetRecord) -> None:
    """Writes fleet.json."""
    content = {
        "format": FORMAT,
        "config": record.config.to_dict(),
        "members": [dataclasses.asdict(member) for member in record.members],
        "retired": [dataclasses.asdict(member) for member in record.retired],
    }
    write_atomically(folder / "fleet.json", json.dumps(content, indent=1) + "\n")


def log_run(folder: pathlib.Path) -> None:
    """Appends this process' command, versions and devices to runs.jsonl."""
    with (folder / "runs.jsonl").open("a") as file:
        file.write(json.dumps(runtime.provenance()) + "\n")


def require_space(folder: pathlib.Path, size: int) -> None:
    """Makes sure that a folder's disk has room for `size` bytes and a little more.

    Checked before writing, since libraries report a disk that fills up midway in many pages.

    Raises:
      OSError: there is less room.
    """
    free = shutil.disk_usage(folder).free
    if free < size + _RESERVE:
        raise OSError(
            errno.ENOSPC,
            f"{folder}: No space left: {(size + _RESERVE) / 1e6:.1f} MB are needed and "
            f"{free / 1e6:.1f} MB free; make room, then repeat the command to go on",
        )


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Makes sure that one process at a time writes to the folder, which is created if missing.

    Raises:
      WorkdirError: it cannot be created or written to, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise WorkdirError(
            f"{folder}: cannot be written ({error.strerror}); choose another `workdir`"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkdirError(
                f"{folder}: another process is working in it; wait for it, or choose another "
                "`workdir`"
            ) from None
        yield


def _place(images: Sequence[tuple[Image, int]], first_group: int) -> list[Member]:
    """Puts images (with their attempt) into groups: by shape, evenly, at most GROUP_SIZE each."""
    buckets: dict[tuple[int, ...], list[tuple[Image, int]]] = {}
    for image, attempt in images:
        shape = (1 + len(image.more), *image.shape)
        buckets.setdefault(shape, []).append((image, attempt))
    members, group = [], first_group
    for bucket in buckets.values():
        count = -(-len(bucket) // GROUP_SIZE)
        size = -(-len(bucket) // count)
        for n, (image, attempt) in enumerate(bucket):
            members.append(
                Member(
                    image.name,
                    image.source,
                    image.digest,
                    image.shape,
                    image.bit_depth,
                    dict(image.provenance),
                    group + n // size,
                    n % size,
                    1 + len(image.more),
                    dict(image.settings),
                    attempt,
                )
            )
        group += count
    return members


def enroll(
    folder: pathlib.Path, images: Sequence[Image], config: Config, retry: Sequence[str] = ()
) -> FleetRecord:
    """The fleet of a work folder, created from or extended by `images`.

    Args:
      folder: the work folder, locked.
      images: all images of the command; those the fleet does not know yet are added.
      config: must be the fleet's.
      retry: names of members to restart from a new seed.

    Raises:
      WorkdirError: the folder holds a fleet of another config, an image has changed since, or an
        image of the fleet is missing from `images`.
    """
    if not (folder / "fleet.json").exists():
        record = FleetRecord(config, tuple(_place([(image, 0) for image in images], 0)))
        write_record(folder, record)
        return record
    record = read_record(folder)
    _refuse_other_config(folder, record.config, config)
    given = {image.name: image for image in images}
    for member in record.members:
        if member.name not in given:
            raise WorkdirError(
                f"{folder}: trained on {member.source} too, which this command does not name; add "
                "it to `images`, or choose another `workdir`"
            )
        if given[member.name].digest != member.digest:
            raise WorkdirError(
                f"{given[member.name].source}: differs from the image that {folder} was trained "
                f"on as {member.name!r}; rename it, or choose another `workdir`"
            )
        if given[member.name].settings != member.settings:
            raise WorkdirError(
                f"{folder}: trained {member.name!r} with {member.settings}, not with "
                f"{given[member.name].settings}; repeat its `sweep`, or choose another `workdir`"
            )
    known = {member.name: member for member in record.members}
    starts = [
        (image, known[image.name].attempt + 1 if image.name in known else 0)
        for image in images
        if image.name not in known or image.name in retry
    ]
    if starts:
        kept = [member for member in record.members if member.name not in retry]
        retired = [member for member in record.members if member.name in retry]
        members = (*kept, *_place(starts, 1 + max(record.groups())))
        record = FleetRecord(config, members, (*record.retired, *retired))
        write_record(folder, record)
    return record


def _refuse_other_config(folder: pathlib.Path, old: Config, new: Config) -> None:
    if changes := differences(old.to_dict(), new.to_dict()):
        raise WorkdirError(
            f"{folder}: holds a fleet with other settings ({changes}); repeat them to go on with "
            "it, or choose another `workdir`"
        )
