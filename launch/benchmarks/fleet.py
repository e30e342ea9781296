"""Generators an hour: whole SinGANs, all scales, with the passes through frozen scales.

Ours: the programs that train fleets, on random weights; compilation is left out. The peer:
`torch_peer`, the official loop, one image after another in one process with all threads (as it is
used), and in one process a core side by side; the faster of both is its best.

The seconds of an iteration are measured at every scale and summed; a generator takes 2000 of them.
"""

import concurrent.futures
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import singan_jax
from launch.benchmarks.timing import in_processes
from singan_jax import sharding
from singan_jax.config import Config
from singan_jax.generate import FrozenScale
from singan_jax.programs import Bucket, inherits

# (side in pixels, members, iterations a run)
SIZES = ((64, 8, 2), (128, 2, 1))
FLAT = (1, 4, 16, 64)  # members a device, of two scales of 32 pixels
FLAT_CONFIG = Config(min_size=32, max_size=32, base_channels=32, max_channels=32)
STEPS = Config().steps_per_scale


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per size, then per fleet size, then per number of devices.

    Ratios are the peer's time over ours; `by_scale_ms` are milliseconds of one iteration a member.
    """
    for side, members, iterations in SIZES:
        config = Config(max_size=side)
        ours = scales_ms(config, side, members, iterations, repeats)
        row = _row(f"{side}x{side}", members, jax.device_count(), ours)
        if peer:
            row |= _peer(config, side, iterations, repeats, row["ms"])
        yield row
    for per_device in FLAT:
        members = per_device * jax.device_count()
        ours = scales_ms(FLAT_CONFIG, 32, members, max(1, 16 // per_device), repeats)
        yield _row("32x32, 2 scales", members, jax.device_count(), ours)
    if jax.default_backend() == "cpu":
        yield from _devices(repeats)


def _row(size: str, members: int, devices: int, by_scale: list[float]) -> dict[str, Any]:
    total = sum(by_scale)
    return {
        "size": size,
        "members": members,
        "devices": devices,
        "ms": total,
        "generators_per_hour": 3.6e6 / (STEPS * total),
        "by_scale_ms": [round(ms, 1) for ms in by_scale],
    }


def scales_ms(
    config: Config, side: int, members: int, iterations: int, repeats: int
) -> list[float]:
    """Milliseconds of one iteration of one member at each scale, median of the repeats."""
    bucket = Bucket(config, (side, side, 3))
    members = sharding.padded_size(members)
    keys = sharding.to_devices(jax.random.split(jax.random.key(0), members))
    healthy = sharding.to_devices(jnp.ones(members, bool))
    frozen: list[FrozenScale] = []
    networks = None
    found = []
    for n, size in enumerate(bucket.pyramid.sizes):
        programs = bucket.programs(n, members)
        if programs.members < members:
            raise MemoryError(f"{members} members of {side} pixels do not fit; measure fewer")
        real = jax.random.uniform(jax.random.key(n), (members, *size, 3), minval=-1.0)
        real = sharding.to_devices(real)
        inherited = (networks,) if inherits(config, n) else ()
        task, state = programs.begin(keys, real, jnp.zeros_like(real), healthy, *inherited)
        seconds = []
        for _ in range(repeats + 1):  # the first warms up
            start = time.perf_counter()
            state, metrics = programs.chunk(
                tuple(frozen), task, state, np.int32(0), np.int32(iterations)
            )
            jax.block_until_ready(metrics)
            seconds.append(time.perf_counter() - start)
        found.append(1e3 * statistics.median(seconds[1:]) / iterations / members)
        networks = state.generator.variables, state.discriminator.variables
        frozen.append(FrozenScale(state.generator.variables, task.noise_amp, state.z_rec))
    bucket.close()
    return found


def _devices(repeats: int) -> Iterator[dict[str, Any]]:
    """One and two virtual devices, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    for devices in (1, 2):
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            ours = pool.submit(_on_devices, devices, repeats).result()
        yield _row("32x32, 2 scales", 8, devices, ours)


def _on_devices(devices: int, repeats: int) -> list[float]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:devices])
    singan_jax.configure_jax(cpu_devices=devices)
    return scales_ms(FLAT_CONFIG, 32, 8, 4, repeats)


def _peer(config: Config, side: int, iterations: int, repeats: int, ours: float) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    shipped = sum(_torch(config, side, iterations, repeats, processes=1))
    best = min(shipped, sum(_torch(config, side, iterations, repeats, processes=cores)))
    return {
        "torch_as_shipped_ms": shipped,
        "torch_best_ms": best,
        "ratio_as_shipped": shipped / ours,
        "ratio_best_peer": best / ours,
    }


def _torch(
    config: Config, side: int, iterations: int, repeats: int, *, processes: int
) -> list[float]:
    """Milliseconds a member at each scale, of processes that train one each."""
    by_process = in_processes(_torch_scales, processes, config, side, iterations, repeats)
    return [1e3 * statistics.mean(times) / processes for times in zip(*by_process, strict=True)]


def _torch_scales(
    config: Config, side: int, iterations: int, repeats: int, threads: int
) -> list[float]:
    """Median seconds of an iteration at each scale in this process."""
    import torch

    from launch.benchmarks import torch_peer
    from singan_jax import pyramid

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan = pyramid.plan((side, side), config)
    generators: list[Any] = []
    found = []
    for n, size in enumerate(plan.sizes):
        member = torch_peer.Member(config, config.width(n), 3)
        chain = torch_peer.Chain(generators, [0.1] * n, plan)
        seconds = []
        for _ in range(repeats + 1):  # the first warms up
            start = time.perf_counter()
            for _ in range(iterations):
                member.iterate(_inputs(config, plan, chain, n, size))
            seconds.append((time.perf_counter() - start) / iterations)
        found.append(statistics.median(seconds[1:]))
        generators.append(member.generator)
    return found


def _inputs(config: Config, plan: Any, chain: Any, scale: int, size: tuple[int, int]) -> Any:
    """Fresh noise, and an image through the frozen scales for each critic step."""
    import torch

    from launch.benchmarks import torch_peer

    def noise(n: int) -> torch.Tensor:
        return torch.randn(1, 1 if n == 0 else 3, *plan.sizes[n])

    image = torch.zeros(1, 3, *size)
    prev = [
        chain.draw(config, [noise(n) for n in range(scale)]) if scale else image
        for _ in range(config.d_steps)
    ]
    return torch_peer.Inputs(
        real=torch.rand(1, 3, *size) * 2 - 1,
        rec_prev=image,
        z_rec=noise(scale),
        noise=noise(scale),
        prev=prev,
        alpha=torch.rand(config.d_steps).tolist(),
        noise_amp=0.1,
    )
