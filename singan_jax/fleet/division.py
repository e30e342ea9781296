"""How several processes divide a fleet: about equal work for each, in few groups."""

import pathlib
import time
import zlib
from collections.abc import Sequence

import numpy as np

from singan_jax.config import Config
from singan_jax.devices.preemption import Watch
from singan_jax.fleet.cost import member_cost
from singan_jax.scale.pyramid import Pyramid
from singan_jax.workdir import finished
from singan_jax.workdir.checkpoint import Store
from singan_jax.workdir.record import Member, WorkdirError, read_record

_MANY_SIZES = 4  # so many, and more than devices, take longer than most expect,
_MANY_OF_A_SIZE = 16  # unless each is of so many images that devices are busy with one alone
_PATIENCE = 90.0  # seconds within which all hosts must see what one wrote; NFS may take 60


def agree(folder: pathlib.Path, config: Config, watch: Watch) -> list[list[Member]]:
    """The groups with something left to train, the same in all processes.

    The first process looks when it calls this; the others wait until they see the same.

    Raises:
      WorkdirError: a process sees a different folder from the first's.
      Exception: the reason to stop that `watch` gives.
    """
    groups = unfinished(folder, config)
    if reason := watch.reason_to_stop(_checksum(groups)):
        raise reason
    deadline = time.monotonic() + _PATIENCE
    while _checksum(groups) != watch.message:
        if time.monotonic() > deadline:
            raise WorkdirError(
                f"{folder}: does not show here what the first process wrote there; name a "
                "`workdir` that all hosts share"
            )
        time.sleep(1.0)
        groups = unfinished(folder, config)
    return groups


def unfinished(folder: pathlib.Path, config: Config) -> list[list[Member]]:
    """Groups with a member that has not finished all scales; empty where there is no fleet."""
    if not (folder / "fleet.json").exists():
        return []
    found = []
    for group, members in read_record(folder).groups().items():
        store = Store(finished.group_folder(folder, group), read_only=True)
        scales = Pyramid.of(members[0].shape[:2], config).num_scales
        if finished.finished_scales(store, range(len(members)), scales) < scales:
            found.append(members)
    return found


def about_sizes(groups: Sequence[Sequence[Member]], devices: int) -> str:
    """A line on images of many sizes, which no batch holds together; empty where they are few.

    Args:
      groups: those with something left to train.
      devices: how many there are; call it only where each trains its members as one batch.
    """
    sizes = {group[0].shape[:2] for group in groups}
    members = sum(map(len, groups))
    if len(sizes) < max(_MANY_SIZES, devices + 1) or members >= len(sizes) * _MANY_OF_A_SIZE:
        return ""
    return (
        f"{members} images of {len(sizes)} sizes: a device trains images of one size as one batch, "
        "those of different sizes one after another; crop or resize them to one size to train "
        "faster"
    )


def members_of_process(
    groups: Sequence[Sequence[Member]], config: Config, process: int, processes: int
) -> list[list[Member]]:
    """The part of each group that a process trains; groups without such a part are left out.

    All members stand in a line, which is cut into pieces of about equal cost, so a process gets
    consecutive members of as few groups (and so compiles as few programs) as possible.
    """
    costs = np.concatenate([[cost(config, group[0])] * len(group) for group in groups] or [[]])
    middles = np.cumsum(costs) - costs / 2
    owners = iter((middles / costs.sum() * processes).astype(int))
    parts = [[member for member in group if next(owners) == process] for group in groups]
    return [part for part in parts if part]


def cost(config: Config, member: Member) -> float:
    """Time of training a member, in arbitrary units."""
    return member_cost(config, Pyramid.of(member.shape[:2], config))


def _checksum(groups: Sequence[Sequence[Member]]) -> int:
    return zlib.crc32(repr(groups).encode()) & 0x7FFFFFFF
