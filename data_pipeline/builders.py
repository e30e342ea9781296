"""What the TFDS builders of patches share: configs, features, splits, and how they are prepared.

    <data_dir>/extracted/<name>_<size>/             what `units.run` writes
    <data_dir>/<name>/<config>/<version>/           the TFDS dataset, one for each config

Configs are `g1`, `g2`, `g3` and `all`: lesions of zoom group 1, 2, 3 or of all three. The healthy
patches, zoom group 0, are in each of them. Patches are 224x224 pixels; for other sizes, the
size follows the group: `g1_64` is 64x64, `g1_native` as large as they were cut.

There are two splits, `test` and `train`, by patient: the paper's 10 % and all others. Each patient
is in the same split for all configs and sizes; `info.metadata` lists them, and the paper's folds.
"""

import abc
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Unpack

import tensorflow_datasets as tfds
import tqdm

from data_pipeline import examples, extract, patch_records, phantom, splits
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Reading
from data_pipeline.patch_records import PatchRecord
from data_pipeline.patches import PatchSettings, Rules
from data_pipeline.units import ExtractionResult, How

GROUPS = {"g1": (1,), "g2": (2,), "g3": (3,), "all": (1, 2, 3)}  # zooms of the lesions
DEFAULT_SIZE = 224
MAX_SIZE = 9999  # the most that the name of a config has room for
SPLIT_SEED = 0


@dataclasses.dataclass(eq=False, kw_only=True)
class PatchesConfig(tfds.core.BuilderConfig):
    """Which patches a dataset has.

    Attributes:
      zooms: of the lesions.
      size: of the patches in pixels, None for native.
    """

    zooms: tuple[int, ...]
    size: int | None


@functools.cache
def config_named(name: str) -> PatchesConfig:
    """The config of a name such as "g1", "all_64" or "g3_native".

    Raises:
      DataError: no config has that name.
    """
    found = re.fullmatch(rf"({'|'.join(GROUPS)})(?:_([1-9][0-9]{{0,3}}|native))?", name)
    if not found or found[2] == str(DEFAULT_SIZE):
        raise DataError(
            f"there is no config {name!r}; write {', '.join(GROUPS)}, or with another size"
            f" than {DEFAULT_SIZE}, as in g1_64, or g1_native for patches as they were cut"
        )
    size = None if found[2] == "native" else int(found[2] or DEFAULT_SIZE)
    zooms = GROUPS[found[1]]
    shown = "native size" if size is None else f"{size}x{size} pixels"
    return PatchesConfig(
        name=name,
        zooms=zooms,
        size=size,
        description=f"Lesions at zoom {', '.join(map(str, zooms))} and healthy patches, {shown}.",
    )


def config_names(size: int | None) -> tuple[str, ...]:
    """The names of the four configs of a size in pixels, None for native."""
    suffix = "" if size == DEFAULT_SIZE else f"_{size or 'native'}"
    return tuple(group + suffix for group in GROUPS)


class PatchesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Packs the patches of the source in `manual_dir`.

    Attributes:
      HOMEPAGE: of the source.
      extraction: what was extracted before, so that it is not done again; else None.
    """

    HOMEPAGE: str
    BUILDER_CONFIGS: ClassVar[list[PatchesConfig]] = [config_named(name) for name in GROUPS]
    extraction: ExtractionResult | None = None

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any):
        # TFDS' default format, tfrecord, can only be written and read where TensorFlow is.
        super().__init__(file_format=file_format, **kwargs)

    @classmethod
    @abc.abstractmethod
    def extract(
        cls,
        root: pathlib.Path,
        data_dir: pathlib.Path,
        settings: PatchSettings,
        **how: Unpack[How],
    ) -> ExtractionResult:
        """Writes the patches of the source, or what is missing of them, to `extracted_folder`.

        Args:
          root: folder that holds the source.
          data_dir: folder of all datasets.
          settings: which patches.
          how: see `units.run`, also for the result and errors.
        """

    @classmethod
    def get_builder_config(cls, name: str, version: Any = None) -> PatchesConfig:
        """The config of a name; all follow one scheme, whether in `BUILDER_CONFIGS` or not."""
        del version  # is that of the builder
        return config_named(name)

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        image = tfds.features.Image(shape=(size, size, 1), encoding_format="png")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": image, **examples.features()}),
            supervised_keys=("image", "classification"),
            homepage=self.HOMEPAGE,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        config, data_dir = self.builder_config, pathlib.Path(self.data_dir_root)
        extraction = self.extraction or self.extract(
            pathlib.Path(dl_manager.manual_dir),
            data_dir,
            PatchSettings(size=config.size),
            workers=1,
            progress=True,
        )
        folder = extracted_folder(data_dir, self.name, config.size)
        drawn = splits.paper_splits(extraction.records, SPLIT_SEED)
        parts: dict[str, list[PatchRecord]] = {"train": [], "test": []}
        for record in extraction.records:
            if record.zoom_group in (0, *config.zooms):
                parts["test" if record.patient_id in drawn.test else "train"].append(record)
        self.info.metadata.update(_provenance(folder, parts, drawn))
        return {name: self._generate_examples(folder, part) for name, part in parts.items()}

    def _generate_examples(
        self, folder: pathlib.Path, records: Sequence[PatchRecord]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records:
            try:
                png = (folder / record.file_name).read_bytes()
            except OSError as error:
                path = folder / record.file_name
                problem = f"cannot be read ({error.strerror})"
                raise DataError(f"{path}: {problem}; delete its folder and repeat") from error
            yield record.patch_id, {"image": png, **examples.from_record(record)}


class MammogramsBuilder(PatchesBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Cuts patches from the mammograms in `manual_dir` and packs them."""

    @staticmethod
    @abc.abstractmethod
    def read(root: pathlib.Path) -> Reading:
        """Reads the annotations below the folder that holds the source."""

    @classmethod
    def extract(
        cls,
        root: pathlib.Path,
        data_dir: pathlib.Path,
        settings: PatchSettings,
        **how: Unpack[How],
    ) -> ExtractionResult:
        """Cuts the patches; windows of films are smaller by as much as a phantom's films are."""
        window = round(settings.film_window * phantom.film_scale(root))
        return extract.extract(
            cls.read(root),
            extracted_folder(data_dir, cls.name, settings.size),
            dataclasses.replace(settings, film_window=window),
            **how,
        )


def extracted_folder(data_dir: pathlib.Path, name: str, size: int | None) -> pathlib.Path:
    """Where the patches of a builder and a size are, before and after they are packed."""
    return data_dir / "extracted" / f"{name}_{size or 'native'}"


def prepare(
    builder_class: type[PatchesBuilder],
    root: pathlib.Path,
    data_dir: pathlib.Path,
    size: int | None,
    *,
    rules: Rules = "clean",
    **how: Unpack[How],
) -> ExtractionResult:
    """Extracts the patches of a source and prepares its four configs of a size.

    Repeating the call does what is left to do: it continues what was interrupted, and packs a
    config anew if its patches are no longer those that were extracted.

    Args:
      builder_class: of the source.
      root: folder that holds the source.
      data_dir: folder of all datasets.
      size: of patches in pixels, None for native.
      rules: by which patches are cut, see `patches`.
      how: see `units.run`; `progress` is for packing too.

    Returns:
      All patches, what was left out, and what is there twice.

    Raises:
      DataError: nothing can be built from this input, or in this data_dir.
    """
    settings = PatchSettings(rules=rules, size=size)
    result = builder_class.extract(root, data_dir, settings, **how)
    digest = _digest(extracted_folder(data_dir, builder_class.name, size))
    tfds.disable_progress_bar()
    for name in tqdm.tqdm(
        config_names(size), "packing", unit="config", disable=not how["progress"]
    ):
        folder = data_dir / builder_class.name / name / str(builder_class.VERSION)
        for leftover in folder.parent.glob(f"incomplete.??????_{folder.name}"):
            if leftover.is_dir():  # as TFDS names it, of a run that was killed
                shutil.rmtree(leftover)
        if folder.exists():
            if _packed_digest(folder) == digest:
                continue
            shutil.rmtree(folder)
        builder = builder_class(data_dir=data_dir, config=name)
        builder.extraction = result
        _pack(builder, root)
    return result


def _pack(builder: PatchesBuilder, root: pathlib.Path) -> None:
    manual = tfds.download.DownloadConfig(manual_dir=str(root))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download there
            builder.download_and_prepare(download_config=manual)
    except (OSError, RuntimeError) as error:  # array_record raises the latter on a full disk
        problem = f"cannot be written ({next(iter(str(error).splitlines()), '')})"
        remedy = "mend that and repeat the command to go on, or choose another folder"
        raise DataError(f"{builder.data_path}: {problem}; {remedy}") from error


def _provenance(
    folder: pathlib.Path, parts: dict[str, list[PatchRecord]], drawn: splits.Splits
) -> dict[str, Any]:
    """What the dataset's info states besides TFDS' own entries."""
    synthetic = any(record.synthetic for part in parts.values() for record in part)
    return {
        "notice": f"{phantom.LABEL}." if synthetic else "",
        "synthetic": synthetic,
        "patches_sha256": _digest(folder),
        "patches": {
            name: dict(sorted(Counter(record.classification for record in part).items()))
            for name, part in parts.items()
        },
        "split_seed": SPLIT_SEED,
        "patients": {
            name: sorted({record.patient_id for record in part}) for name, part in parts.items()
        },
        "folds": [
            {"train": sorted(fold.train), "validation": sorted(fold.validation)}
            for fold in drawn.folds
        ],
    }


def _packed_digest(folder: pathlib.Path) -> str | None:
    """The digest that a dataset was packed with; None where it cannot be read, to pack it anew."""
    try:
        return json.loads((folder / "metadata.json").read_bytes())["patches_sha256"]
    except (OSError, ValueError, KeyError):
        return None


def _digest(folder: pathlib.Path) -> str:
    """Hex SHA-256 over all metadata, and so over the patches too, whose hashes they hold."""
    return hashlib.sha256((folder / patch_records.METADATA).read_bytes()).hexdigest()
