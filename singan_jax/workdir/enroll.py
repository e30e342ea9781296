"""Enrolling images as the members of a work folder's fleet, or adding to those it has."""

import pathlib
from collections.abc import Sequence

from data_pipeline.files.writing import differences
from singan_jax.config import Config
from singan_jax.images.read import Image
from singan_jax.workdir.adopt import as_trained
from singan_jax.workdir.record import (
    FleetRecord,
    Member,
    WorkdirError,
    read_record,
    write_record,
)

GROUP_SIZE = 256  # members whose arrays are held in host memory at once


def enroll(
    folder: pathlib.Path, images: Sequence[Image], config: Config, retry: Sequence[str] = ()
) -> FleetRecord:
    """The fleet of a work folder, created from or extended by `images`.

    Args:
      folder: the work folder, locked.
      images: all images of the command; those the fleet does not know yet are added.
      config: must be the fleet's.
      retry: names of members to restart from a new seed.

    Raises:
      WorkdirError: the folder holds a fleet of another config, an image has changed since, or an
        image of the fleet is missing from `images`.
    """
    if not (folder / "fleet.json").exists():
        record = FleetRecord(config, tuple(_place([(image, 0) for image in images], 0)))
        write_record(folder, record)
        return record
    record = read_record(folder)
    _refuse_other_config(folder, record.config, config)
    images = as_trained(images, record.members)
    given = {image.name: image for image in images}
    for member in record.members:
        if member.name not in given:
            raise WorkdirError(
                f"{folder}: trained on {member.source} too, which this command does not name; add "
                "it to `images`, or choose another `workdir`"
            )
        if given[member.name].digest != member.digest:
            raise WorkdirError(
                f"{given[member.name].source}: differs from the image that {folder} was trained "
                f"on as {member.name!r}; rename it, or choose another `workdir`"
            )
        if given[member.name].settings != member.settings:
            raise WorkdirError(
                f"{folder}: trained {member.name!r} with {member.settings}, not with "
                f"{given[member.name].settings}; repeat its `sweep`, or choose another `workdir`"
            )
    known = {member.name: member for member in record.members}
    starts = [
        (image, known[image.name].attempt + 1 if image.name in known else 0)
        for image in images
        if image.name not in known or image.name in retry
    ]
    if starts:
        kept = [member for member in record.members if member.name not in retry]
        retired = [member for member in record.members if member.name in retry]
        members = (*kept, *_place(starts, 1 + max(record.groups())))
        record = FleetRecord(config, members, (*record.retired, *retired))
        write_record(folder, record)
    return record


def _refuse_other_config(folder: pathlib.Path, old: Config, new: Config) -> None:
    if changes := differences(old.to_dict(), new.to_dict()):
        raise WorkdirError(
            f"{folder}: holds a fleet with other settings ({changes}); repeat them to go on with "
            "it, or choose another `workdir`"
        )


def _place(images: Sequence[tuple[Image, int]], first_group: int) -> list[Member]:
    """Puts images (with their attempt) into groups: by shape, evenly, at most GROUP_SIZE each."""
    buckets: dict[tuple[int, ...], list[tuple[Image, int]]] = {}
    for image, attempt in images:
        shape = (1 + len(image.more), *image.shape)
        buckets.setdefault(shape, []).append((image, attempt))
    members, group = [], first_group
    for bucket in buckets.values():
        count = -(-len(bucket) // GROUP_SIZE)
        size = -(-len(bucket) // count)
        for n, (image, attempt) in enumerate(bucket):
            members.append(
                Member(
                    image.name,
                    image.source,
                    image.digest,
                    image.shape,
                    image.bit_depth,
                    dict(image.provenance),
                    group + n // size,
                    n % size,
                    1 + len(image.more),
                    dict(image.settings),
                    attempt,
                )
            )
        group += count
    return members
