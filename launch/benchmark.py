"""Measures speed on the machine at hand, beside PyTorch where it is installed.

    python -m launch.benchmark --suites=step --peer=torch --json=step.json
    python -m launch.benchmark --suites=conv,sample

Suites:

    conv      GFLOP/s of each way to compute a layer, beside the machine's matrix product
    step      milliseconds of one training iteration at several sizes
    fleet     generators an hour, all scales of an image; for several sizes, numbers of members and
              of devices
    sample    samples a second
    patches   patches a second cut from mammograms of full size, beside a loop over pixels
    features  features a second from frozen backbones, patches of 224x224 pixels
    heads     classifier heads a second: a whole study's, on cached features

Each is warmed up and repeated; medians are given. Compare numbers of one run only: machines differ,
and change with what else they do. --peer=torch needs `pip install -e '.[torch]'`.

How long: conv 2 minutes, step 1 (3 with the peer), fleet 3 (6), sample half a minute, patches 5,
features 1, heads 1. On 2 CPU cores a fleet of 8 images at 64 pixels trains 1.7 times as fast as
PyTorch as it comes, and 1.2 times as fast as PyTorch in its best configuration; all heads of a
study take half a minute.
"""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
from absl import flags

import singan_jax
from launch import cli
from launch.benchmarks import conv, features, fleet, heads, patches, sample, step
from singan_jax import runtime
from singan_jax.workdir import write_atomically

SUITES = flags.DEFINE_multi_enum(
    "suites",
    ["step"],
    ["conv", "step", "fleet", "sample", "patches", "features", "heads"],
    "what to measure; may be repeated",
)
PEER = flags.DEFINE_enum("peer", None, ["torch"], "measure this beside ours, where a suite can")
REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each, after one to warm up", lower_bound=1)
JSON = flags.DEFINE_string("json", None, "file for the results, the machine and the versions")


def _rows(suite: str) -> Iterator[dict[str, Any]]:
    peer = PEER.value == "torch"
    if suite == "conv":
        return conv.run(REPEATS.value, peer)
    if suite == "step":
        return step.run(REPEATS.value, peer)
    if suite == "fleet":
        return fleet.run(REPEATS.value, peer)
    if suite == "features":
        return features.run(REPEATS.value, peer)
    if suite == "heads":
        return heads.run()
    return sample.run(REPEATS.value, peer) if suite == "sample" else patches.run()


def main() -> None:
    """Runs the suites, prints a table each and writes the results."""
    singan_jax.configure_jax()
    results: dict[str, Any] = {"cpus": os.cpu_count(), **runtime.provenance(), "suites": {}}
    for suite in SUITES.value:
        rows = results["suites"][suite] = []
        print(f"# {suite}", flush=True)
        for row in _rows(suite):
            rows.append(row)
            shown = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            print("  " + ", ".join(shown), flush=True)
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format), flush=True)
    if JSON.value:
        write_atomically(pathlib.Path(JSON.value), json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    cli.run(main)
