"""Devices that are described to a compiler instead of being there: slices of TPUs, and an H100.

libtpu, the TPU's compiler, and JAX's CUDA plugin both make programs for a description of a device,
on any machine that has them installed.
"""

import importlib.metadata
import importlib.util
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from singan_jax.errors import InputError

NOTE = "the compiler's estimate, not a measurement"

Devices = tuple[jax.Device, ...]


class Chip(NamedTuple):
    """A kind of TPU.

    Attributes:
      flop_per_cycle: of all matrix units of a chip, in bfloat16.
      ghz: clock.
      memory: bytes.
    """

    flop_per_cycle: int
    ghz: float
    memory: int


# TFLOP/s of bfloat16 and memory are those of cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e:
# 275, 197, 459 and 918; 32, 16, 95 and 32 GB. Their multipliers are there too, and the clocks
# follow; that of the v4 is also in Jouppi et al., "TPU v4", ISCA 2023, table 4. For the v6e, two
# units of 256x256 are named, from which a clock of 3.5 GHz would follow; but libtpu expects of a
# product of 4096x4096 matrices 456,000 FLOP a cycle, so that there must be twice as many at half
# the clock. Of the same product it expects 252,000 on a v5p, 230,000 on a v4 and 127,000 on a v5e.
_MULTIPLIERS = 128 * 128
CHIPS = {
    "v4": Chip(2 * 4 * _MULTIPLIERS * 2, 1.05, 32 * 2**30),
    "v5e": Chip(4 * _MULTIPLIERS * 2, 1.5, 16 * 2**30),
    "v5p": Chip(2 * 4 * _MULTIPLIERS * 2, 1.75, 95 * 2**30),
    "v6e": Chip(16 * _MULTIPLIERS * 2, 1.75, 32 * 2**30),
}
_SLICES = "v5e:2x2, v6e:2x2, v4:2x2x1 or v5p:2x2x1"

# The two cores of a v4 are one device where JAX runs on it, but two where it is only described.
_ONE_DEVICE = {"v4": {"chip_config_name": "megacore"}}

# libtpu reads these when it is loaded. It asks a cloud's metadata server where it is, and takes a
# lock that keeps others from it, though it will use no chip; the rest is for silence.
_QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_LOG_DIR": "disabled",
}


def tpu_slice(name: str) -> tuple[Chip, Devices]:
    """The chips of a slice that is named as `v5e:2x2` is.

    Raises:
      InputError: libtpu is missing or of another version than JAX needs, or knows no such slice.
    """
    kind = name.partition(":")[0]
    if kind not in CHIPS or not re.fullmatch(r"\w+:\d+(x\d+)+", name):
        raise InputError(f"`tpu`={name}: no TPU that is known here; choose {_SLICES}")
    _require_libtpu()
    jax.devices()  # where this machine has TPUs, they start before the settings below, unchanged
    for setting, value in _QUIET.items():
        os.environ.setdefault(setting, value)
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=name, **_ONE_DEVICE.get(kind, {})
        )
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"`tpu`={name}: {_first_line(error)}; choose {_SLICES}") from error
    return CHIPS[kind], tuple(found.devices)


def _require_libtpu() -> None:
    """Raises `InputError` where libtpu is not installed, or does not fit JAX.

    JAX does not look at its version, and crashes in another one.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "libtpu, the compiler for TPUs, is not installed; install it as in pip install "
            "'singan-jax[tpu]'"
        )
    needs = "\n".join(importlib.metadata.requires("jax") or ())
    wanted = re.search(r"^libtpu *== *([\d.]+)\.\*", needs, re.MULTILINE)
    version = importlib.metadata.version("libtpu")
    if wanted and not f"{version}.".startswith(f"{wanted[1]}."):
        raise InputError(
            f"libtpu {version} does not fit JAX {jax.__version__}; install one that does, as in "
            f"pip install 'libtpu=={wanted[1]}.*'"
        )


def h100() -> jax.Device:
    """An H100.

    Raises:
      InputError: JAX's CUDA plugin is missing, of another version, or cannot compile for it.
    """
    try:
        found = topologies.get_topology_desc("h100", "cuda", target_config=_H100, topology="1x1x1")
    except (NotImplementedError, RuntimeError) as error:
        packages = " ".join(f"jax-cuda12-{part}=={jax.__version__}" for part in ("plugin", "pjrt"))
        raise InputError(
            f"no CUDA plugin of JAX can be used ({_first_line(error)}); install it as in pip "
            f"install {packages}, without a GPU set JAX_PLATFORMS=cpu, and repeat"
        ) from error
    return found.devices[0]


H100_BYTES_PER_SECOND = 3.35e12  # NVIDIA's data sheet of the H100 SXM
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
runtime_version { major: 12 minor: 8 }
dnn_version_info { major: 9 minor: 7 }
"""
H100_MEMORY = int(re.findall(r"device_memory_size: (\d+)", _H100)[0])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].partition(": ")[2] or str(error).splitlines()[0]
