"""Seconds from image files to samples, by the processes that users start.

Cold: with an empty cache of compiled programs. Warm: the same again with what that left, in a new
work folder. The seconds fall into parts:

    start_s    until training begins: imports, reading images, the work folder
    compile_s  waited for the programs of training; what is compiled beside training costs nothing
    train_s    iterations
    finish_s   what else the process does: checkpoints, pictures and compiling what draws them
    sample_s   the whole process that draws and writes the samples
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from launch.benchmarks.timing import Timing
from singan_jax.images.read import write_png

IMAGES, SIDE, SAMPLES = 4, 32, 16
_NUM_SAMPLES = f"--num_samples={SAMPLES}"
SETTINGS = ("--config=quick", "--config.base_channels=8", "--config.steps_per_scale=20")


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per state of the cache, each time of a new one. There is no peer."""
    runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "images").mkdir()
        rng = np.random.default_rng(0)
        for n in range(IMAGES):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            write_png(root / "images" / f"{n}.png", pixels)
        for repeat in range(repeats):
            for cache, done in runs.items():
                folder = root / f"{cache}_{repeat}"
                done.append(_once(root / "images", folder, root / f"cache_{repeat}"))
    for cache, done in runs.items():
        parts = {name: statistics.median(one[name] for one in done) for name in done[0]}
        seconds = Timing.of(sum(one.values()) for one in done)
        yield {"cache": cache, "images": IMAGES, **seconds.row("seconds"), **parts}


def _once(images: pathlib.Path, folder: pathlib.Path, cache: pathlib.Path) -> dict[str, float]:
    """Seconds of each part."""
    begun = time.time()
    _launch(cache, "train_fleet", f"--images={images}", f"--workdir={folder}", *SETTINGS)
    trained = time.time()
    _launch(cache, "sample_fleet", f"--workdir={folder}", f"--out={folder}/samples", _NUM_SAMPLES)
    start = (folder / "runs.jsonl").stat().st_mtime - begun  # written when training begins
    waited, training = of_training(folder / "metrics.jsonl")
    return {
        "start_s": start,
        "compile_s": waited,
        "train_s": training,
        "finish_s": trained - begun - start - waited - training,
        "sample_s": time.time() - trained,
    }


def _launch(cache: pathlib.Path, launcher: str, *flags: str) -> None:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", f"launch.{launcher}", *flags]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def of_training(path: pathlib.Path) -> tuple[float, float]:
    """Seconds waited for programs and seconds of iterations, of a fleet in a single group.

    Args:
      path: of its metrics.jsonl, which one uninterrupted run has written.
    """
    waited, rates = 0.0, {}
    for line in map(json.loads, path.read_text().splitlines()):
        waited += line.get("compile_wait_s", 0.0)
        if "steps_per_s" in line:
            rates[line["scale"], line["step"]] = line["steps_per_s"]
    training, before = 0.0, (-1, 0)
    for (scale, step), rate in rates.items():
        training += (step - (before[1] if before[0] == scale else 0)) / rate
        before = (scale, step)
    return waited, training
