"""What the compiler makes of this project's programs for an H100, on a machine without a GPU.

JAX's CUDA plugin makes them for a described H100. It estimates no times, but what it makes can be
counted: kernels, and the bytes that each reads and writes, of which memory moves so many a second.
Nothing is run: these are the compiler's estimates, not measurements, and the times are the least
possible: arithmetic and the start of kernels come on top. (A kernel counts as reading all that it
is given, even where it takes a part.) Sampling, features and heads are left out: without a device
to try on, XLA finds no tiles for some of their small products, and gives up.

    kernels          of an iteration of all members together
    gb_per_member    GB read and written in an iteration, by member
    least_ms         milliseconds that moving them takes
    temp_mib         of the memory, beside what the program takes and gives
    compile_s        seconds of tracing and compilation
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax

from launch.benchmarks import chips, estimates, hlo, tpu
from launch.benchmarks.estimates import Case, Compiled


def run(sizes: Sequence[int], members: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields a row per program; see `tpu.run`."""
    device = chips.h100()
    for side in sizes:
        for count in members:
            cases = estimates.of_members(tpu.config_of(side), side, count, 1)
            yield from rows(device, (one for one in cases if one.row["what"] == "training"))


def rows(device: jax.Device, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """The rows of programs."""
    for case in cases:
        with estimates.made_for([device], chips.H100_MEMORY):
            made = estimates.compiled(case, chips.H100_MEMORY)
        yield {"chip": "H100", **case.row, **_estimate(case, made)}


def _estimate(case: Case, made: Compiled) -> dict[str, Any]:
    program = hlo.Program(made.program.as_text())
    runs = program.runs(program.traffic, case.iterations, case.of_loop)
    moved = sum(one.times * program.traffic(one) for one in runs) / case.units
    return {
        "kernels": sum(one.times for one in runs),
        "gb_per_member": moved / 1e9,
        "least_ms": moved / chips.H100_BYTES_PER_SECOND * 1e3,
        "temp_mib": made.program.memory_analysis().temp_size_in_bytes / 2**20,
        "compile_s": made.seconds,
    }
