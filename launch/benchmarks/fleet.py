"""Generators an hour: whole SinGANs, all scales, with the passes through frozen scales.

Ours: the programs that train fleets, on random weights; compilation is left out. The peer:
`torch_peer`, the official loop, one image after another in one process with all threads (as it is
used), and in one process a core side by side; the faster of both is its best.

The seconds of an iteration are measured at every scale and summed, medians to medians, fastest to
fastest; a generator takes 2000 of them.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import singan_jax
from data_pipeline.files import limits
from launch.benchmarks.timing import Timing, fresh_processes, in_processes, measure
from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.devices.programs import Compiler
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.networks import Variables
from singan_jax.scale.train_scale import Start, inherits
from singan_jax.scale.train_step import Hyper

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
        ours = scales(config, side, members, iterations, repeats)
        row = _row(f"{side}x{side}", members, jax.device_count(), ours)
        if peer:
            row |= _peer(config, side, iterations, repeats, row["ms"])
        yield row
    for per_device in FLAT:
        members = per_device * jax.device_count()
        ours = scales(FLAT_CONFIG, 32, members, max(1, 16 // per_device), repeats)
        yield _row("32x32, 2 scales", members, jax.device_count(), ours)
    if jax.default_backend() == "cpu":
        yield from _devices(repeats)


def _row(size: str, members: int, devices: int, by_scale: list[Timing]) -> dict[str, Any]:
    total = Timing.total(by_scale)
    return {
        "size": size,
        "members": members,
        "devices": devices,
        **total.row("ms"),
        "generators_per_hour": 3.6e6 / (STEPS * total.median),
        "by_scale_ms": [round(one.median, 1) for one in by_scale],
    }


def scales(config: Config, side: int, members: int, iterations: int, repeats: int) -> list[Timing]:
    """Milliseconds of one iteration of one member at each scale."""
    compiler = Compiler(Bucket(config, (side, side, 3)))
    members = sharding.padded_size(members)
    keys = sharding.to_devices(jax.random.split(jax.random.key(0), members))
    healthy = sharding.to_devices(jnp.ones(members, bool))
    hyper = jax.tree.map(lambda x: jnp.full(members, x), Hyper.of(config, {}))
    hyper = sharding.to_devices(hyper)
    frozen: list[FrozenScale] = []
    networks: tuple[Variables, ...] = ()
    found = []
    for n, size in enumerate(compiler.bucket.pyramid.sizes):
        programs = compiler.programs(n, members)
        if programs.members < members:
            raise MemoryError(f"{members} members of {side} pixels do not fit; measure fewer")
        real = jax.random.uniform(jax.random.key(n), (members, 1, *size, 3), minval=-1.0)
        real = sharding.to_devices(real)
        inherited = networks if inherits(config, n) else ()
        start = Start(keys, hyper, real, jnp.zeros_like(real), healthy, inherited)
        task, state = programs.begin(start)
        train = functools.partial(programs.chunk, tuple(frozen), task)
        timing, state = _chunks(train, state, iterations, repeats)
        found.append(timing.times(1e3 / iterations / members))
        networks = state.generator.variables, state.discriminator.variables
        frozen.append(FrozenScale(state.generator.variables, task.noise_amp, state.z_rec))
    compiler.close()
    return found


def _chunks(
    train: Callable[..., Any], state: Any, iterations: int, repeats: int
) -> tuple[Timing, Any]:
    """Seconds of a chunk, which takes over the memory of the state before; the last state."""

    def call() -> Any:
        nonlocal state
        state, metrics = train(state, np.int32(0), np.int32(iterations))
        return metrics

    return measure(call, repeats), state


def _devices(repeats: int) -> Iterator[dict[str, Any]]:
    """One and two virtual devices, each in a process of its own."""
    for devices in (1, 2):
        (ours,) = fresh_processes(_on_devices, [(devices, repeats)])
        yield _row("32x32, 2 scales", 8, devices, ours)


def _on_devices(devices: int, repeats: int) -> list[Timing]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:devices])
    singan_jax.configure_jax(cpu_devices=devices)
    return scales(FLAT_CONFIG, 32, 8, 4, repeats)


def _peer(config: Config, side: int, iterations: int, repeats: int, ours: float) -> dict[str, Any]:
    shipped, several = (
        _torch(config, side, iterations, repeats, processes=processes)
        for processes in (1, limits.cpus())
    )
    best = min(shipped, several)  # by their medians
    return {
        **shipped.row("torch_as_shipped_ms"),
        **best.row("torch_best_ms"),
        "ratio_as_shipped": shipped.median / ours,
        "ratio_best_peer": best.median / ours,
    }


def _torch(config: Config, side: int, iterations: int, repeats: int, *, processes: int) -> Timing:
    """Milliseconds a member of all scales, of processes that train one each."""
    timings = in_processes(_torch_scales, processes, config, side, iterations, repeats)
    return Timing.total(timings).times(1e3 / processes**2)  # the mean, of as many at once


def _torch_scales(config: Config, side: int, iterations: int, repeats: int, threads: int) -> Timing:
    """Seconds of an iteration of all scales in this process."""
    import torch

    from launch.benchmarks import torch_peer
    from singan_jax.scale.pyramid import Pyramid

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan = Pyramid.of((side, side), config)
    generators: list[Any] = []
    found = []
    for n in range(plan.num_scales):
        member = torch_peer.Member(config, config.width(n), 3)
        chain = torch_peer.Chain(generators, [0.1] * n, plan)

        def iterate(member: Any = member, chain: Any = chain, n: int = n) -> None:
            for _ in range(iterations):
                member.iterate(_inputs(config, plan, chain, n))

        found.append(measure(iterate, repeats).times(1 / iterations))
        generators.append(member.generator)
    return Timing.total(found)


def _inputs(config: Config, plan: Any, chain: Any, scale: int) -> Any:
    """Fresh noise, and an image through the frozen scales for each critic step."""
    import torch

    from launch.benchmarks import torch_peer

    def noise(n: int) -> torch.Tensor:
        return torch.randn(1, 1 if n == 0 else 3, *plan.sizes[n])

    image = torch.zeros(1, 3, *plan.sizes[scale])
    prev = [
        chain.draw(config, [noise(n) for n in range(scale)]) if scale else image
        for _ in range(config.d_steps)
    ]
    return torch_peer.Inputs(
        real=torch.rand_like(image) * 2 - 1,
        rec_prev=image,
        z_rec=noise(scale),
        noise=noise(scale),
        prev=prev,
        alpha=torch.rand(config.d_steps).tolist(),
        noise_amp=0.1,
    )
