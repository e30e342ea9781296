"""Which implementation a layer's map is computed by: this package's table, or one measured here.

`table.json` has a row for each kind of device and of layer. `python -m launch.benchmark
--suites=conv --write_table` measures them on the device at hand and keeps what was fastest in the
user's cache folder, for devices of that name alone; `choose` then goes by that.
"""

import functools
import json
import pathlib
import re
from collections.abc import Mapping
from typing import get_args

import jax.numpy as jnp
from jax.typing import DTypeLike

from data_pipeline.files.writing import to_json, write_atomically
from singan_jax import backend, runtime
from singan_jax.backend import Backend
from singan_jax.conv.implementations import Implementation
from singan_jax.errors import InputError

Table = Mapping[str, Implementation]  # of one device: {"<map>:<in>-><out>": implementation}

# Sides of a layer with this many channels or fewer are "narrow" in the table.
_NARROW_MAX_CHANNELS = 4
# Channels from which "winograd" is used where the table has it.
_WINOGRAD_MIN_CHANNELS = 32


def row_of(name: str, c_in: int, c_out: int) -> str:
    """The table's name of a layer's map.

    Args:
      name: `convolve` or `weight_gradient`.
      c_in: input channels.
      c_out: output channels.

    Returns:
      Such as `convolve:narrow->wide`; images and score maps are narrow.
    """
    sides = ["narrow" if c <= _NARROW_MAX_CHANNELS else "wide" for c in (c_in, c_out)]
    return f"{name}:{sides[0]}->{sides[1]}"


def choose(
    name: str, c_in: int, c_out: int, dtype: DTypeLike = float, device: Backend | None = None
) -> Implementation:
    """The implementation for one map of one layer, from the table.

    Args:
      name: `convolve` or `weight_gradient`.
      c_in: input channels.
      c_out: output channels.
      dtype: of the arrays.
      device: `cpu`, `gpu` or `tpu`, of this package's table; that of the devices at hand, with
        what was measured on them, where None.

    Raises:
      InputError: what was measured cannot be used.
    """
    rows = _packaged()[device] if device else table()
    chosen = rows[row_of(name, c_in, c_out)]
    # Winograd compiles twice as long, for little gain between few channels; and the sums inside
    # are larger than the results, which leaves too little of bfloat16's 8 bits.
    too_small = min(c_in, c_out) < _WINOGRAD_MIN_CHANNELS or dtype == jnp.bfloat16
    return "direct" if chosen == "winograd" and too_small else chosen


def table() -> Table:
    """What is used on the devices at hand, or on those described.

    Raises:
      InputError: a measured table is there, and cannot be used.
    """
    packaged = _packaged()[backend.backend()]
    if backend.lowering_platforms():  # of devices that nobody could measure
        return packaged
    return {**packaged, **_measured(measured_file())}


def measured_file() -> pathlib.Path:
    """Where the table measured on the device at hand is kept, whether or not there is one."""
    name = re.sub(r"\W+", "_", _device())
    return runtime.cache_dir() / "convolutions" / f"{name}.json"


def keep(rows: Table) -> pathlib.Path:
    """Writes what was measured on the device at hand, to be used from the next process on.

    Returns:
      The file.
    """
    path = measured_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json({"device": _device(), "rows": dict(rows)}, indent=1) + "\n")
    return path


@functools.cache
def _packaged() -> dict[Backend, Table]:
    """Choices for CPU were measured; those for GPU and TPU are by their compilers' estimates."""
    return json.loads((pathlib.Path(__file__).parent / "table.json").read_text())


@functools.cache
def _measured(path: pathlib.Path) -> Table:
    """One choice for a process' life, so that all its programs are of one piece."""
    if not path.exists():
        return {}
    known = set(get_args(Implementation))
    try:
        content = json.loads(path.read_text())
        device, rows = content["device"], dict(content["rows"])
        good = rows.keys() <= _packaged()["cpu"].keys() and set(rows.values()) <= known
    except (ValueError, TypeError, KeyError, OSError):
        good, device = False, _device()
    again = "measure again with `write_table` of the benchmark, or remove the file"
    if device != _device():
        raise InputError(f"{path}: was measured on {device}, and this is {_device()}; {again}")
    if not good:
        raise InputError(f"{path}: is no table of implementations; {again}")
    return rows


def _device() -> str:
    return backend.devices()[0].device_kind
