"""Reads what PyTorch saved (.pth, .pt) as NumPy arrays, without running any code in the file."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from singan_jax.errors import InputError


def load(path: pathlib.Path) -> Any:
    """Reads a file with `torch.load(weights_only=True)`, which refuses all but plain data.

    Args:
      path: the file, in the format of `torch.save` today or of that before version 1.6.

    Returns:
      Its dictionaries (names as str), lists and values; each tensor as a float32 NumPy array.

    Raises:
      InputError: the file is missing, damaged or holds more than data; or torch is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: reading it needs PyTorch; pip install 'singan-jax[torch]'"
        ) from error

    def to_numpy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().float().numpy()
        if isinstance(value, dict):
            return {str(name): to_numpy(entry) for name, entry in value.items()}
        return [to_numpy(entry) for entry in value] if isinstance(value, list) else value

    try:
        return to_numpy(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged or malicious pickle makes torch raise any error
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"{path}: damaged, or holds more than weights ({reason}); get the file again"
        ) from error


def state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the weights of a network.

    Args:
      path: of the file; see `load`.

    Returns:
      float32 arrays by the names in the file.

    Raises:
      InputError: as `load`, or the file holds no state dict.
    """
    state = load(path)
    tensors = isinstance(state, dict) and all(isinstance(v, np.ndarray) for v in state.values())
    if not state or not tensors:
        held = ", ".join(state) if isinstance(state, dict) else type(state).__name__
        raise InputError(
            f"{path}: not a state dict (it holds {held or 'nothing'}); save what the model's "
            "state_dict() gives"
        )
    return state


def misfit(state: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> str:
    """How a state dict departs from these names and shapes; empty if it fits."""
    faults = [f"{key} is missing" for key in expected if key not in state]
    faults += [f"{key} is unknown" for key in state if key not in expected]
    faults += [
        f"{key} has shape {state[key].shape} instead of {shape}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    faults = faults or [
        f"{key} has values that are not finite"
        for key, value in state.items()
        if not np.isfinite(value).all()
    ]
    more = f" (and {len(faults) - 1} more such faults)" if len(faults) > 1 else ""
    return faults[0] + more if faults else ""


def kernel(weight: np.ndarray) -> np.ndarray:
    """A convolution's OIHW weight as HWIO."""
    return weight.transpose(2, 3, 1, 0)
