"""Reads models trained by the official PyTorch SinGAN (tamarott/SinGAN).

A run of that code is a folder, usually TrainedModels/<image>/scale_factor=0.750000,alpha=10:

    reals.pth       the image at each scale, coarsest first, (1, C, h, w) in [-1, 1]
    Zs.pth          the noise of the reconstruction, padded with zeros by the number of layers
    NoiseAmp.pth    the amplitude of the noise at each scale
    0/ 1/ ...       one for each scale, with the state dicts netG.pth and netD.pth

Gs.pth beside them holds pickled modules; nothing in it is needed, and it is not read.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from singan_jax import torch_files
from singan_jax.config import Config
from singan_jax.devices.bucket import Bucket
from singan_jax.errors import InputError
from singan_jax.images.read import Image
from singan_jax.official import settings
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.networks import Variables
from singan_jax.scale.pyramid import Pyramid

_STRANGE = "is no network of the official SinGAN at this place"
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@dataclasses.dataclass(frozen=True)
class OfficialRun:
    """What a folder of the official code holds.

    Attributes:
      folder: the run's.
      config: see `settings.config_of`.
      image: see `settings.image_of`.
      scales: one per scale, coarsest first, without a members axis.
      discriminators: variables of the critic of each scale.
    """

    folder: pathlib.Path
    config: Config
    image: Image
    scales: list[FrozenScale]
    discriminators: list[Variables]

    @property
    def pyramid(self) -> Pyramid:
        """Sizes of the scales."""
        return Pyramid.of(self.image.shape[:2], self.config)

    @property
    def channels(self) -> int:
        """Channels of the image: 1 or 3."""
        return self.image.shape[2]


def read_run(folder: str | pathlib.Path) -> OfficialRun:
    """Reads a run of the official code; no code in its files is run.

    Args:
      folder: holds reals.pth, Zs.pth, NoiseAmp.pth and a folder for each scale.

    Raises:
      InputError: the folder is no run, a file is missing or damaged, holds more than data, or does
        not fit the others; or torch is not installed.
    """
    folder = pathlib.Path(folder)
    if not (folder / "reals.pth").is_file():
        raise InputError(
            f"{folder}: is no run of the official SinGAN (no reals.pth in it); name the folder "
            "TrainedModels/<image>/scale_factor=..."
        )
    reals = _images(folder / "reals.pth")
    for n in range(len(reals)):
        if not (folder / f"{n}/netG.pth").is_file():
            raise InputError(
                f"{folder}: has no {n}/netG.pth, but reals.pth has {len(reals)} scales; give the "
                "whole folder of a run that has finished"
            )
    generators = [torch_files.state_dict(folder / f"{n}/netG.pth") for n in range(len(reals))]
    width, num_layers = _architecture(folder / "0/netG.pth", generators[0])
    config = settings.config_of(folder, reals, width, num_layers)
    z_recs = _noises(folder / "Zs.pth", [real.shape for real in reals], config.padding)
    if np.any(_border(z_recs[0], config.padding)):
        config = dataclasses.replace(config, noise_padding=True)
    image = settings.image_of(folder, reals[-1])
    bucket = Bucket(config, image.shape)
    noise_amps = _entries(folder / "NoiseAmp.pth", len(reals))
    scales, discriminators = [], []
    for n, (state, shapes) in enumerate(zip(generators, bucket.shapes, strict=True)):
        generator = _variables(folder / f"{n}/netG.pth", state, shapes.frozen.generator, "tail.0")
        z_rec = _z_rec(folder / "Zs.pth", n, z_recs[n], config)
        noise_amp = _amplitude(folder / "NoiseAmp.pth", n, noise_amps[n])
        frozen: Any = FrozenScale(generator, noise_amp, z_rec)
        scales.append(jax.tree.map(jnp.asarray, frozen))
        path = folder / f"{n}/netD.pth"
        critic = shapes.state.discriminator.variables
        discriminators.append(_variables(path, torch_files.state_dict(path), critic, "tail"))
    return OfficialRun(folder, config, image, scales, discriminators)


def _entries(path: pathlib.Path, count: int) -> list[Any]:
    """The entries of a file, one per scale."""
    entries = torch_files.load(path)
    if not isinstance(entries, list) or len(entries) != count:
        held = f"{len(entries)} entries" if isinstance(entries, list) else type(entries).__name__
        raise InputError(
            f"{path}: holds {held}, but reals.pth has {count} scales; give the whole folder of a "
            "run that has finished"
        )
    return entries


def _amplitude(path: pathlib.Path, scale: int, entry: Any) -> Any:
    """The amplitude of a scale's noise, a scalar."""
    value = np.asarray(entry, np.float32) if isinstance(entry, int | float | np.ndarray) else None
    if value is None or value.shape or not np.isfinite(value):
        raise InputError(
            f"{path}: the entry of scale {scale} is no number; give the file that the official "
            "code wrote"
        )
    return value


def _images(path: pathlib.Path) -> list[np.ndarray]:
    """The image at each scale, (h, w, C) in [-1, 1]."""
    entries = torch_files.load(path)
    good = isinstance(entries, list) and all(
        isinstance(real, np.ndarray)
        and real.ndim == 4
        and real.shape[:2] in ((1, 1), (1, 3))
        and np.abs(real).max(initial=0.0) <= 1.0  # false for NaN
        for real in entries
    )
    if not entries or not good:
        raise InputError(
            f"{path}: holds no list of (1, 1 or 3, h, w) images in [-1, 1]; give the file that "
            "the official code wrote"
        )
    return [np.moveaxis(real[0], 0, -1) for real in entries]


def _architecture(path: pathlib.Path, state: dict[str, np.ndarray]) -> tuple[int, int]:
    """Width and number of layers of a generator."""
    head = state.get("head.conv.weight")
    blocks = sum(re.fullmatch(r"body\.\w+\.conv\.weight", key) is not None for key in state)
    if head is None or head.ndim != 4:
        raise InputError(f"{path}: {_STRANGE} (head.conv.weight is missing)")
    return head.shape[0], blocks + 2  # head and tail


def _variables(
    path: pathlib.Path, state: dict[str, np.ndarray], shapes: Variables, tail: str
) -> Variables:
    """A network's variables.

    Args:
      path: of its file.
      state: the content of that.
      shapes: of the variables.
      tail: what the official code calls the last convolution.
    """
    state = {key: value for key, value in state.items() if not key.endswith("batches_tracked")}
    flat = traverse_util.flatten_dict(shapes)
    keys = {place: _key(place, tail) for place in flat}
    expected = {
        keys[place]: tuple(leaf.shape[n] for n in (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.shape
        for place, leaf in flat.items()
    }
    # A bias before a norm only shifts the mean that the norm takes out; there is none here.
    mean = "norm.running_mean"
    biases = {key: key.replace(mean, "conv.bias") for key in expected if key.endswith(mean)}
    expected |= {bias: expected[key] for key, bias in biases.items()}
    if fault := torch_files.misfit(state, expected):
        raise InputError(f"{path}: {_STRANGE} ({fault})")
    for key, bias in biases.items():
        state[key] = state[key] - state[bias]
    return traverse_util.unflatten_dict(
        {
            place: torch_files.kernel(state[key]) if flat[place].ndim == 4 else state[key]
            for place, key in keys.items()
        }
    )


def _key(place: tuple[str, ...], tail: str) -> str:
    """The official name of a variable, such as ("params", "stack", "block0", "norm", "scale")."""
    _, _, *blocks, kind = place
    if not blocks:
        return f"{tail}.{'weight' if kind == 'kernel' else 'bias'}"
    name = "head" if blocks[0] == "block0" else f"body.{blocks[0]}"
    return f"{name}.conv.weight" if kind == "kernel" else f"{name}.norm.{_NORM[kind]}"


def _noises(
    path: pathlib.Path, shapes: Sequence[tuple[int, ...]], padding: int
) -> list[np.ndarray]:
    """The noise of the reconstruction at each scale, (1, h, w, C) with the padding."""
    found = []
    for n, (entry, (height, width, channels)) in enumerate(
        zip(_entries(path, len(shapes)), shapes, strict=True)
    ):
        padded = (1, channels, height + 2 * padding, width + 2 * padding)
        if not isinstance(entry, np.ndarray) or entry.shape != padded:
            raise InputError(
                f"{path}: the noise of scale {n} is not of shape {padded}, which its image and "
                "network need; give the files of one run"
            )
        found.append(np.moveaxis(entry, 1, -1))
    return found


def _border(noise: np.ndarray, padding: int) -> np.ndarray:
    """A noise map with its inner part, where the image is, set to zero."""
    border = noise.copy()
    border[:, padding:-padding, padding:-padding] = 0
    return border


def _z_rec(path: pathlib.Path, scale: int, noise: np.ndarray, config: Config) -> Any:
    """The noise of the reconstruction, (1, *noise_shape)."""
    if not config.noise_padding:
        if np.any(_border(noise, config.padding)):
            raise InputError(
                f"{path}: the noise of scale {scale} reaches into the padding, and that of scale 0 "
                "does not; give the file that the official code wrote"
            )
        noise = noise[:, config.padding : -config.padding, config.padding : -config.padding]
    if scale == 0:
        if not (noise == noise[..., :1]).all():
            raise InputError(
                f"{path}: the noise of scale 0 differs between channels, where the official code "
                "repeats one; give the file that it wrote"
            )
        noise = noise[..., :1]
    return noise
