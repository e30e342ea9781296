"""Memory: what the compiled programs of training take, and the peak of a process by fleet size.

By scale, MiB of the program that trains it, from XLA's analysis: `arguments_mib` and
`temporaries_mib` of a device, and what one of its members takes of all, `member_mib`.

By fleet size, the peak of a process of its own that trains a fleet of tiny settings: `peak_mib` of
resident memory, `device_peak_mib` of a GPU's or TPU's own. Members are held in groups of at most
256, so it is flat from there on.
"""

import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import singan_jax
from launch.benchmarks import fleet
from launch.benchmarks.timing import fresh_processes
from singan_jax.config import Config
from singan_jax.devices.bucket import Bucket
from singan_jax.devices.programs import Compiler
from singan_jax.images.read import Image

FLEETS = (2, 16, 64, 256, 1024)
TINY = Config(min_size=16, max_size=16, base_channels=8, steps_per_scale=2, lr_decay_step=1)
_MIB = 2**20


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per scale, then per fleet size. Nothing is repeated, and there is no peer."""
    for side, members, _ in fleet.SIZES:
        (rows,) = fresh_processes(by_scale, [(Config(max_size=side), members)])
        yield from rows
    for members in FLEETS:
        fresh_processes(peak, [(members,)])  # compiling takes memory too
        (row,) = fresh_processes(peak, [(members,)])
        yield row


def by_scale(config: Config, members: int) -> list[dict[str, Any]]:
    """The rows of the programs that train `members` square images of `max_size`."""
    singan_jax.configure_jax()
    side = config.max_size
    compiler = Compiler(Bucket(config, (side, side, 3)))
    rows = []
    for n, size in enumerate(compiler.bucket.pyramid.sizes):
        programs = compiler.programs(n, members)
        needs = programs.chunk.memory_analysis()  # of one device
        alone = needs.output_size_in_bytes - needs.alias_size_in_bytes
        total = needs.argument_size_in_bytes + needs.temp_size_in_bytes + alone
        rows.append(
            {
                "what": f"{side}x{side}, scale {n}: {size[0]}x{size[1]}",
                "members": programs.members,
                "devices": jax.local_device_count(),
                "arguments_mib": needs.argument_size_in_bytes / _MIB,
                "temporaries_mib": needs.temp_size_in_bytes / _MIB,
                "member_mib": total / _MIB * jax.local_device_count() / programs.members,
            }
        )
    compiler.close()
    return rows


def peak(members: int) -> dict[str, Any]:
    """The row of a fleet, for a process that has done nothing else."""
    singan_jax.configure_jax()
    pixels = np.random.default_rng(0).integers(0, 256, (members, 16, 16, 3), np.uint8)
    images = [Image(f"image{n}", f"image{n}.png", one) for n, one in enumerate(pixels)]
    with tempfile.TemporaryDirectory() as folder:
        singan_jax.train_fleet(images, TINY, folder, monitor=singan_jax.Monitor(folder))
    row = {"what": "whole process", "members": members, "peak_mib": peak_resident() / _MIB}
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("peak_bytes_in_use" in one for one in stats):
        row["device_peak_mib"] = max(one["peak_bytes_in_use"] for one in stats) / _MIB
    return row


def peak_resident() -> int:
    """Bytes; not `ru_maxrss`, to which the process that started this one counts."""
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return 1024 * int(found[1])
