"""Milliseconds of one training iteration (3 critic and 3 generator steps) of one member.

Ours: as many members as devices, by the same program that trains fleets, without coarser scales.
The peer: `torch_peer`, in one process with all threads, and in one process a core side by side.
"""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.files import limits
from launch.benchmarks.timing import Timing, in_processes, measure
from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.scale import train_scale
from singan_jax.scale.pyramid import Pyramid
from singan_jax.scale.train_step import Hyper

# (side in pixels, channels, iterations a run)
SIZES = ((32, 32, 20), (64, 32, 8), (64, 64, 4), (128, 64, 1))


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per size; ratios are the peer's time over ours."""
    for side, width, iterations in SIZES:
        row: dict[str, Any] = {"size": f"{side}x{side}, {width} ch"}
        row["compile_s"], ours = _ours(side, width, iterations, repeats)
        row |= ours.row("ms")
        if peer:
            measured = functools.partial(_torch, side, width, iterations, repeats)
            row |= measured(processes=1).row("torch_threads_ms")
            row |= measured(processes=limits.cpus()).row("torch_processes_ms")
            row["ratio_as_shipped"] = row["torch_threads_ms"] / row["ms"]
            best = min(row["torch_threads_ms"], row["torch_processes_ms"])
            row["ratio_best_peer"] = best / row["ms"]
        yield row


def _ours(side: int, width: int, iterations: int, repeats: int) -> tuple[float, Timing]:
    """Seconds of compilation (or of reading it from the cache) and milliseconds a member."""
    config = Config(base_channels=width, max_channels=width, min_size=side, max_size=2 * side)
    plan = Pyramid((side, side), 1.0, 0.75, ((side, side), (side, side)))
    members = sharding.padded_size(1)
    keys = jax.random.split(jax.random.key(0), members)
    hyper = jax.tree.map(lambda x: jnp.full(members, x), Hyper.of(config, {}))
    reals = jax.random.uniform(keys[0], (members, 1, side, side, 3), minval=-1.0)
    begin = functools.partial(train_scale.begin, config, 0)
    chunk = functools.partial(train_scale.train_chunk, config, plan, 0)
    start = train_scale.Start(keys, hyper, reals, jnp.zeros_like(reals), jnp.ones(members, bool))
    task, state = sharding.over_members(begin)(sharding.to_devices(start))
    first, stop = np.int32(0), np.int32(iterations)
    started = time.perf_counter()
    lowered = sharding.over_members(chunk, shared=2).lower((), task, state, first, stop)
    compiled = lowered.compile()
    compile_s = time.perf_counter() - started
    timing = measure(lambda: compiled((), task, state, first, stop), repeats)
    return compile_s, timing.times(1e3 / iterations / members)


def _torch(side: int, width: int, iterations: int, repeats: int, *, processes: int) -> Timing:
    """Milliseconds a member of processes that train one each; one process takes all threads."""
    timings = in_processes(_torch_timing, processes, side, width, iterations, repeats)
    return Timing.total(timings).times(1e3 / processes**2)  # the mean, of as many at once


def _torch_timing(side: int, width: int, iterations: int, repeats: int, threads: int) -> Timing:
    """Seconds of an iteration in this process."""
    import torch

    from launch.benchmarks import torch_peer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    member = torch_peer.Member(Config(), width, 3)
    image = torch.rand(1, 3, side, side) * 2 - 1
    inputs = torch_peer.Inputs(
        real=image,
        rec_prev=torch.zeros_like(image),
        z_rec=torch.randn(1, 1, side, side),
        noise=torch.randn(1, 1, side, side),
        prev=[torch.zeros_like(image)] * 3,
        alpha=[0.2, 0.5, 0.8],
        noise_amp=1.0,
    )

    def iterate() -> None:
        for _ in range(iterations):
            member.iterate(inputs)

    return measure(iterate, repeats).times(1 / iterations)
