"""Loads what `launch.build_dataset` prepared: the patches of a query, and the splits by patient.

records_and_pixels = load.load(data_dir, query.parse("bcdr_patches/g1:train[density=3|4]"))
splits = load.paper_splits(data_dir, "bcdr_patches", "g1")
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from data_pipeline import bcdr_patches, builders, examples, mias_patches, query, thesis_patches
from data_pipeline.errors import DataError
from data_pipeline.patch_records import PatchRecord
from data_pipeline.query import Query
from data_pipeline.splits import Fold, Splits

BUILDERS: dict[str, type[builders.PatchesBuilder]] = {
    builder.name: builder
    for builder in (bcdr_patches.Builder, mias_patches.Builder, thesis_patches.Builder)
}
_SOURCES = {
    "bcdr_patches": "bcdr (or phantom)",
    "mias_patches": "mias",
    "thesis_patches": "thesis",
}


def load(data_dir: pathlib.Path, wanted: Query) -> list[tuple[PatchRecord, np.ndarray]]:
    """Loads the patches of a query; of the others only the metadata are read.

    Args:
      data_dir: where datasets were prepared.
      wanted: see `query`.

    Returns:
      Each record with its pixels, (H, W, 1) uint8, by patch id.

    Raises:
      DataError: the dataset is not prepared or is damaged, or nothing in it matches the query.
    """
    with _opened(data_dir, wanted.dataset, wanted.config) as builder:
        known = (*sorted(builder.info.splits), "all")
        if wanted.split not in known:
            place = f"{wanted.dataset}/{wanted.config}"
            raise DataError(f"{place} has no split {wanted.split!r}; there are {', '.join(known)}")
        source = builder.as_data_source(
            wanted.split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        records = [examples.to_record(example) for example in source]
        places = {record.patch_id: place for place, record in enumerate(records)}
        selected = sorted(query.select(records, wanted), key=lambda record: record.patch_id)
        return [(record, _pixels(source[places[record.patch_id]])) for record in selected]


def paper_splits(data_dir: pathlib.Path, dataset: str, config: str) -> Splits:
    """The patients of the splits `test` and `train`, and the paper's three folds of the latter.

    Args:
      data_dir: where datasets were prepared.
      dataset: name of a TFDS dataset.
      config: of its builder; all have the same splits.

    Returns:
      The splits that the dataset was prepared with.

    Raises:
      DataError: the dataset is not prepared or is damaged.
    """
    with _opened(data_dir, dataset, config) as builder:
        stated = builder.info.metadata
        folds = [
            Fold(*(frozenset(fold[part]) for part in ("train", "validation")))
            for fold in stated["folds"]
        ]
        return Splits(frozenset(stated["patients"]["test"]), tuple(folds))


@contextlib.contextmanager
def _opened(data_dir: pathlib.Path, dataset: str, config: str) -> Iterator[builders.PatchesBuilder]:
    """A prepared dataset; what is wrong with it becomes a DataError of one line that names it."""
    if dataset not in BUILDERS:
        raise DataError(f"there is no dataset {dataset!r}; there are {', '.join(BUILDERS)}")
    size = builders.config_named(config).size or "native"
    folder = pathlib.Path(data_dir, dataset, config, str(BUILDERS[dataset].VERSION))
    if not folder.exists():
        raise DataError(
            f"{data_dir}: {dataset}/{config} is not prepared; run `build_dataset`"
            f" `source`={_SOURCES[dataset]} `data_dir`={data_dir} `patch_size`={size}"
        )
    try:
        builder = BUILDERS[dataset](data_dir=data_dir, config=config)
        if not builder.info.initialized:
            raise FileNotFoundError("dataset_info.json is missing")
        yield builder
    except DataError:
        raise
    except Exception as error:  # TFDS and array_record document no common base of their errors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        problem = f"is damaged ({reason}); delete it and run `build_dataset` again"
        raise DataError(f"{folder}: {problem}") from error


def _pixels(example: dict[str, Any]) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(example["image"]), formats=["PNG"]) as png:
        return np.array(png)[..., None]  # (H, W, 1)
