"""Weights of residual networks from files made with torchvision.

Either a state dict as PyTorch saves it (.pth, .pt), which is read by torch with `weights_only`, so
that no code in it is run, or a .safetensors file with the same names.
"""

import hashlib
import pathlib
import re
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from classify.backbones.resnet import RESNETS
from classify.cells import StudyError
from singan_jax import torch_files

# What a file may hold and a backbone has no use for.
_IGNORED = re.compile(r"fc\.(weight|bias)|.*\.num_batches_tracked")
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def initial(module: nn.Module, key: jax.Array) -> Any:
    """Random variables of a backbone's module."""
    return module.init(key, np.zeros((1, 32, 32, 3), np.float32), train=False)


def digest(tree: Any) -> str:
    """Hex SHA-256 over names, shapes and values of a tree of float32 arrays."""
    total = hashlib.sha256()
    for path, leaf in sorted(traverse_util.flatten_dict(tree, sep="/").items()):
        total.update(f"{path} {leaf.shape} {leaf.dtype} ".encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


def load(path: pathlib.Path, name: str) -> dict[str, Any]:
    """Reads the weights of a backbone.

    Args:
      path: the file; the prefix that DataParallel adds to all names is removed.
      name: a key of `RESNETS`.

    Returns:
      Its variables, NumPy arrays of float32. The last layer (`fc`) is left out.

    Raises:
      StudyError: the file is missing, lacks an entry, has an unknown one, one of another shape, or
        one that is not finite.
      InputError: it is damaged or no state dict, or torch is needed and not installed.
    """
    state = {key.removeprefix("module."): value for key, value in _read(path).items()}
    state = {key: value for key, value in state.items() if not _IGNORED.fullmatch(key)}
    if fault := _misfit(state, name):
        others = [other for other in RESNETS if other != name and not _misfit(state, other)]
        help_ = (
            f"it looks like {others[0]}: choose `backbone`={others[0]}"
            if others
            else ("name a file of torchvision's weights of that architecture")
        )
        raise StudyError(f"{path}: does not fit {name}: {fault}; {help_}")
    flat = {
        place: torch_files.kernel(state[key]) if place[-1] == "kernel" else state[key]
        for place, (key, _) in _entries(name).items()
    }
    return traverse_util.unflatten_dict(flat)


def _entries(name: str) -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """By place among a backbone's variables, torchvision's name and shape."""
    tree = jax.eval_shape(lambda: initial(RESNETS[name], jax.random.key(0)))
    entries = {}
    for place, leaf in traverse_util.flatten_dict(tree).items():
        _, *blocks, layer, kind = place
        convolution, norm = layer, layer.replace("conv", "bn")
        if layer == "downsample":
            convolution, norm = "downsample.0", "downsample.1"
        last = f"{convolution}.weight" if kind == "kernel" else f"{norm}.{_NORM[kind]}"
        key = ".".join((*(block.replace("_", ".") for block in blocks), last))
        shape = tuple(leaf.shape[n] for n in (3, 2, 0, 1)) if kind == "kernel" else leaf.shape
        entries[place] = key, shape
    return entries


def _misfit(state: dict[str, np.ndarray], name: str) -> str:
    """How a state dict departs from a backbone's; empty if it fits."""
    return torch_files.misfit(state, dict(_entries(name).values()))


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A state dict, by the names in the file."""
    if not path.is_file():
        raise StudyError(f"{path}: no such file; name a .pth or .safetensors file by `weights`")
    if path.suffix == ".safetensors":
        try:
            state = safetensors.numpy.load_file(path)
        except safetensors.SafetensorError as error:
            raise StudyError(f"{path}: damaged ({error}); get the file again") from error
        return {key: value.astype(np.float32) for key, value in state.items()}
    if path.suffix in (".pth", ".pt"):
        return torch_files.state_dict(path)
    raise StudyError(f"{path}: weights are read from .pth and .safetensors files only")
