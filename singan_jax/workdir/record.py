"""What a work folder records of its fleet: config, members, where each is kept.

Its files:

    fleet.json    config and members; written once, extended when images are added
    runs.jsonl    one line per run: command, versions, devices, implementations
    groups/0000/  checkpoints of a group of members of one shape (see `checkpoint`)
"""

import contextlib
import dataclasses
import errno
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping

from data_pipeline.files import locking
from data_pipeline.files.writing import to_json, write_atomically
from singan_jax import runtime
from singan_jax.config import Config
from singan_jax.conv import choice
from singan_jax.errors import InputError

FORMAT = 2
_RESERVE = 2**20  # bytes for logs and pictures beside a checkpoint


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
    write_atomically(folder / "fleet.json", to_json(content, indent=1) + "\n")


def log_run(folder: pathlib.Path) -> None:
    """Appends this process' command, versions, devices and choices to runs.jsonl."""
    run = {**runtime.provenance(), "convolutions": choice.table()}
    with (folder / "runs.jsonl").open("a") as file:
        file.write(to_json(run) + "\n")


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
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locking.locked(folder))
        except BlockingIOError:
            raise WorkdirError(
                f"{folder}: another process is working in it; wait for it, or choose another "
                "`workdir`"
            ) from None
        except OSError as error:
            raise WorkdirError(
                f"{folder}: cannot be written ({error.strerror}); choose another `workdir`"
            ) from error
        yield
