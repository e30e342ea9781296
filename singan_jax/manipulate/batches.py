"""Members of a fleet in batches of one shape, with what a manipulation needs of them."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.devices.bucket import Bucket
from singan_jax.fleet.group import pyramids
from singan_jax.images.read import Image, read_image
from singan_jax.manipulate import input_images
from singan_jax.samples.sample import SamplePlan
from singan_jax.samples.trained import TrainedFleet, sampling_key
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import stretch
from singan_jax.workdir.finished import FinishedScale
from singan_jax.workdir.record import Member, WorkdirError

_TOGETHER = 16  # members at a time


class Batch(NamedTuple):
    """Members of one shape.

    Attributes:
      members: the members, all of one shape.
      bucket: their pyramid and config.
      finished: all their scales, stacked in the order of `members`.
      keys: their random keys.
      originals: training images by member; read from where they were in training if not in it.
    """

    members: Sequence[Member]
    bucket: Bucket
    finished: Sequence[FinishedScale[np.ndarray]]
    keys: jax.Array
    originals: Mapping[str, Image] = types.MappingProxyType({})

    @property
    def scales(self) -> tuple[FrozenScale, ...]:
        """The frozen scales."""
        return tuple(finished.frozen for finished in self.finished)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the finest scale."""
        return self.bucket.pyramid.sizes[-1]

    def plan(self, start_scale: int, **sizes: float) -> SamplePlan:
        """A plan of all scales."""
        bucket = self.bucket
        num_scales = len(self.finished)
        return SamplePlan(
            bucket.config, bucket.pyramid, bucket.channels, num_scales, start_scale, **sizes
        )

    def reals(self, scale: int) -> np.ndarray:
        """The images that the members were trained on, at a scale: (members, 1, h, w, C).

        Raises:
          ImageError: an image cannot be read.
          WorkdirError: it has changed since, or a member was trained on several.
        """
        images = []
        for member in self.members:
            if member.images > 1:
                raise WorkdirError(
                    f"{member.source}: {member.name!r} was trained on {member.images} images "
                    "together, and this manipulation needs one; leave it out of `members`"
                )
            given = self.originals.get(member.name)
            image = given or read_image(member.source, self.bucket.config)
            if image.digest != member.digest:
                raise WorkdirError(
                    f"{member.source}: differs from the image that {member.name!r} was trained "
                    "on; restore it"
                )
            images.append(image)
        return pyramids(self.bucket, images)[scale]

    def unstretched(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Images (members, count, h, w, C) of stretched members at `size`; of others as is."""
        if self.bucket.pyramid.stretch_size is None:
            return images
        flat = images.reshape(-1, *images.shape[2:])
        back = np.asarray(stretch(jnp.asarray(flat), size, antialias=True))
        return back.reshape(*images.shape[:2], *back.shape[1:])

    def fitted(self, inputs: Mapping[str, Image]) -> np.ndarray:
        """Each member's input at the size of the finest scale: (members, H, W, C)."""
        return np.stack(
            [input_images.fit(inputs[m.name].to_float()[0], self.size) for m in self.members]
        )


def batches(
    fleet: TrainedFleet,
    members: Sequence[Member],
    key: jax.Array,
    originals: Mapping[str, Image] = types.MappingProxyType({}),
) -> Iterator[Batch]:
    """Members in batches of at most `_TOGETHER`."""
    for group in dict.fromkeys(member.group for member in members):
        own = [member for member in members if member.group == group]
        scales = fleet.scales(group)
        for start in range(0, len(own), _TOGETHER):
            part = own[start : start + _TOGETHER]
            index = np.array([member.index for member in part])
            finished = jax.tree.map(lambda x, index=index: x[index], scales)
            keys = jnp.stack([sampling_key(key, member) for member in part])
            yield Batch(part, fleet.bucket(part[0]), finished, keys, originals)


def require_finished(fleet: TrainedFleet, members: Sequence[Member]) -> None:
    """Raises `WorkdirError` unless all scales of the members are trained, and without a mask."""
    for member in members:
        if member.has_mask:
            raise WorkdirError(
                f"{fleet.folder}: {member.name!r} was trained with a mask, which cannot be "
                "manipulated; draw from it with `sample_fleet`"
            )
    for member in {member.group: member for member in members}.values():
        done, wanted = fleet.num_scales(member), fleet.bucket(member).pyramid.num_scales
        if done < wanted:
            raise WorkdirError(
                f"{fleet.folder}: {member.name!r} has {done} of its {wanted} scales; "
                "go on with `train_fleet`"
            )
