"""The manipulations of a fleet: what each makes of a batch of members, and how that is written."""

import abc
import dataclasses
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

from singan_jax.errors import InputError
from singan_jax.files import write_atomically
from singan_jax.fleet.members import hypers, member_keys
from singan_jax.images.read import Image, from_float, write_png
from singan_jax.manipulate import animation, input_images, operations, painting
from singan_jax.manipulate.batches import Batch
from singan_jax.samples import sample

HARMONIZE_RADIUS = 7  # of the disks by which masks grow, as in the official code
EDIT_RADIUS = 20


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

    def save(self, path: pathlib.Path, images: np.ndarray, bit_depth: int) -> list[pathlib.Path]:
        """Writes the images made of one member.

        Args:
          path: of the files, without index and suffix.
          images: (count, H, W, C) in about [-1, 1].
          bit_depth: 8 or 16.

        Returns:
          The files written.
        """
        files = []
        for n, image in enumerate(images):
            files.append(path.with_name(f"{path.name}_{n}.png"))
            write_png(files[-1], from_float(image, bit_depth))
        return files


@dataclasses.dataclass(frozen=True, eq=False)
class Injection(Manipulation):
    """Harmonisation, editing, paint-to-image: an image goes into the start scale.

    Attributes:
      masks: (H, W) bool by member; what lies outside stays as in the input; None: nothing does.
      radius: of the disk by which masks grow, in pixels.
    """

    masks: Mapping[str, np.ndarray] | None = None
    radius: int = HARMONIZE_RADIUS

    def start_scales(self, num_scales: int) -> range:
        """All but the coarsest."""
        return range(1, num_scales)

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        plan, images = batch.plan(start_scale), batch.fitted(self.inputs)
        coarse = operations.coarse_inputs(plan, images)
        made = operations.inject(plan, batch.scales, coarse, batch.keys, count)
        if self.masks is None:
            return made
        soft = [
            input_images.soft_mask(self.masks[member.name], batch.size, self.radius)
            for member in batch.members
        ]
        masks = np.stack(soft)[:, None, ..., None]  # (members, 1, H, W, 1)
        return masks * made + (1 - masks) * images[:, None]


@dataclasses.dataclass(frozen=True, eq=False)
class FewColours(Injection):
    """Paint-to-image in few colours; the start scale is retrained for them."""

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        plan, reals = batch.plan(start_scale), batch.reals(start_scale)
        colours = np.stack([painting.palette(real) for (real,) in reals])
        keys = member_keys(plan.config.seed, batch.members)
        retrained, healthy = painting.retrain(
            plan, keys, hypers(plan.config, batch.members), reals, batch.finished, colours
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

    def run(self, batch: Batch, start_scale: int, count: int) -> np.ndarray:
        """See `Manipulation`."""
        # A little more than the pixels wanted, as the product with the factor is rounded down.
        scale_v, scale_h = (
            ((wanted or trained) + 1e-6) / trained
            for wanted, trained in zip((self.height, self.width), batch.size, strict=True)
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

    def save(self, path: pathlib.Path, images: np.ndarray, bit_depth: int) -> list[pathlib.Path]:
        """One file, of 8 bits."""
        levels = from_float(images, 8)
        levels = levels[..., 0] if levels.shape[-1] == 1 else levels
        first, *rest = map(PIL.Image.fromarray, levels)
        buffer = io.BytesIO()
        options: dict[str, Any] = {"quality": 90} if self.suffix == "webp" else {}
        options |= {"duration": round(1000 / self.fps), "loop": 0}
        first.save(buffer, self.suffix.upper(), save_all=True, append_images=rest, **options)
        file = path.with_name(f"{path.name}.{self.suffix}")
        write_atomically(file, buffer.getvalue())
        return [file]
