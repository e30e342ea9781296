"""The manipulations of a fleet: what each makes of a batch of members, and how that is written."""

import abc
import dataclasses
import io
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from data_pipeline.files.writing import write_atomically
from singan_jax.errors import InputError
from singan_jax.fleet.members import hypers, member_keys
from singan_jax.images.read import Image, from_float, write_png
from singan_jax.manipulate import animation, input_images, operations, painting
from singan_jax.manipulate.batches import Batch
from singan_jax.samples import sample

HARMONIZE_RADIUS = 7  # of the disks by which masks grow, as in the official code
EDIT_RADIUS = 20
BLENDS = ("training", "input")
RETRAINS = ("fresh", "continue")
_UNIT = {"gif": 10, "webp": 1}  # of the durations of frames, milliseconds


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"`{name}`={value}: choose one of {', '.join(choices)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Manipulation(abc.ABC):
    """A manipulation of members.

    Attributes:
      inputs: the image to start from, by member; empty where no image is needed.
    """

    inputs: Mapping[str, Image] = dataclasses.field(default_factory=dict)

    def start_scales(self, num_scales: int) -> range:
        """The start scales possible for a member of `num_scales` scales."""
        return range(num_scales)

    @abc.abstractmethod
    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """Makes (members, count, H, W, C) images in about [-1, 1]."""

    def versions(self, batch: Batch, start_scale: int, count: int) -> dict[str, np.ndarray]:
        """What is written: the images of `run` as "", and further versions of them by name."""
        return {"": self.run(batch, start_scale, count)}

    def shown_size(self, batch: Batch, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at which images of `size` are written, if members were stretched."""
        return batch.bucket.pyramid.own_size(size)

    def save(
        self, path: pathlib.Path, images: np.ndarray, bit_depth: int, version: str = ""
    ) -> list[pathlib.Path]:
        """Writes the images made of one member.

        Args:
          path: of the files, without index, version and suffix.
          images: (count, H, W, C) in about [-1, 1].
          bit_depth: 8 or 16.
          version: of the images; see `versions`.

        Returns:
          The files written.
        """
        files = []
        for n, image in enumerate(images):
            name = f"{path.name}_{n}_{version}.png" if version else f"{path.name}_{n}.png"
            files.append(path.with_name(name))
            write_png(files[-1], from_float(image, bit_depth))
        return files


@dataclasses.dataclass(frozen=True, eq=False)
class Injection(Manipulation):
    """Harmonisation, editing, paint-to-image: an image goes into the start scale.

    Attributes:
      masks: (H, W) bool by member; what lies outside is blended in. None: nothing is.
      radius: of the disk by which masks grow, in pixels.
      blend: what lies outside the masks: "training" for the image that the member was trained on,
        as in the official code, or "input" for the input, which may be another.
      keep_unblended: write the images before they are blended too, as the official code does in
        editing.
    """

    masks: Mapping[str, np.ndarray] | None = None
    radius: int = HARMONIZE_RADIUS
    blend: str = "training"
    keep_unblended: bool = False

    def __post_init__(self) -> None:
        _require_choice("blend", self.blend, BLENDS)

    def start_scales(self, num_scales: int) -> range:
        """All but the coarsest."""
        return range(1, num_scales)

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        return self.versions(batch, start_scale, count)[""]

    def versions(self, batch: Batch, start_scale: int, count: int) -> dict[str, np.ndarray]:
        """See `Manipulation`: with masks, also "unblended"."""
        if self.masks is None:
            return {"": self._inject(batch, start_scale, count)}
        outside = self._outside(batch)[:, None]
        made = self._inject(batch, start_scale, count)
        soft = [
            input_images.soft_mask(self.masks[member.name], batch.size, self.radius)
            for member in batch.members
        ]
        masks = np.stack(soft)[:, None, ..., None]  # (members, 1, H, W, 1)
        blended = masks * made + (1 - masks) * outside
        return {"": blended, **({"unblended": made} if self.keep_unblended else {})}

    def _inject(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """(members, count, H, W, C) before blending."""
        plan = batch.plan(start_scale)
        coarse = operations.coarse_inputs(plan, batch.fitted(self.inputs))
        return operations.inject(plan, batch.scales, coarse, batch.keys, count)

    def _outside(self, batch: Batch) -> np.ndarray:
        """What lies outside the masks, (members, H, W, C)."""
        if self.blend == "input":
            return batch.fitted(self.inputs)
        for member in batch.members:
            if member.images > 1:
                raise InputError(
                    f"{member.source}: {member.name!r} was trained on {member.images} images, so "
                    "that there is no single one to blend with; choose `blend`=input"
                )
        return batch.reals(len(batch.finished) - 1)[:, 0]


@dataclasses.dataclass(frozen=True, eq=False)
class FewColours(Injection):
    """Paint-to-image in few colours; the start scale is retrained for them.

    Attributes:
      retrain: from where: "fresh" for new weights, as in the official code, or "continue" for the
        trained ones; see `painting.retrain`.
    """

    retrain: str = "fresh"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_choice("retrain", self.retrain, RETRAINS)

    def _inject(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Injection`."""
        plan, reals = batch.plan(start_scale), batch.reals(start_scale)
        colours = np.stack([painting.palette(real) for (real,) in reals])
        keys = member_keys(plan.config.seed, batch.members)
        retrained, healthy = painting.retrain(
            plan,
            keys,
            hypers(plan.config, batch.members),
            reals,
            batch.finished,
            colours,
            fresh=self.retrain == "fresh",
        )
        for member, well in zip(batch.members, healthy, strict=True):
            if not well:
                raise InputError(
                    f"{member.name}: went wrong while scale {start_scale} was retrained; choose "
                    "another `start_scale`"
                )
        scales = (*batch.scales[:start_scale], retrained, *batch.scales[start_scale + 1 :])
        coarse = painting.coarse_inputs(plan, batch.fitted(self.inputs), colours)
        return operations.inject(plan, scales, coarse, batch.keys, count)


@dataclasses.dataclass(frozen=True, eq=False)
class SuperResolution(Manipulation):
    """Enlarges images with the detail of the finest scale.

    Attributes:
      factor: of the enlargement.
    """

    factor: float = 4.0

    def start_scales(self, num_scales: int) -> range:
        """Only the finest."""
        return range(num_scales - 1, num_scales)

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        bucket, images = batch.bucket, batch.fitted(self.inputs)
        plan = operations.Enlargement(bucket.config, bucket.pyramid, bucket.channels, self.factor)
        return operations.super_resolve(plan, batch.scales[-1], images, batch.keys, count)


@dataclasses.dataclass(frozen=True, eq=False)
class Retargeting(Manipulation):
    """Samples of another size.

    From the coarsest scale on, all is new, as in the official code. From a finer one, the
    reconstruction is stretched to the size wanted, and detail is made up from there on.

    Attributes:
      height: of the output, pixels; as trained where None.
      width: likewise.
    """

    height: int | None = None
    width: int | None = None

    def shown_size(self, batch: Batch, size: tuple[int, int]) -> tuple[int, int]:
        """The size asked for."""
        height, width = batch.bucket.pyramid.own_size(batch.size)
        return self.height or height, self.width or width

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        # A little more than the pixels wanted, as the product with the factor is rounded down.
        own_size = batch.bucket.pyramid.own_size(batch.size)
        scale_v, scale_h = (
            ((wanted or trained) + 1e-6) / trained
            for wanted, trained in zip((self.height, self.width), own_size, strict=True)
        )
        plan = batch.plan(start_scale, scale_v=scale_v, scale_h=scale_h)
        if start_scale == 0:
            return sample.sample_all(plan, batch.scales, batch.keys, count)
        size = plan.noise_size(start_scale)
        known = batch.finished[start_scale - 1].rec_next[:, 0]
        coarse = np.stack([input_images.fit(image, size) for image in known])
        return operations.inject(plan, batch.scales, coarse, batch.keys, count)


@dataclasses.dataclass(frozen=True, eq=False)
class Animation(Manipulation):
    """A random walk near the image; `count` is the number of frames.

    Attributes:
      alpha: pull towards the image, in [0, 1].
      beta: smoothness, in [0, 1).
      fps: frames per second.
      suffix: "gif" or "webp".
    """

    alpha: float = 0.1
    beta: float = 0.9
    fps: float = 10.0
    suffix: str = "gif"

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        bucket = batch.bucket
        walk = animation.Walk(start_scale, self.alpha, self.beta)
        return animation.animate(
            bucket.config, bucket.pyramid, batch.scales, batch.keys, walk, count
        )

    def save(
        self, path: pathlib.Path, images: np.ndarray, bit_depth: int, version: str = ""
    ) -> list[pathlib.Path]:
        """One file, of 8 bits."""
        levels = from_float(images, 8)
        levels = levels[..., 0] if levels.shape[-1] == 1 else levels
        first, *rest = map(PIL.Image.fromarray, levels)
        buffer = io.BytesIO()
        options: dict[str, Any] = {"quality": 90} if self.suffix == "webp" else {}
        options |= {"duration": self._durations(len(levels)), "loop": 0}
        first.save(buffer, self.suffix.upper(), save_all=True, append_images=rest, **options)
        file = path.with_name(f"{path.name}.{self.suffix}")
        write_atomically(file, buffer.getvalue())
        return [file]

    def _durations(self, count: int) -> list[int]:
        """Milliseconds of each frame, so that none ends further from its time than by rounding.

        GIF counts in hundredths of a second, so frames take turns in being longer and shorter.
        """
        unit = _UNIT[self.suffix]
        ends = [math.floor(1000 * n / (self.fps * unit) + 0.5) for n in range(count + 1)]
        return [unit * (end - start) for start, end in itertools.pairwise(ends)]
