"""A fleet trained by processes like those on many hosts; as a script, one of them."""

import os
import pathlib
import socket
import subprocess
import sys

import tiny

import singan_jax
from singan_jax.devices import hosts, sharding

# Little to compile, which each process does for itself, and that in haste.
CHANGES = {
    "min_size": 8,
    "max_size": 10,
    "num_layers": 2,
    "base_channels": 4,
    "d_steps": 1,
    "g_steps": 1,
    "steps_per_scale": 150,
    "lr_decay_step": 100,
}
CONFIG = singan_jax.Config(**CHANGES)
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}


def start(folder, seeds, devices):
    """Starts one process for each number in `devices`; they train one fleet together."""
    coordinator = f"127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            [
                *(sys.executable, __file__, str(folder), str(count), coordinator),
                *(str(len(devices)), str(n), *map(str, seeds)),
            ],
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n, count in enumerate(devices)
    ]


def ends(processes, timeout=200):
    """Each process' exit status and what it said to standard error."""
    said = [process.communicate(timeout=timeout)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main():
    """Arguments: work folder, devices, coordinator, processes, which of them, images as `named`."""
    folder, devices, coordinator, processes, number, *seeds = sys.argv[1:]
    singan_jax.configure_jax(cpu_devices=int(devices))
    if int(processes) > 1:
        hosts.join("auto", coordinator, int(processes), int(number))
    pace = singan_jax.Pace(chunk_seconds=0.1, checkpoint_seconds=0.0)
    images = [tiny.named(seed) for seed in seeds]

    def some(members):
        assert sharding.process() > 0
        names = {member.name for member in members}
        assert len(names) < len(seeds)  # its own members only
        return [image for image in images if image.name in names]

    given = some if sharding.process() else images
    try:
        singan_jax.train_fleet(given, CONFIG, pathlib.Path(folder), pace=pace)
    except (singan_jax.Stopped, ConnectionError, singan_jax.InputError) as reason:
        sys.exit(f"{type(reason).__name__}: {reason}")


if __name__ == "__main__":
    main()
