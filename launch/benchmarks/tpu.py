"""What a TPU's compiler estimates of this project's programs, on a machine without a TPU.

libtpu makes the programs that a slice of TPUs would run and says of each operation how many cycles
it should take; see `hlo` for how they are added up. Nothing is run: these are the compiler's
estimates, not measurements. They compare ways of writing a program, and show where time goes.

    cycles_per_member    of an iteration and member (a sample, a patch, a head), on one chip
    ms_per_member        the same at the chip's clock
    share_of_peak        FLOP of the products that it needs (see `arithmetic`), over those that the
                         chip could do in bfloat16 in that time
    matrix_unit_share    part of the cycles that goes to convolutions and matrix products
    collectives          operations that make chips wait for each other; there should be none
    temp_mib             of a chip's memory, beside what the program takes and gives
    compile_s            seconds of tracing and compilation
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from launch.benchmarks import chips, estimates, hlo
from launch.benchmarks.chips import Chip
from launch.benchmarks.estimates import Case, Compiled
from singan_jax.config import Config, preset
from singan_jax.errors import InputError


def run(
    name: str, sizes: Sequence[int], members: Sequence[int], spread: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields a row per program.

    Args:
      name: of a slice, such as v5e:2x2.
      sizes: pixels of a side of the images, of preset singan.
      members: on each chip.
      spread: "one" for one chip, "slice" for all of the slice, or both.

    Raises:
      InputError: the slice cannot be compiled for, or has not the memory.
    """
    chip, slice_of_chips = chips.tpu_slice(name)
    kind = name.partition(":")[0]
    for on in (slice_of_chips[: 1 if one == "one" else None] for one in spread):
        for side in sizes:
            for count in members:
                config = config_of(side)
                cases = estimates.of_members(config, side, count, len(on))
                yield from rows(chip, kind, on, cases)
        # Of residual networks alone libtpu would take longer than of all the rest.
        cases = estimates.of_classifiers([("alexnet", 224)], epochs=100)
        yield from rows(chip, kind, on, cases)


def config_of(side: int) -> Config:
    """Preset singan for images of so many pixels.

    Raises:
      InputError: they are too few.
    """
    config = dataclasses.replace(preset("singan"), max_size=side)
    if side < config.min_size:
        raise InputError(f"`sizes`={side}: SinGANs need images of {config.min_size} pixels or more")
    return config


def rows(
    chip: Chip, kind: str, on: chips.Devices, cases: Iterable[Case]
) -> Iterator[dict[str, Any]]:
    """The rows of programs, made for some chips of a kind."""
    for case in cases:
        with estimates.made_for(on, chip.memory):
            made = estimates.compiled(case, chip.memory)
        yield {"chip": kind, "chips": len(on), **case.row, **_estimate(chip, case, made)}


def _estimate(chip: Chip, case: Case, made: Compiled) -> dict[str, Any]:
    program = hlo.Program(made.program.as_text())
    runs = program.runs(_cycles, case.iterations, case.of_loop)
    cycles = sum(map(_cycles, runs))
    products = sum(_cycles(run) for run in runs if program.is_product(run))
    each = cycles / case.units
    return {
        "cycles_per_member": each,
        "ms_per_member": each / chip.ghz / 1e6,
        "share_of_peak": case.flop / (each * chip.flop_per_cycle),
        "matrix_unit_share": products / cycles,
        "temp_mib": made.program.memory_analysis().temp_size_in_bytes / 2**20,
        "compile_s": made.seconds,
        "collectives": len(program.collectives()),
    }


def _cycles(run: hlo.Run) -> int:
    return run.times * run.instruction.cycles
