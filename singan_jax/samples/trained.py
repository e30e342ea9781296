"""A trained fleet: its members, and samples from any of them."""

import functools
import itertools
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputWarning
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket, shared_bucket
from singan_jax.images.read import from_float
from singan_jax.samples import sample
from singan_jax.scale.pyramid import Pyramid, stretch
from singan_jax.workdir import finished
from singan_jax.workdir.checkpoint import Store
from singan_jax.workdir.finished import FinishedScale
from singan_jax.workdir.record import Member, WorkdirError, read_record


class Samples(NamedTuple):
    """Consecutive samples of one member.

    Attributes:
      member: the member they are of.
      first: index of the first.
      pixels: (count, H, W, C) uint8 or uint16, as the member's image; C is 1 or 3. Of a member
        whose image was stretched (`config.stretch`), they are back at the image's own size.
      masks: (count, H, W, 1) uint8, 0 or 255, where the member was trained with a mask.
    """

    member: Member
    first: int
    pixels: np.ndarray
    masks: np.ndarray | None


class TrainedFleet:
    """Read access to a work folder, even while its fleet trains."""

    def __init__(self, workdir: str | pathlib.Path):
        """Opens a work folder.

        Raises:
          WorkdirError: it holds no fleet.
        """
        self.folder = pathlib.Path(workdir)
        record = read_record(self.folder)
        self.config, self.members = record.config, record.members
        self.groups = record.groups()

    def bucket(self, member: Member) -> Bucket:
        """The pyramid and shapes of a member and all others like it."""
        return shared_bucket(self.config, *member.kind)

    def num_scales(self, member: Member) -> int:
        """Finished scales of a member; 0 before the coarsest is done."""
        bucket = self.bucket(member)
        store = Store(finished.group_folder(self.folder, member.group), read_only=True)
        everyone = range(len(self.groups[member.group]))
        return finished.finished_scales(store, everyone, bucket.pyramid.num_scales)

    def require_started(self, member: Member) -> None:
        """Raises `WorkdirError` where a member has no finished scale."""
        if not self.num_scales(member):
            raise WorkdirError(
                f"{self.folder}: {member.name!r} has no finished scale yet; go on with "
                "`train_fleet`"
            )

    def warn_of_unfinished(self, members: Sequence[Member]) -> None:
        """Warns, once for all members in the same state, where some scales but not all lack."""
        first = {member.group: member for member in reversed(members)}
        done_in = {group: self.num_scales(member) for group, member in first.items()}
        alike: dict[tuple[int, Pyramid], list[Member]] = {}
        for member in members:
            done, pyramid = done_in[member.group], self.bucket(member).pyramid
            if 0 < done < pyramid.num_scales:
                alike.setdefault((done, pyramid), []).append(member)
        for (done, pyramid), those in alike.items():
            warnings.warn(_about_unfinished(done, pyramid, those), InputWarning, stacklevel=3)

    def scales(self, group: int) -> list[FinishedScale[np.ndarray]]:
        """The finished scales of a group's members, stacked by `Member.index`."""
        members = self.groups[group]
        store = Store(finished.group_folder(self.folder, group), read_only=True)
        bucket = self.bucket(members[0])
        return [
            finished.restore_scale(store, bucket, n, range(len(members)))
            for n in range(self.num_scales(members[0]))
        ]

    @functools.cached_property
    def failed(self) -> list[Member]:
        """Members that had gone wrong when first asked; only their coarser scales are trained."""
        return finished.failures(self.folder)

    def select(self, names: Sequence[str] | None) -> list[Member]:
        """Members by name; all that did not go wrong where None.

        Raises:
          WorkdirError: no member has that name.
        """
        if names is None:
            return [member for member in self.members if member not in self.failed]
        known = {member.name: member for member in self.members}
        for name in names:
            if name not in known:
                raise WorkdirError(
                    f"{self.folder}: has no member {name!r}; its {len(known)} members are "
                    f"{', '.join(list(known)[:5])}{', ...' if len(known) > 5 else ''}"
                )
        return [known[name] for name in names]

    def sample(
        self,
        num_samples: int,
        key: jax.Array,
        *,
        names: Sequence[str] | None = None,
        start_scale: int = 0,
        scale_v: float = 1.0,
        scale_h: float = 1.0,
    ) -> Iterator[Samples]:
        """Draws samples.

        A sample depends on the key, its member's image and its index alone.

        Args:
          num_samples: samples per member.
          key: random key.
          names: members to use; all that did not go wrong where None.
          start_scale: coarsest scale with fresh noise; those below it reconstruct the image.
          scale_v: output height over trained height.
          scale_h: output width over trained width.

        Returns:
          Consecutive samples, member by member within each group.

        Raises:
          WorkdirError: an unknown name, or a member with no finished scale.
          InputError: `start_scale` or an output size is out of range.
        """
        chosen = self.select(names)
        parts = []
        for group in dict.fromkeys(member.group for member in chosen):
            members = [member for member in chosen if member.group == group]
            self.require_started(members[0])
            scales = self.scales(group)
            bucket = self.bucket(members[0])
            plan = sample.SamplePlan(
                self.config,
                bucket.pyramid,
                bucket.channels,
                len(scales),
                start_scale,
                scale_v,
                scale_h,
            )
            parts.append(_draw_group(plan, members, scales, key, num_samples))
        return itertools.chain.from_iterable(parts)


def _about_unfinished(done: int, pyramid: Pyramid, members: Sequence[Member]) -> str:
    others = f" (and {len(members) - 1} more)" if members[1:] else ""
    verb = "is" if done == 1 else "are"
    (height, width), (rows, columns) = pyramid.sizes[done - 1], pyramid.sizes[-1]
    if pyramid.stretch_size is not None:  # samples come back at the image's own size
        lack = "samples lack the detail of the others"
    else:
        lack = f"samples have {width}x{height} pixels instead of {columns}x{rows}"
    return (
        f"{members[0].name}{others}: {done} of {pyramid.num_scales} scales {verb} finished; "
        f"{lack}; go on with `train_fleet`"
    )


def _draw_group(
    plan: sample.SamplePlan,
    members: Sequence[Member],
    scales: Sequence[FinishedScale[np.ndarray]],
    key: jax.Array,
    count: int,
) -> Iterator[Samples]:
    together = sharding.padded_size(1)
    for start in range(0, len(members), together):
        batch = members[start : start + together]
        index = np.array([member.index for member in batch])
        frozen = jax.tree.map(lambda x, index=index: x[index], [s.frozen for s in scales])
        keys = jnp.stack([sampling_key(key, member) for member in batch])
        first = 0
        for images in sample.sample_blocks(plan, frozen, keys, count):
            if plan.config.stretch:
                images = _unstretched(plan, images)
            for n, member in enumerate(batch):
                yield _samples(member, first, images[n])
            first += images.shape[1]


def _unstretched(plan: sample.SamplePlan, images: np.ndarray) -> np.ndarray:
    """Samples (members, n, H, W, C) at their image's own size, times `scale_v` and `scale_h`.

    So are those of a fleet that has not all its scales yet. Bilinear, with antialiasing where they
    shrink, as the thesis' classifier takes them in (torchvision's `Resize`).
    """
    height, width = plan.pyramid.image_size
    size = int(height * plan.scale_v), int(width * plan.scale_h)
    flat = images.reshape(-1, *images.shape[2:])
    back = np.asarray(stretch(jnp.asarray(flat), size, antialias=True))
    return back.reshape(*images.shape[:2], *back.shape[1:])


def _samples(member: Member, first: int, images: np.ndarray) -> Samples:
    """Samples of (count, H, W, C) floats in about [-1, 1]."""
    masks = None
    if member.has_mask:
        masks = np.where(images[..., -1:] > 0, 255, 0).astype(np.uint8)
        images = images[..., :-1]
    return Samples(member, first, from_float(images, member.bit_depth), masks)


def sampling_key(key: jax.Array, member: Member) -> jax.Array:
    """A member's own key for sampling."""
    return jax.random.fold_in(key, int(member.digest[:8], 16))


def load_fleet(workdir: str | pathlib.Path) -> TrainedFleet:
    """Opens the work folder of a fleet; see `TrainedFleet`."""
    return TrainedFleet(workdir)
