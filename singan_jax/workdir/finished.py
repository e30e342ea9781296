"""Finished scales of a fleet: what is kept of them, which there are, and reading them back."""

import pathlib
from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np

from singan_jax.devices.bucket import Bucket, shared_bucket
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.networks import Array, Variables
from singan_jax.workdir.checkpoint import Store
from singan_jax.workdir.record import Member, read_record

T = TypeVar("T")


class FinishedScale(NamedTuple, Generic[Array]):
    """What is kept of a finished scale, for a stack of members.

    Attributes:
      frozen: the scale, for sampling.
      discriminator: variables of the critic, from which the next scale may start.
      rec: (members, images, h, w, C) reconstructions.
      rec_next: the same, enlarged to the next scale.
      healthy: (members,) bool.
      failed_at: (members,) iteration of this scale at which a member went wrong, or -1.
    """

    frozen: FrozenScale
    discriminator: Variables
    rec: Array
    rec_next: Array
    healthy: Array
    failed_at: Array


def group_folder(folder: pathlib.Path, group: int) -> pathlib.Path:
    """Where a group's checkpoints are."""
    return folder / "groups" / f"{group:04d}"


def finished_scales(store: Store, members: range, num_scales: int) -> int:
    """Number of scales, counted from the coarsest, that these members of a group have finished."""
    names = [name for name in store.names() if name.step is None]
    for scale in range(num_scales):
        done = [name.members for name in names if name.scale == scale]
        if not all(any(n in span for span in done) for n in members):
            return scale
    return num_scales


def restore_scale(
    store: Store, bucket: Bucket, scale: int, members: range
) -> FinishedScale[np.ndarray]:
    """A finished scale of these members of a group, as host arrays."""
    shapes = bucket.shapes[scale]
    one: FinishedScale[jax.Array] = FinishedScale(
        shapes.frozen,
        shapes.state.discriminator.variables,
        shapes.rec,
        shapes.rec_next,
        shapes.state.healthy,
        shapes.state.failed_at,
    )
    parts = []
    for name in store.names():
        own = common(name.members, members)
        if name.scale == scale and name.step is None and own:
            part = store.restore(name, stacked(one, len(name.members)))
            parts.append(take(part, own, name.members))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def common(a: range, b: range) -> range:
    """What two ranges share."""
    return range(max(a.start, b.start), min(a.stop, b.stop))


def take(tree: T, wanted: range, held: range) -> T:
    """The entries of the places `wanted`, from arrays that hold those of the places `held`."""
    entries = slice(wanted.start - held.start, wanted.stop - held.start)
    return jax.tree.map(lambda x: x[entries], tree)


def stacked(shapes: T, members: int) -> T:
    """The shapes of a stack of members, from those of one member's arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), shapes)


def failures(folder: str | pathlib.Path) -> list[Member]:
    """The members of a work folder that went wrong, as of their newest finished scale."""
    folder = pathlib.Path(folder)
    if not (folder / "fleet.json").exists():
        return []
    record, found = read_record(folder), []
    current = {(member.group, member.index) for member in record.members}
    for group, members in record.groups().items():
        bucket = shared_bucket(record.config, *members[0].kind)
        store = Store(group_folder(folder, group), read_only=True)
        everyone = range(len(members))
        done = finished_scales(store, everyone, bucket.pyramid.num_scales)
        if done:
            healthy = restore_scale(store, bucket, done - 1, everyone).healthy
            found += [
                member
                for member in members
                if (group, member.index) in current and not healthy[member.index]
            ]
    return found
