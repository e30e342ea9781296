"""All measures of the samples of a fleet, members of one shape together."""

import collections
import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from data_pipeline.errors import InputWarning
from singan_jax.devices import sharding
from singan_jax.errors import InputError
from singan_jax.evaluate import diversity, filters, inception, memorisation, texture
from singan_jax.evaluate.frechet import frechet_distance, moments
from singan_jax.evaluate.inception import Convolution
from singan_jax.evaluate.sample_folder import read_samples
from singan_jax.images.read import Image
from singan_jax.samples.trained import TrainedFleet
from singan_jax.scale.pyramid import Pyramid, build_pyramid, stretch
from singan_jax.workdir.record import Member

_PIXELS_PER_CALL = 2**24  # of samples, to bound memory and show progress
_FRECHET = ("filter_bank_distance", "sifid_64", "sifid_192")


@dataclasses.dataclass(frozen=True)
class Measured:
    """The samples of one member, measured.

    Attributes:
      member: its name.
      files: of the samples.
      of_samples: (n,) arrays, one value a sample: `filter_bank_distance`, with weights of Inception
        `sifid_64` and `sifid_192`, `patch_distance` (see `memorisation`; root mean square over the
        sample's patches), `copy_distance`, and those of `texture.MEASURES`.
      of_all: values of all samples together: `diversity`, `ms_ssim`.
      of_real: values of the training image: `patch_distance` (`own_patch_distance`), and those of
        `texture.MEASURES`.
    """

    member: str
    files: tuple[pathlib.Path, ...]
    of_samples: Mapping[str, np.ndarray]
    of_all: Mapping[str, float]
    of_real: Mapping[str, float]

    @property
    def near_copies(self) -> list[pathlib.Path]:
        """The samples that repeat the training image; see `memorisation.NEAR_COPY`."""
        distances = self.of_samples["copy_distance"]
        return [self.files[n] for n in np.flatnonzero(distances < memorisation.NEAR_COPY)]


def measure_fleet(
    fleet: TrainedFleet,
    images: Mapping[str, Image],
    files: Mapping[str, Sequence[pathlib.Path]],
    weights: tuple[Convolution, ...] = (),
    *,
    quiet: bool = False,
) -> list[Measured]:
    """Measures samples beside the images that their members were trained on.

    Args:
      fleet: the fleet that drew the samples.
      images: by member name, as read for training.
      files: by member name, its samples: 2 or more, of the size and channels of one of its scales,
        or of its image where that was stretched.
      weights: of Inception, for SIFID; without them, only the filter-bank distance is measured.
      quiet: show no progress bar.

    Returns:
      One entry per member, in the order of `files`.

    Raises:
      InputError: a member is not in the fleet, has fewer than 2 samples, or has one that cannot be
        read or has another size; or images are too small for the measures.
    """
    batches: dict[Any, list[Member]] = collections.defaultdict(list)
    fleet.warn_of_unfinished(fleet.select(list(files)))
    for member in fleet.select(list(files)):
        if len(files[member.name]) < 2:
            raise InputError(
                f"{files[member.name][0]}: is the only sample of {member.name!r}, and diversity "
                "needs 2; draw more with `sample_fleet` `num_samples`=50"
            )
        if member.images > 1:
            raise InputError(
                f"{fleet.folder}: {member.name!r} was trained on {member.images} images together, "
                "and the measures compare with one; draw samples of the other `members` alone"
            )
        batches[member.shape, len(files[member.name])].append(member)
    found: dict[str, Measured] = {}
    with tqdm.tqdm(total=len(files), unit=" members", disable=quiet) as bar:
        for (shape, count), members in batches.items():
            most = max(1, _PIXELS_PER_CALL // (count * int(np.prod(shape))))
            pieces = -(-len(members) // sharding.padded_size(most))
            size = -(-len(members) // pieces)
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                for measured in _measure(fleet, batch, size, images, files, weights):
                    found[measured.member] = measured
                bar.update(len(batch))
    in_order = [found[name] for name in files]
    _warn_of_flat(in_order)
    return in_order


def _warn_of_flat(measured: Sequence[Measured]) -> None:
    """Warns of members that have no value of texture, as there is none."""
    real = [one.member for one in measured if np.isnan(one.of_real["contrast"])]
    drawn = [one.member for one in measured if np.isnan(one.of_samples["spectrum_slope"]).any()]
    for members, problem in (
        (real, "of one intensity everywhere, so it has no texture to compare, and those measures"),
        (
            [member for member in drawn if member not in real],
            "has samples of one intensity everywhere, so their spectrum slope, and its mean,",
        ),
    ):
        if members:
            others = f" (and {len(members) - 1} more)" if members[1:] else ""
            verb = "are" if members is real else "is"
            text = f"{members[0]}{others}: {problem} {verb} empty"
            warnings.warn(text, InputWarning, stacklevel=3)


def _measure(
    fleet: TrainedFleet,
    members: Sequence[Member],
    size: int,
    images: Mapping[str, Image],
    files: Mapping[str, Sequence[pathlib.Path]],
    weights: tuple[Convolution, ...],
) -> list[Measured]:
    """Measures members of one shape and sample count; programs are compiled for `size` members."""
    plan = fleet.bucket(members[0]).pyramid
    channels = members[0].shape[2] - members[0].has_mask
    shown = plan.sizes if plan.stretch_size is None else (plan.image_size,)
    sizes = [(*hw, channels) for hw in shown]
    samples = [read_samples(files[member.name], sizes) for member in members]
    if len({stack.shape for stack in samples}) > 1:
        raise InputError(
            f"{members[0].name!r} and others of its shape have samples of different scales; "
            "measure each folder by itself"
        )
    scale = sizes.index(samples[0].shape[1:])
    _refuse_small(files[members[0].name][0], shown[scale], bool(weights))
    program = _program(plan, fleet.config.uint8_resize, scale)
    reals = [images[m.name].to_float()[0, ..., :channels] for m in members]
    arrays = (np.stack(reals), np.stack(samples))
    arrays = sharding.to_devices(sharding.padded(arrays, size))
    of_real, of_samples, of_all = sharding.to_host(
        program(*arrays, sharding.to_all_devices(weights)), len(members)
    )
    for name in _FRECHET:
        if name in of_samples:
            (mean, covariance), theirs = of_real.pop(name), of_samples[name]
            of_samples[name] = frechet_distance(mean[:, None], covariance[:, None], *theirs)
    return [
        Measured(
            member.name,
            tuple(files[member.name]),
            {name: values[n] for name, values in of_samples.items()},
            {name: float(values[n]) for name, values in of_all.items()},
            {name: float(values[n]) for name, values in of_real.items()},
        )
        for n, member in enumerate(members)
    ]


def _refuse_small(path: pathlib.Path, size: tuple[int, int], with_inception: bool) -> None:
    least = 2 * memorisation.PATCH
    if with_inception:
        least = max(least, inception.SMALLEST)
    if min(size) < least:
        raise InputError(
            f"{path}: is {size[1]}x{size[0]} pixels; the measures need {least} along both sides"
        )


@functools.cache
def _program(plan: Pyramid, uint8: bool, scale: int) -> Any:
    def of_member(image: jax.Array, samples: jax.Array, weights: tuple[Convolution, ...]) -> Any:
        scales = build_pyramid(image[None], plan, uint8=uint8)
        if plan.stretch_size is not None:  # back at its own size, as its samples are
            scales = (stretch(scales[-1], plan.image_size, antialias=True),)
        return measure_member((scales[scale][0] + 1) / 2, samples, weights)

    return sharding.over_members(of_member, shared=1)


def measure_member(
    real: jax.Array, samples: jax.Array, weights: tuple[Convolution, ...]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The measures of one member; for Fréchet distances, the moments that they are between.

    Args:
      real: (H, W, C) in [0, 1].
      samples: (n, H, W, C), likewise.
      weights: of Inception, or empty.

    Returns:
      By name, values of the real image, (n,) of the samples, and of all samples together.
    """
    low, high = real.mean(axis=-1).min(), real.mean(axis=-1).max()

    def of_one(sample: jax.Array) -> dict[str, jax.Array]:
        patches = memorisation.patch_distances(sample, real)
        return {
            "patch_distance": (patches**2).mean() ** 0.5,
            "copy_distance": memorisation.copy_distance(sample, real),
            **texture.texture(sample, low, high),
        }

    of_real: dict[str, Any] = {
        "patch_distance": memorisation.own_patch_distance(real),
        **texture.texture(real, low, high),
    }
    of_samples: dict[str, Any] = jax.lax.map(of_one, samples)
    pair = filters.response_moments(real, samples)
    of_real["filter_bank_distance"], of_samples["filter_bank_distance"] = pair
    if weights:

        def inception_moments(image: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
            return [moments(x[0]) for x in inception.features(weights, image[None])]

        ours, theirs = inception_moments(real), jax.lax.map(inception_moments, samples)
        for n, width in enumerate(inception.FEATURES):
            of_real[f"sifid_{width}"], of_samples[f"sifid_{width}"] = ours[n], theirs[n]
    of_all = {
        "diversity": diversity.diversity(real, samples),
        "ms_ssim": diversity.mean_ms_ssim(samples),
    }
    return of_real, of_samples, of_all
