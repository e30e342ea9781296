"""Where the images of a fleet come from: files, folders, globs, and queries of a patch dataset."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from data_pipeline import query
from data_pipeline.mammograms import DataError
from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images import compose
from singan_jax.images.decode import UnusableError
from singan_jax.images.find import find_images
from singan_jax.images.read import Image, check_content, member_name, read_image, read_images
from singan_jax.workdir.record import Member


@dataclasses.dataclass(frozen=True)
class Source:
    """What the images of a fleet's members are made of.

    Attributes:
      patterns: each a file, a folder, a glob, or a query (see `data_pipeline.query`).
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
        names = {member.name for member in members}
        texts, files = _queries(self.patterns)
        paths: dict[str, str] = {}
        for path in find_images(files)[0]:
            paths.setdefault(member_name(path), path)
        wanted = [path for name, path in paths.items() if names & {*self.sweep.names(name)}]
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            images = list(pool.map(lambda path: read_image(path, self.config), wanted))
        others = names.difference(*(self.sweep.names(image.name) for image in images))
        for text in texts if others else ():
            patches = _patches(pathlib.Path(self.data_dir or ""), text)
            images += [image for image in patches if others & {*self.sweep.names(image.name)}]
        images = [*self._masked(images, []), *self._joint([])]
        found = [member for image in images for member in self.sweep.members(image)]
        return [image for image in found if image.name in names]

    def _read(self, patterns: Sequence[str], errors: list[ImageError]) -> list[Image]:
        """The images that patterns name."""
        texts, files = _queries(patterns)
        images, problems = read_images(files, self.config)
        errors += problems
        for text in texts:
            if self.data_dir is None:
                raise DataError(f"{text}: needs `data_dir`, the folder of `build_dataset`")
            for image in _patches(pathlib.Path(self.data_dir), text):
                try:
                    check_content(image.pixels, self.config)
                    images.append(image)
                except UnusableError as error:
                    errors.append(ImageError(image.source, error.problem, error.remedy))
        return images

    @functools.cached_property
    def _masks(self) -> tuple[dict[str, Image], list[ImageError]]:
        """The masks by the name of their image, and those that cannot be used."""
        masks, errors = read_images([self.masks] if self.masks else [], self.config)
        return {mask.name.removesuffix("_mask"): mask for mask in masks}, errors

    def _masked(self, images: Sequence[Image], errors: list[ImageError]) -> Iterator[Image]:
        """The images with their masks, where there are masks."""
        if self.masks is None:
            yield from images
            return
        by_name = self._masks[0]
        for image in images:
            try:
                if image.name not in by_name:
                    remedy = f"draw {image.name}_mask.png, or leave the image out"
                    raise ImageError(image.source, f"has no mask in {self.masks}", remedy)
                yield compose.with_mask(image, by_name[image.name])
            except ImageError as error:
                errors.append(error)

    def _joint(self, errors: list[ImageError]) -> Iterator[Image]:
        """A member for each entry of `together`."""
        for pattern in self.together:
            images = list(self._masked(self._read([pattern], errors), errors))
            path = pathlib.Path(pattern)
            name = (path if path.is_dir() else path.parent).name or path.name
            try:
                yield compose.together(member_name(name), pattern, images)
            except ImageError as error:
                errors.append(error)


def _queries(patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """The queries among patterns, each once, and the other patterns."""
    texts = list(dict.fromkeys(pattern for pattern in patterns if query.is_query(pattern)))
    return texts, [pattern for pattern in patterns if pattern not in texts]


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


def _patches(data_dir: pathlib.Path, text: str) -> list[Image]:
    from classify.plan import synthetic
    from data_pipeline import load

    dataset = text.partition("[")[0]
    return [
        synthetic.to_image(record, pixels, f"{dataset}/{record.patch_id}")
        for record, pixels in load.load(data_dir, query.parse(text))
    ]
