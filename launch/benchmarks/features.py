"""Features a second from frozen backbones, patches of 224 x 224 pixels.

Ours: `FeatureCache.get` of patches it does not know, with hashing, preparation and writing. The
peer: the forward passes alone, PyTorch eager, in one process with all threads and in one process a
core side by side; batches of the same size, random weights.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from classify.backbones.backbone import RANDOM, load_backbone
from classify.backbones.resnet import RESNETS
from classify.classifiers.features import BLOCK, FeatureCache
from data_pipeline.files import limits
from launch.benchmarks.timing import Timing, in_processes, measure
from singan_jax.devices import sharding

SIDE = 224


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per backbone; ratios are our rate over the peer's."""
    for name in ("resnet50", "alexnet"):
        row: dict[str, Any] = {"backbone": name, **_ours(name, repeats).row("per_s")}
        if peer:
            cores = limits.cpus()
            row |= _torch(name, repeats, processes=1).row("torch_threads_per_s")
            row |= _torch(name, repeats, processes=cores).row("torch_processes_per_s")
            row["ratio_as_shipped"] = row["per_s"] / row["torch_threads_per_s"]
            best = max(row["torch_threads_per_s"], row["torch_processes_per_s"])
            row["ratio_best_peer"] = row["per_s"] / best
        yield row


def _ours(name: str, repeats: int) -> Timing:
    backbone = load_backbone(name, RANDOM, SIDE)
    count = sharding.padded_size(1) * BLOCK
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(pathlib.Path(folder), backbone)

        def call() -> np.ndarray:
            patches = rng.integers(0, 256, (count, SIDE, SIDE, 1), np.uint8)
            return cache.get(list(patches), [""] * count, progress=False)

        return measure(call, repeats).rate(count)


def _torch(name: str, repeats: int, *, processes: int) -> Timing:
    """Features a second of all processes together."""
    return Timing.total(in_processes(_torch_rate, processes, name, repeats))


def _torch_rate(name: str, repeats: int, threads: int) -> Timing:
    """Features a second of this process."""
    import torch

    from launch.benchmarks import torch_backbones

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if name == "alexnet":
        network: torch.nn.Module = torch_backbones.alexnet()
    else:
        network = torch_backbones.TorchResNet(RESNETS[name])
    network.eval()
    images = torch.randn(BLOCK, 3, SIDE, SIDE)
    with torch.inference_mode():
        return measure(lambda: network(images), repeats).rate(BLOCK)
