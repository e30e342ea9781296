"""How JAX is set up before it is first used, and what it means where it fails to start."""

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import sys
from collections.abc import Iterator
from typing import Any

from data_pipeline.files import limits
from singan_jax.errors import InputError

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"

# What drivers of NVIDIA (dxg: in WSL), AMD and Google put into /dev where there is a device.
_DEVICES = pathlib.Path("/dev")
_DEVICE_FILES = ("nvidia[0-9]*", "nvidiactl", "dxg", "kfd", "accel*", "vfio/[0-9]*")


def _sees_accelerators() -> bool:
    return any(any(_DEVICES.glob(pattern)) for pattern in _DEVICE_FILES)


def _has_idle_plugins() -> bool:
    """Whether libraries for devices are installed, and there are no devices."""
    return importlib.util.find_spec("jax_plugins") is not None and not _sees_accelerators()


@contextlib.contextmanager
def _without_complaints() -> Iterator[None]:
    """Drops what idle plugins write to standard error as they load.

    CUDA's does so past Python, in lines that no setting leaves out.
    """
    if not _has_idle_plugins():
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _without_complaints():
    import jax
    from jax.experimental import topologies


def cache_dir() -> pathlib.Path:
    """The user's cache folder of this project; `XDG_CACHE_HOME` moves it."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "singan-jax"


def configure_jax(cpu_devices: int | None = None) -> None:
    """Sets JAX up for fleets; call it before anything touches a device.

    On CPU each core becomes a device of its own with single-threaded kernels: members on
    different cores beat threads inside one member. Compiled programs are kept in `cache_dir()`
    (or where `JAX_COMPILATION_CACHE_DIR` says). Where the machine has neither GPU nor TPU, JAX is
    told to look for none, unless `JAX_PLATFORMS` says otherwise.

    Args:
      cpu_devices: number of CPU devices; where None, one for each processor that this process may
        use, which in a container may be fewer than the machine has.

    Raises:
      RuntimeError: JAX already runs with another number of CPU devices.
    """
    if cpu_devices is None:
        cpu_devices = limits.cpus()
    given = os.environ.get("XLA_FLAGS", "")
    if _ONE_THREAD not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_ONE_THREAD}".strip()
    if not (jax.config.values["jax_platforms"] or _sees_accelerators()):
        # JAX would start the libraries of all devices that it has any for, which takes time and a
        # lock, and have them tell in many lines of what is not there.
        jax.config.update("jax_platforms", "cpu")
    if _has_idle_plugins():
        with _without_complaints(), contextlib.suppress(NotImplementedError):
            topologies.get_topology_desc(platform="none")  # loads them, and starts no device
    jax.config.update("jax_num_cpu_devices", cpu_devices)
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def explained(error: Exception) -> InputError | MemoryError | None:
    """What an error that JAX raised says of this machine, in one line; None where it says nothing.

    Args:
      error: that no device could be started (JAX raises several kinds, some without a word), or
        that one ran out of memory.
    """
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")
        return MemoryError(
            f"a device has too little memory ({reason}); take fewer images at once, lower "
            "`config.max_size`, or set XLA_PYTHON_CLIENT_MEM_FRACTION, the share of a GPU's memory "
            "that JAX takes (0.75 if unset), higher, and repeat the command to go on"
        )
    if not isinstance(error, RuntimeError | AssertionError):
        return None
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as why:
        chosen = jax.config.values["jax_platforms"]
        told = re.sub(r"^Unable to initialize backend '\w+': | \(set JAX_PLATFORMS.*", "", str(why))
        reason = next(iter(told.splitlines()), "it is not installed")
        which = f"JAX_PLATFORMS={chosen}" if chosen else "JAX"
        return InputError(
            f"{which}: no such device can be used here ({reason}); unset JAX_PLATFORMS, or set it "
            "to cpu, or install what the device needs, as in pip install 'singan-jax[cuda]'"
        )
    return None


def provenance() -> dict[str, Any]:
    """What made a folder: command, versions, devices."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "devices": [device.device_kind for device in jax.devices()],
    }
