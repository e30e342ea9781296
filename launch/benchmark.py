r"""Measures speed and memory on the machine at hand, beside PyTorch where it is installed.

    python -m launch.benchmark --suites=step --peer=torch --json=step.json --plot=step.png
    python -m launch.benchmark --suites=conv --suites=sample
    python -m launch.benchmark --suites=tpu --tpu=v6e:2x2 --sizes=64 --sizes=128 \
        --members_per_chip=32 --chips=one

Suites:

    memory        MiB of training's programs by scale; peak of a process by the size of its fleet
    pipeline      seconds from images to samples, with a cold and a warm compilation cache, in parts
    conv          GFLOP/s of each way to compute a layer, beside the machine's matrix product
    step          milliseconds of one training iteration at several sizes
    fleet         generators an hour, all scales of an image; for several sizes, numbers of members
                  and of devices
    sample        samples a second
    patches       patches a second cut from mammograms of full size, beside a loop over pixels
    features      features a second from frozen backbones, patches of 224x224 pixels
    heads         classifier heads a second: a whole study's, on cached features
    tpu           cycles of training each scale, sampling, features and heads on a TPU that is only
                  described (--tpu): the compiler's estimate, not a measurement; needs
                  `pip install -e '.[tpu]'`, but no TPU
    gpu_estimate  kernels and bytes of training each scale on an H100 that is only described: the
                  compiler's estimate, not a measurement; needs JAX's CUDA plugin, but no GPU

Times are of --repeats runs after one to warm up (but for pipeline, whose point is not to): medians,
with the fastest and the slowest run in brackets. Compare numbers of one run only: machines differ,
and change with what else they do. --peer=torch needs `pip install -e '.[torch]'`.

How long, in minutes: memory 8, pipeline 6, conv 2, step 1 (3 with the peer), fleet 3 (6), sample
half a one, patches 7, features 1, heads 3, tpu 25, gpu_estimate 5. On 2 CPU cores a fleet of 8
images at 64 pixels trains 2.5 times as fast as PyTorch as it comes, and 1.8 times as fast as
PyTorch in its best configuration; all heads of a study take half a minute.
"""

import importlib.metadata
import os
import pathlib
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from absl import flags

import singan_jax
from data_pipeline.files import limits
from data_pipeline.files.writing import to_json, write_atomically
from launch import cli, path_flags
from launch.benchmarks import (
    conv,
    features,
    fleet,
    gpu_estimate,
    heads,
    memory,
    patches,
    pipeline,
    plot,
    sample,
    step,
    tpu,
)
from launch.benchmarks.chips import NOTE
from launch.benchmarks.timing import FASTEST, SLOWEST
from singan_jax import runtime
from singan_jax.backend import backend
from singan_jax.conv import choice

TPU = flags.DEFINE_string(
    "tpu", "v5e:2x2", "slice that the suite tpu is for, such as v6e:2x2, v4:2x2x1 or v5p:2x2x1"
)
CHIPS = flags.DEFINE_multi_enum(
    "chips",
    ["one", "slice"],
    ["one", "slice"],
    "of the suite tpu: compile for one chip or for the whole slice; may be repeated",
)
SIZES = flags.DEFINE_multi_integer(
    "sizes", [64], "pixels of images in the suites tpu and gpu_estimate; may be repeated"
)
MEMBERS = flags.DEFINE_multi_integer(
    "members_per_chip",
    [8],
    "members that a device trains in the suites tpu and gpu_estimate; may be repeated",
    lower_bound=1,
)


def _tpu(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Nothing is repeated, and there is no peer."""
    yield from tpu.run(TPU.value, SIZES.value, MEMBERS.value, CHIPS.value)


def _gpu_estimate(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    yield from gpu_estimate.run(SIZES.value, MEMBERS.value)


# Each takes the repeats and whether to measure the peer too, and yields rows. They run in this
# order: the first two work in processes of their own, which need the devices for themselves.
SUITES: dict[str, Callable[[int, bool], Iterator[dict[str, Any]]]] = {
    "memory": memory.run,
    "pipeline": pipeline.run,
    "conv": conv.run,
    "step": step.run,
    "fleet": fleet.run,
    "sample": sample.run,
    "patches": patches.run,
    "features": features.run,
    "heads": heads.run,
    "tpu": _tpu,
    "gpu_estimate": _gpu_estimate,
}
_ESTIMATES = {"tpu", "gpu_estimate"}
CHOSEN = flags.DEFINE_multi_enum(
    "suites", ["step"], list(SUITES), "what to measure; may be repeated"
)
PEER = flags.DEFINE_enum("peer", None, ["torch"], "measure this beside ours, where a suite can")
REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each, after one to warm up", lower_bound=1)
JSON = path_flags.DEFINE_path("json", None, "file for the results, the machine and the versions")
WRITE_TABLE = flags.DEFINE_bool(
    "write_table",
    False,
    "have training on devices of this kind use the implementations that suite conv finds fastest; "
    "results then differ from those of other implementations by rounding",
)
PLOT = path_flags.DEFINE_path("plot", None, "PNG file for bars of the results")


def main() -> None:
    """Runs the suites, prints a table each and writes the results."""
    for path in filter(None, (JSON.value, PLOT.value)):
        if not pathlib.Path(path).absolute().parent.is_dir():
            raise singan_jax.InputError(f"{path}: its folder does not exist; make it first")
    singan_jax.configure_jax()
    _check_table()
    suites: dict[str, list[dict[str, Any]]] = {}
    for suite, run in SUITES.items():
        if suite in CHOSEN.value:
            rows = suites[suite] = []
            print(f"# {suite}: {NOTE}" if suite in _ESTIMATES else f"# {suite}", flush=True)
            for row in run(REPEATS.value, PEER.value is not None):
                rows.append(row)
                print("  " + ", ".join(f"{k} {v}" for k, v in _shown(row).items()), flush=True)
            table = pd.DataFrame([_shown(row) for row in rows]).fillna("")
            print(table.to_string(index=False), flush=True)
    if WRITE_TABLE.value:
        written = choice.keep(conv.fastest(suites["conv"]))
        print(f"{written}: training on this device uses these from now on; remove it to undo that")
    machine = _machine()  # uses the devices
    if JSON.value:
        notes = {suite: NOTE for suite in suites if suite in _ESTIMATES}
        text = to_json({**machine, "notes": notes, "suites": suites}, indent=1)
        write_atomically(pathlib.Path(JSON.value), text + "\n")
    if PLOT.value:
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        note = f"{machine['cpus']} x {machine['cpu']}; {', '.join(machine['devices'])}; {versions}"
        plot.write(pathlib.Path(PLOT.value), suites, note)


def _check_table() -> None:
    """Raises before hours of measuring what would stop a table from being written."""
    if not WRITE_TABLE.value:
        return
    if "conv" not in CHOSEN.value:
        raise singan_jax.InputError("`write_table`: suite conv measures it; name that in `suites`")
    if backend() == "tpu":
        raise singan_jax.InputError(
            "`write_table`: on a TPU members train in packs, which suite conv does not measure"
        )


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    """A row for people: each number with what its runs were within."""
    texts = {}
    for name, value in row.items():
        if not name.endswith((FASTEST, SLOWEST)):
            texts[name] = f"{value:.4g}" if isinstance(value, float) else str(value)
            runs = row.get(name + FASTEST), row.get(name + SLOWEST)
            if runs[0] != runs[1]:
                texts[name] += f" ({runs[0]:.4g} to {runs[1]:.4g})"
    return texts


def _machine() -> dict[str, Any]:
    """What was measured, on what, with which versions and settings."""
    found = runtime.provenance()
    if PEER.value:
        found["versions"][PEER.value] = importlib.metadata.version(PEER.value)
    cpus = re.findall(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "system": platform.platform(),
        "cpu": cpus[0] if cpus else platform.machine(),
        "cpus": limits.cpus(),
        "memory_gib": round(limits.memory_bytes() / 2**30, 1),
        **found,
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("XLA_", "JAX_", "OMP_", "LIBTPU_"))
        },
        "repeats": REPEATS.value,
    }


if __name__ == "__main__":
    cli.run(main)
