"""The first layers of Inception-v3, whose features SIFID compares, as torchvision lays them out.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016. The SinGAN paper
takes the features "just before the second pooling layer", of which there are 192; the
official script takes the 64 before the first. Both are here.
"""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax import torch_files
from singan_jax.errors import InputError

FEATURES = (64, 192)
SMALLEST = 23  # pixels of the shorter side, for 2 x 2 places with 192 features

_EPSILON = 1e-3  # of torchvision's batch norms in this network


class _Layer(NamedTuple):
    name: str
    shape: tuple[int, int, int, int]  # of its weights, OIHW
    stride: int = 1
    padding: int = 0
    pooled: bool = False  # whether a max-pool comes before it


_LAYERS = (
    _Layer("Conv2d_1a_3x3", (32, 3, 3, 3), stride=2),
    _Layer("Conv2d_2a_3x3", (32, 32, 3, 3)),
    _Layer("Conv2d_2b_3x3", (64, 32, 3, 3), padding=1),
    _Layer("Conv2d_3b_1x1", (80, 64, 1, 1), pooled=True),
    _Layer("Conv2d_4a_3x3", (192, 80, 3, 3)),
)
_NORM = ("weight", "bias", "running_mean", "running_var")


class Convolution(NamedTuple):
    """A convolution that its batch norm has become part of.

    Attributes:
      kernel: (height, width, C_in, C_out) float32.
      bias: (C_out,) float32.
    """

    kernel: np.ndarray
    bias: np.ndarray


def load(path: pathlib.Path) -> tuple[Convolution, ...]:
    """Reads the layers' weights and ignores those of all further layers.

    Args:
      path: torchvision's `inception_v3_*.pth`, or another file of such a state dict.

    Raises:
      InputError: the file is missing, damaged or not a state dict; a layer in it is missing, of
        another shape or not finite; or torch is not installed.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for layer in _LAYERS:
        expected[f"{layer.name}.conv.weight"] = layer.shape
        expected |= {f"{layer.name}.bn.{entry}": layer.shape[:1] for entry in _NORM}
    state = {k: value for k, value in torch_files.state_dict(path).items() if k in expected}
    if fault := torch_files.misfit(state, expected):
        raise InputError(
            f"{path}: does not fit Inception-v3: {fault}; name the file of torchvision's "
            "inception_v3 weights"
        )
    return tuple(_fold(state, layer.name) for layer in _LAYERS)


def _fold(state: Mapping[str, np.ndarray], name: str) -> Convolution:
    scale, bias, mean, var = (np.asarray(state[f"{name}.bn.{entry}"], float) for entry in _NORM)
    factor = scale / np.sqrt(var + _EPSILON)
    kernel = torch_files.kernel(state[f"{name}.conv.weight"]) * factor
    return Convolution(kernel.astype(np.float32), (bias - mean * factor).astype(np.float32))


def features(weights: tuple[Convolution, ...], images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The features before the first and before the second max-pool.

    Args:
      weights: see `load`.
      images: (N, H, W, 1 or 3) in [0, 1]; gray ones are repeated to three channels. Both sides at
        least `SMALLEST`.

    Returns:
      (N, about H / 2, about W / 2, 64) and (N, about H / 4, about W / 4, 192).
    """
    x = 2 * jnp.broadcast_to(images, (*images.shape[:3], 3)) - 1
    maps = []
    for layer, (kernel, bias) in zip(_LAYERS, weights, strict=True):
        if layer.pooled:
            maps.append(x)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(kernel),
            window_strides=(layer.stride, layer.stride),
            padding=[(layer.padding, layer.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
        x = jax.nn.relu(x + bias)
    return maps[0], x
