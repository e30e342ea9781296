"""A network that turns patches into feature vectors, with its weights."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from classify.backbones import alexnet
from classify.backbones import weights as weight_files
from classify.backbones.alexnet import AlexNet
from classify.backbones.resnet import RESNETS, ResNet
from classify.cells import StudyError

RANDOM = "random"
BACKBONES: dict[str, AlexNet | ResNet] = {"alexnet": AlexNet(), **RESNETS}
_SMALLEST = 32  # AlexNet's pools leave nothing of smaller images

# ImageNet's, of values in [0, 1], as torchvision has it. The shift and scale of LPIPS, of values
# in [-1, 1], say the same.
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
    """A network up to its pooled features.

    Attributes:
      name: a key of `BACKBONES`.
      module: called with (N, S, S, 3) prepared images and whether to train; gives
        (N, num_features).
      variables: "params", and "batch_stats" where the network has batch norms.
      num_features: length of a feature vector.
      input_size: S; patches are resized to S x S pixels.
      last_stage: names of the entries of params that are the last stage.
      digest: hex SHA-256 over all that features depend on besides the patch.
      origin: where the weights come from, for reports.
      crop_from: sides that patches are resized to before their centre, S x S, is cut; 0 where they
        are resized to S x S whole.
      reason: why this backbone, for people.
    """

    name: str
    module: nn.Module
    variables: dict[str, Any]
    num_features: int
    input_size: int
    last_stage: tuple[str, ...]
    digest: str
    origin: str
    crop_from: int = 0
    reason: str = ""

    @property
    def preparation(self) -> dict[str, Any]:
        """How images become the network's input, as plain values."""
        return {
            "input_size": self.input_size,
            "crop_from": self.crop_from,
            "mean": [round(float(x), 6) for x in _MEAN],
            "std": [round(float(x), 6) for x in _STD],
        }

    def prepare(self, pixels: jax.Array) -> jax.Array:
        """Resizes (bilinear, smoothed where it shrinks), crops and normalises patches.

        Args:
          pixels: (N, H, W, 1 or 3) uint8, or float32 of the same range, 0 to 255.

        Returns:
          (N, S, S, 3) float32; the channel of gray patches is repeated.
        """
        size = self.crop_from or self.input_size
        x = jnp.asarray(pixels, jnp.float32)
        x = jax.image.resize(x, (x.shape[0], size, size, x.shape[3]), "bilinear")
        if self.crop_from:
            start = round((size - self.input_size) / 2)  # as torchvision's CenterCrop
            x = x[:, start : start + self.input_size, start : start + self.input_size]
        return (x / 255 - _MEAN) / _STD

    def features(self, variables: Any, pixels: jax.Array) -> jax.Array:
        """Feature vectors, with running statistics.

        Args:
          variables: as the attribute; an argument, so that the weights do not become constants of
            the compiled program.
          pixels: see `prepare`.

        Returns:
          (N, num_features) float32.
        """
        return jnp.asarray(self.module.apply(variables, self.prepare(pixels), train=False))


def load_backbone(
    name: str,
    weights: str | pathlib.Path | None = None,
    input_size: int = 224,
    seed: int = 0,
    crop_from: int = 0,
) -> Backbone:
    """Makes a backbone.

    Args:
      name: a key of `BACKBONES`.
      weights: a torchvision file, .pth or .safetensors, for resnet18, 34 and 50; "random"
        for weights drawn from the seed; None for what the others come with: ImageNet weights for
        alexnet, random ones for resnet_small, which is meant to be trained.
      input_size: pixels of a side of the network's input, at least 32.
      seed: of random weights.
      crop_from: see `Backbone`; torchvision's evaluation of its ResNet weights, and the thesis,
        have 232 for an input of 224.

    Raises:
      StudyError: the name is unknown, a size does not fit, or the weights are missing, unfit or
        damaged.
    """
    check_preparation(name, input_size, crop_from)
    variables, origin = _weights(name, BACKBONES[name], weights, seed)
    return assemble(name, variables, input_size, crop_from, origin)


def check_preparation(name: str, input_size: int, crop_from: int) -> None:
    """Raises `StudyError` for an unknown name, or sizes that cannot be."""
    if name not in BACKBONES:
        raise StudyError(f"backbone {name!r}: unknown; choose one of {', '.join(BACKBONES)}")
    if input_size < _SMALLEST:
        raise StudyError(
            f"input size {input_size}: too small for backbones; choose {_SMALLEST} or more"
        )
    if crop_from and crop_from < input_size:
        raise StudyError(
            f"`crop_from`={crop_from}: there are no {input_size} pixels to cut out of that; choose "
            f"{input_size} or more, or 0 for no crop"
        )


def assemble(
    name: str, variables: dict[str, Any], input_size: int, crop_from: int, origin: str
) -> Backbone:
    """A backbone of given weights; see `Backbone` and `load_backbone`."""
    module = BACKBONES[name]
    facts: tuple[Any, ...] = (
        *(name, module.num_features, input_size, _MEAN.tolist(), _STD.tolist()),
        *((crop_from,) if crop_from else ()),  # so that features from before there was it are kept
    )
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(weight_files.digest(variables).encode())
    return Backbone(
        name,
        module,
        variables,
        module.num_features,
        input_size,
        module.last_stage,
        digest.hexdigest(),
        origin,
        crop_from,
    )


def _weights(
    name: str, module: AlexNet | ResNet, weights: str | pathlib.Path | None, seed: int
) -> tuple[dict[str, Any], str]:
    """Variables and their origin; see `load_backbone`."""
    if weights == RANDOM or (weights is None and name == "resnet_small"):
        variables = jax.jit(weight_files.initial, static_argnums=0)(module, jax.random.key(seed))
        return jax.device_get(variables), f"{name}, random weights of seed {seed}"
    if weights is None and name == "alexnet":
        return {"params": alexnet.load()}, alexnet.SOURCE
    if weights is None:
        raise StudyError(
            f"backbone {name}: needs `weights`=FILE, its torchvision weights (.pth from "
            f"https://download.pytorch.org/models, see torchvision.models.{name}); without a "
            "file, choose `backbone`=alexnet"
        )
    if name in ("alexnet", "resnet_small"):
        raise StudyError(
            f"backbone {name}: takes no weights from files ({weights}); leave out `weights`, or "
            "choose `backbone`=resnet50"
        )
    path = pathlib.Path(weights)
    return weight_files.load(path, name), f"{name}, weights of {path.name}"
