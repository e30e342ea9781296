"""The processors and the memory that this process may use: the machine's, or its container's.

A container (Docker, Kubernetes, Slurm with cgroups) limits both by control groups, which neither
`os.cpu_count` nor the machine's memory show.
"""

import math
import os
import pathlib
import sys
from collections.abc import Iterator

_GROUPS = pathlib.Path("/proc/self/cgroup")
_MOUNT = pathlib.Path("/sys/fs/cgroup")


def cpus() -> int:
    """How many processors this process may use at once, at least 1.

    The smallest of those it is bound to and, rounded up, what control groups grant it.
    """
    bound = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    granted = [_share(folder) for folder in _folders("cpu")]
    return max(1, min(bound, *(math.ceil(share) for share in granted if share > 0), bound))


def memory_bytes() -> int:
    """The memory this process may use: the machine's or, if less, what control groups grant."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    granted = [
        limit
        for folder in _folders("memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) > 0
    ]
    return int(min([machine, *granted]))


def _folders(controller: str) -> Iterator[pathlib.Path]:
    """The folders of the control groups that this process is in, and of those around them.

    Version 2 has one tree, version 1 one for each controller. Inside a container the path that
    the kernel tells may be of the host's tree, where only the mount's root is of the own group.
    """
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:  # no Linux, or no control groups
        return
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        roots = [_MOUNT / names, _MOUNT / controller] if names else [_MOUNT]
        for root in dict.fromkeys(roots):
            inside = pathlib.PurePosixPath(path.lstrip("/"))
            yield from (root / folder for folder in (inside, *inside.parents))


def _share(folder: pathlib.Path) -> float:
    """Processors that a group is granted; 0 where it is not limited."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = "", ""
    if quota.isdigit() and period.isdigit():
        return int(quota) / max(int(period), 1)
    limit, span = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return limit / span if limit > 0 and span > 0 else 0.0


def _number(path: pathlib.Path) -> float:
    """The number that a file of a control group holds; 0 where there is none, or no limit."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # "max"
        return 0.0
