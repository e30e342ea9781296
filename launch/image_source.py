"""What `--images` may name: files, folders, globs, and queries of a prepared patch dataset."""

import pathlib
from collections.abc import Sequence

from data_pipeline import query
from data_pipeline.records import DataError
from singan_jax.config import Config
from singan_jax.decode import UnusableError
from singan_jax.images import Image, ImageError, check_content, read_images


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


def _patches(data_dir: pathlib.Path, text: str) -> list[Image]:
    from data_pipeline import load  # tensorflow_datasets takes seconds to import

    return [
        Image(
            record.patch_id,
            f"{text.partition('[')[0]}/{record.patch_id}",
            pixels,
            {
                "patient": record.patient_id,
                "classification": record.classification,
                "zoom_group": str(record.zoom_group),
                "mammogram": record.source,
                "synthetic": str(record.synthetic).lower(),
            },
        )
        for record, pixels in load.load(data_dir, query.parse(text))
    ]
