"""How JAX is set up before it is first used: CPU devices, compilation cache, versions."""

import importlib.metadata
import os
import pathlib
import platform
import sys
from typing import Any

import jax

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def cache_dir() -> pathlib.Path:
    """The user's cache folder of this project; `XDG_CACHE_HOME` moves it."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "singan-jax"


def configure_jax(cpu_devices: int | None = None) -> None:
    """Sets JAX up for fleets; call it before anything touches a device.

    On CPU each core becomes a device of its own with single-threaded kernels: members on
    different cores beat threads inside one member. Compiled programs are kept in `cache_dir()`
    (or where `JAX_COMPILATION_CACHE_DIR` says).

    Args:
      cpu_devices: number of CPU devices; one per available core where None.

    Raises:
      RuntimeError: JAX already runs with another number of CPU devices.
    """
    if cpu_devices is None:
        cpu_devices = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    given = os.environ.get("XLA_FLAGS", "")
    if _ONE_THREAD not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_ONE_THREAD}".strip()
    jax.config.update("jax_num_cpu_devices", cpu_devices)
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def provenance() -> dict[str, Any]:
    """What made a folder: command, versions, devices."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "devices": [device.device_kind for device in jax.devices()],
    }
