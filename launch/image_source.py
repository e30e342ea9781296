"""Where the images of a fleet come from: files, folders, globs, and queries of a patch dataset.

And, once it is trained, the very images that its members were trained on.
"""

import dataclasses
import functools
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence, Set

from data_pipeline import query
from data_pipeline.errors import DataError, InputWarning, UnusableError
from data_pipeline.files import names, places
from data_pipeline.query import Query
from singan_jax.config import Config
from singan_jax.errors import ImageError, InputError
from singan_jax.images import compose
from singan_jax.images.masks import MASK_ENDINGS
from singan_jax.images.match import NamedFiles
from singan_jax.images.read import (
    Image,
    check_content,
    find_images,
    read_images,
    read_named,
    read_pixels,
)
from singan_jax.samples.trained import TrainedFleet
from singan_jax.workdir import adopt
from singan_jax.workdir.record import Member

_PATCH = re.compile(r"(\w+/\w+:\w+)\s*/(.+)")  # the source of a patch: its dataset, and its id


@dataclasses.dataclass(frozen=True)
class Source:
    """What the images of a fleet's members are made of.

    Attributes:
      patterns: each a file, a folder, a glob, a query (see `data_pipeline.query`), or the source
        of a patch, `<dataset>/<config>:<split>/<patch id>`.
      config: decides which sizes can be trained on.
      data_dir: where datasets were prepared; needed for queries.
      together: each a pattern whose images train one model.
      masks: a folder or glob of masks, `<stem of the image>.*` or `<stem>_mask.*`.
      sweep: settings with which each image is trained.
    """

    patterns: Sequence[str]
    config: Config
    data_dir: str | None = None
    together: Sequence[str] = ()
    masks: str | None = None
    sweep: compose.Sweep = dataclasses.field(default_factory=compose.Sweep)

    def read(self) -> tuple[list[Image], list[ImageError]]:
        """Reads all images.

        Returns:
          The images of the members, with names that differ, and what could not be used.

        Raises:
          DataError: a query is wrong, or its dataset is not there.
        """
        errors: list[ImageError] = list(self._masks[1])
        singles = self._masked(self._read(self.patterns, errors), errors)
        images = _collect([*singles, *self._joint(errors)], errors)
        return [member for image in images for member in self.sweep.members(image)], errors

    def read_members(self, members: Sequence[Member]) -> list[Image]:
        """Reads the images of some members among all there are; see `read`."""
        wanted = {member.name for member in members}
        images = adopt.as_trained(self._read_named(wanted), members)
        if wanted - {image.name for image in images}:  # some have other names now
            images = adopt.as_trained(self.read()[0], members)
        return [image for image in images if image.name in wanted]

    def _read_named(self, wanted: Set[str]) -> list[Image]:
        """The images of members with these names; reads no other files."""
        queries, patterns = _queries(self.patterns)
        paths = find_images(patterns)[0]
        named = zip(names.of_files(paths), paths, strict=True)
        files = {name: path for name, path in named if wanted & {*self.sweep.names(name)}}
        images = read_named(files, self.config)[0]
        found = {name for image in images for name in self.sweep.names(image.name)}
        others = wanted - found
        for wanted_patches in queries if others else ():
            patches = _patches(self.data_dir, wanted_patches)
            images += [image for image in patches if others & {*self.sweep.names(image.name)}]
        images = [*self._masked(images, []), *self._joint([])]
        return [member for image in images for member in self.sweep.members(image)]

    def _read(self, patterns: Sequence[str], errors: list[ImageError]) -> list[Image]:
        """The images that patterns name."""
        queries, files = _queries(patterns)
        images, problems = read_images(files, self.config)
        errors += problems
        for wanted in queries:
            for image in _patches(self.data_dir, wanted):
                try:
                    check_content(image.pixels, self.config)
                    images.append(image)
                except UnusableError as error:
                    errors.append(ImageError(image.source, error.problem, error.remedy))
        return images

    @functools.cached_property
    def _masks(self) -> tuple[NamedFiles, list[ImageError]]:
        """The files of masks, and patterns of them that lead nowhere."""
        paths, errors = find_images([self.masks] if self.masks else [])
        return NamedFiles(paths, MASK_ENDINGS), errors

    def _masked(self, images: Sequence[Image], errors: list[ImageError]) -> Iterator[Image]:
        """The images with their masks, where there are masks."""
        if self.masks is None:
            yield from images
            return
        for image in images:
            try:
                file = self._masks[0].find([image.name])
                if file is None:
                    remedy = f"draw {image.name}_mask.png, or leave the image out"
                    raise ImageError(image.source, f"has no mask in {self.masks}", remedy)
                mask = Image(image.name, file, read_pixels(file, keep_alpha=True))
                yield compose.with_mask(image, mask)
            except ImageError as error:
                errors.append(error)

    def _joint(self, errors: list[ImageError]) -> Iterator[Image]:
        """A member for each entry of `together`."""
        for pattern in self.together:
            images = list(self._masked(self._read([pattern], errors), errors))
            path = pathlib.Path(pattern)
            name = (path if path.is_dir() else path.parent).name or path.name
            try:
                yield compose.together(names.safe(name), pattern, images)
            except ImageError as error:
                errors.append(error)


def training_images(
    fleet: TrainedFleet,
    members: Sequence[Member],
    patterns: Sequence[str] | None = None,
    *,
    data_dir: str | None = None,
    masks: str | None = None,
) -> dict[str, Image]:
    """By name, the very image that each member was trained on; members of several are left out.

    Args:
      fleet: theirs.
      members: for which.
      patterns: see `Source`; where the images were in training if None.
      data_dir: see `Source`; where the datasets were in training if None.
      masks: see `Source`.

    Raises:
      InputError: an image is not there, or has changed since training.
      DataError: a query is wrong, or its dataset is not there.
    """
    members = [member for member in members if member.images == 1]
    sources: dict[str | None, list[str]] = {data_dir: list(patterns or ())}
    for member in () if patterns else members:
        sources.setdefault(data_dir or _its_data_dir(member), []).append(member.source)
    known: dict[str, Image] = {}
    for folder, own in sources.items():
        source = Source(list(dict.fromkeys(own)), fleet.config, folder, masks=masks)
        with warnings.catch_warnings():  # what is doubtful was told of in training
            warnings.simplefilter("ignore", InputWarning)
            images = source.read()[0]
        known |= {variant.digest: variant for x in images for variant in adopt.variants(x)}
    for member in members:
        if member.digest not in known:
            patch = _PATCH.fullmatch(member.source)
            of_dataset = f"={patch[1]} and its dataset by `data_dir`" if patch else ""
            its_mask = ", and its mask by `masks`" if member.has_mask else ""
            raise InputError(
                f"{member.source}: the image of {member.name!r} is not there, or has changed since "
                f"training; name it by `images`{of_dataset}{its_mask}"
            )
    return {member.name: known[member.digest] for member in members}


def _its_data_dir(member: Member) -> str | None:
    """Where the dataset of a member's patch was in training; None where that is not known."""
    folder = member.provenance.get("data_dir")
    if folder is not None and not pathlib.Path(folder).is_dir():
        raise InputError(
            f"{member.source}: its dataset was in {folder} in training, which is not there; say "
            "where it is by `data_dir`"
        )
    return folder


def _queries(patterns: Sequence[str]) -> tuple[list[Query], list[str]]:
    """The queries among patterns, and the other patterns; patches of a dataset are one query."""
    texts = list(dict.fromkeys(pattern for pattern in patterns if query.is_query(pattern)))
    queries: list[Query] = []
    patches: dict[str, list[str]] = {}
    for text in texts:
        if patch := _PATCH.fullmatch(text):
            patches.setdefault(patch[1], []).append(patch[2])
        else:
            queries.append(query.parse(text))
    for dataset, ids in patches.items():
        of_all = query.parse(dataset)
        queries.append(dataclasses.replace(of_all, conditions=(("patch_id", tuple(ids)),)))
    return queries, [pattern for pattern in patterns if pattern not in texts]


def _collect(images: Iterable[Image], errors: list[ImageError]) -> Iterator[Image]:
    """Images with distinct names: drops repeats; a different image of the same name is an error."""
    known: dict[str, Image] = {}
    for image in images:
        other = known.setdefault(image.name, image)
        if other is image:
            yield image
        elif other.digest != image.digest:
            problem = f"has the same member name, {image.name!r}, as {other.source}"
            errors.append(ImageError(image.source, problem, "rename one of them"))


def _patches(data_dir: str | None, wanted: Query) -> list[Image]:
    """The patches that a query selects, as images."""
    from classify.plan import synthetic
    from data_pipeline import load

    dataset = f"{wanted.dataset}/{wanted.config}:{wanted.split}"
    if data_dir is None:
        raise DataError(f"{dataset}: needs `data_dir`, the folder of `build_dataset`")
    folder = places.local(data_dir).absolute()
    return [
        synthetic.to_image(record, pixels, f"{dataset}/{record.patch_id}", str(folder))
        for record, pixels in load.load(folder, wanted)
    ]
