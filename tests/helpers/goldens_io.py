"""Reads test vectors of the original code and names their entries as this project does."""

import os
import pathlib
import zlib
from typing import Any

import numpy as np

FOLDER = pathlib.Path(
    os.environ.get("SINGAN_GOLDENS", pathlib.Path(__file__).parents[1] / "goldens")
)


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of one file."""
    with np.load(FOLDER / name) as archive:
        return {key: archive[key] for key in archive.files}


def group(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries below `prefix/`, without it."""
    found = {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(prefix + "/")}
    assert found, f"no entries below {prefix}"
    return found


def nhwc(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to (N, H, W, C)."""
    return np.moveaxis(images, 1, -1)


def hwc(image: np.ndarray) -> np.ndarray:
    """(1, C, H, W) to (H, W, C)."""
    return nhwc(image)[0]


def _kernel(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0)  # OIHW to HWIO


def params(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """A PyTorch state (or gradient) dictionary as this project's parameters.

    The biases in front of a norm have no counterpart here and are left out.
    """
    tail = "tail.0" if "tail.0.weight" in state else "tail"
    stack: dict[str, Any] = {
        "kernel": _kernel(state[f"{tail}.weight"]),
        "bias": state[f"{tail}.bias"],
    }
    for n, name in enumerate(_blocks(state)):
        stack[f"block{n}"] = {
            "kernel": _kernel(state[f"{name}.conv.weight"]),
            "norm": {"scale": state[f"{name}.norm.weight"], "bias": state[f"{name}.norm.bias"]},
        }
    return {"stack": stack}


def stats(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """Running statistics; the dropped convolution biases are taken out of the means."""
    stack = {
        f"block{n}": {
            "norm": {
                "mean": state[f"{name}.norm.running_mean"] - state[f"{name}.conv.bias"],
                "var": state[f"{name}.norm.running_var"],
            }
        }
        for n, name in enumerate(_blocks(state))
    }
    return {"stack": stack}


def variables(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """Parameters and statistics."""
    return {"params": params(state), "batch_stats": stats(state)}


def _blocks(state: dict[str, np.ndarray]) -> list[str]:
    bodies = {key.split(".")[1] for key in state if key.startswith("body.")}
    return ["head", *(f"body.{name}" for name in sorted(bodies))]


def drawn(key, shape, seed):
    """A state's entry as the vectors' README describes it."""
    rng = np.random.default_rng(zlib.crc32(key.encode()) + seed)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean") or len(shape) == 1:
        value = rng.normal(0, 0.1, shape)
    else:
        value = rng.normal(0, 1, shape) * np.sqrt(1 / np.prod(shape[1:]))
    return value.astype(np.float32)
