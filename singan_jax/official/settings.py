"""The settings and the image of a run of the official SinGAN, from what is left of it in its files.

The official code saves neither. Both follow from the image at each scale, the shapes of the weights
and the name of the folder.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from data_pipeline.files import names
from singan_jax.config import Config, ConfigError, validate
from singan_jax.errors import InputError
from singan_jax.images.read import Image, from_float
from singan_jax.scale.pyramid import Pyramid, resize

_NAME = re.compile(r"scale_factor=(\d*\.\d+)(?:,alpha=(\d+))?.*")


def image_of(folder: pathlib.Path, finest: np.ndarray) -> Image:
    """The image that a run was trained on, of the size of its finest scale.

    Args:
      folder: of the run; TrainedModels/<image>/scale_factor=... gives the image's name; any
        other name is used as it is.
      finest: (h, w, C) in [-1, 1].

    Returns:
      The image from which `build_pyramid` makes this scale: the official code truncates to 8 bits
      twice on the way, so that levels below 64 lose up to 2.

    Raises:
      InputError: the scale has other levels than those of 8 bits.
    """
    path = folder.resolve()
    name = names.of_file(path.parent.name if _NAME.fullmatch(path.name) else path.name)
    levels = Image(name, str(folder), from_float(finest, 8))
    if np.abs(levels.to_float()[0] - finest).max() > 1e-4:
        raise InputError(
            f"{folder / 'reals.pth'}: its finest scale is no 8-bit image, as the official code "
            "makes it; give the file that it wrote"
        )
    every = Image("", "", np.arange(256, dtype=np.uint8).reshape(16, 16, 1)).to_float()
    seen = jnp.asarray(every)
    for _ in range(2):
        seen = resize(seen, 1.0, (16, 16), uint8=True)
    nearest = np.abs(np.ravel(seen)[:, None] - np.ravel(every)).argmin(axis=0)
    return dataclasses.replace(levels, pixels=nearest.astype(np.uint8)[levels.pixels])


def config_of(
    folder: pathlib.Path, reals: Sequence[np.ndarray], width: int, num_layers: int
) -> Config:
    """The settings with which this project would train the same model.

    Args:
      folder: of the run; may be called `scale_factor=0.750000,alpha=10`.
      reals: the image at each scale, coarsest first, (h, w, C).
      width: of the networks at scale 0.
      num_layers: of each network.

    Returns:
      Settings with which `Pyramid.of` gives these sizes for an image of the finest size. What left
      no trace in the folder, such as the number of iterations, has its official default.

    Raises:
      InputError: there are no such settings.
    """
    stated = _NAME.fullmatch(folder.resolve().name)
    default = Config()
    config = dataclasses.replace(
        default,
        max_size=max(default.max_size, *reals[-1].shape[:2]),
        scale_factor=float(stated[1]) if stated else default.scale_factor,
        base_channels=width,
        max_channels=max(default.max_channels, width),
        num_layers=num_layers,
        alpha_rec=float(stated[2]) if stated and stated[2] else default.alpha_rec,
        uint8_resize=True,
        redraw_z_rec=True,
    )
    sizes = tuple(real.shape[:2] for real in reals)
    for candidate in _candidates(config, sizes):
        try:
            plan = Pyramid.of(sizes[-1], validate(candidate))
        except (ConfigError, ValueError):  # too few pixels for these settings
            continue
        if plan.sizes == sizes:
            return candidate
    listed = ", ".join(f"{width}x{height}" for height, width in sizes)
    raise InputError(
        f"{folder / 'reals.pth'}: its scales ({listed}) are none that SinGAN makes of an image of "
        "the last one's size; give the file that the official code wrote, of 3 or more scales"
    )


def _candidates(config: Config, sizes: Sequence[tuple[int, int]]) -> Iterator[Config]:
    """Settings that may give a pyramid of these sizes."""
    coarsest, finest = min(sizes[0]), min(sizes[-1])
    # Sizes are rounded up, so an error of rounding makes the coarsest a pixel larger.
    for min_size in (coarsest, coarsest - 1):
        config = dataclasses.replace(config, min_size=min_size)
        yield config
        # The official code counts the scales on the image before it shrinks it to max_size, which
        # may give one more than the same factor gives here. The true ratio depends on their number.
        if len(sizes) > 2 and 0 < min_size < finest:
            factor = (min_size / finest) ** (1 / (len(sizes) - 2.5))
            yield dataclasses.replace(config, scale_factor=factor)
