"""What `--images` may name: files, folders, globs, and queries of a prepared patch dataset."""

import concurrent.futures
import os
import pathlib
from collections.abc import Sequence

from data_pipeline import query
from data_pipeline.records import DataError
from singan_jax.config import Config
from singan_jax.decode import UnusableError
from singan_jax.images import (
    Image,
    ImageError,
    check_content,
    find_images,
    member_name,
    read_image,
    read_images,
)
from singan_jax.workdir import Member


def read(
    patterns: Sequence[str], data_dir: str | None, config: Config
) -> tuple[list[Image], list[ImageError]]:
    """Reads all that patterns name.

    Args:
      patterns: each a file, a folder, a glob, or a query (see `data_pipeline.query`).
      data_dir: where datasets were prepared; needed for queries.
      config: decides which sizes can be trained on.

    Returns:
      The images, with names that differ, and what could not be used.

    Raises:
      DataError: a query is wrong, or its dataset is not there.
    """
    files = [pattern for pattern in patterns if not query.is_query(pattern)]
    images, errors = read_images(files, config)
    known = {image.name: image for image in images}
    for text in dict.fromkeys(pattern for pattern in patterns if query.is_query(pattern)):
        if data_dir is None:
            raise DataError(f"{text}: needs --data_dir, where launch.build_dataset wrote to")
        for image in _patches(pathlib.Path(data_dir), text):
            try:
                check_content(image.pixels, config)
            except UnusableError as error:
                errors.append(ImageError(image.source, error.problem, error.remedy))
                continue
            other = known.setdefault(image.name, image)
            if other.digest != image.digest:
                problem = f"has the same member name, {image.name!r}, as {other.source}"
                errors.append(ImageError(image.source, problem, "rename one of them"))
    return list(known.values()), errors


def read_members(
    patterns: Sequence[str], data_dir: str | None, config: Config, members: Sequence[Member]
) -> list[Image]:
    """Reads the images of some members among all that patterns name; see `read`."""
    names = {member.name for member in members}
    texts = [pattern for pattern in patterns if query.is_query(pattern)]
    paths: dict[str, str] = {}
    for path in find_images([pattern for pattern in patterns if pattern not in texts])[0]:
        paths.setdefault(member_name(path), path)
    wanted = [path for name, path in paths.items() if name in names]
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        images = list(pool.map(lambda path: read_image(path, config), wanted))
    others = names - {image.name for image in images}
    for text in texts if others else ():
        images += [i for i in _patches(pathlib.Path(data_dir or ""), text) if i.name in others]
    return images


def _patches(data_dir: pathlib.Path, text: str) -> list[Image]:
    from classify import synthetic  # both import tensorflow_datasets, which takes seconds
    from data_pipeline import load

    dataset = text.partition("[")[0]
    return [
        synthetic.to_image(record, pixels, f"{dataset}/{record.patch_id}")
        for record, pixels in load.load(data_dir, query.parse(text))
    ]
