"""Which given image is which member's, where a name or the reading of files has changed since."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from singan_jax.images.read import Image
from singan_jax.workdir.record import Member


def variants(image: Image) -> Iterator[Image]:
    """An image as it is read, and as earlier versions may have read it: gray stored as colour."""
    yield image
    if image.shape[2] < 3:
        yield image.in_colour()


def as_trained(images: Sequence[Image], members: Sequence[Member]) -> list[Image]:
    """Images as a fleet knows them: one whose pixels a member was trained on has its name.

    So a fleet goes on after its files were renamed, and where other files of the same name, or
    another version of this package, now give other names.

    Args:
      images: with names that differ.
      members: of the fleet.
    """
    known = {member.name: member for member in members}
    given = {image.name for image in images}
    free: dict[tuple[str, str], collections.deque[Member]] = collections.defaultdict(
        collections.deque
    )
    for member in members:
        if member.name not in given:
            free[member.digest, _key(member.settings)].append(member)
    return [_as_trained(image, known.get(image.name), free) for image in images]


def _as_trained(
    image: Image,
    namesake: Member | None,
    free: Mapping[tuple[str, str], collections.deque[Member]],
) -> Image:
    for variant in variants(image):
        if namesake is None:
            equal = free[variant.digest, _key(image.settings)]
            member = equal.popleft() if equal else None
        else:
            member = namesake if variant.digest == namesake.digest else None
        if member is not None:
            return dataclasses.replace(variant, name=member.name)
    return image


def _key(settings: Mapping[str, float]) -> str:
    return repr(sorted(settings.items()))
