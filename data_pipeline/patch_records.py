"""What is known of each patch: `metadata.jsonl`, three CSVs, and the imputation of what is missing.

    metadata.jsonl        one line a patch, see `PatchRecord.to_json`
    lesions.csv           the same, those of lesions, and the radiomics of their source
    healthy_patches.csv   the same, the healthy ones
    mammograms.csv        one row a mammogram, with what was cut from it, where there are any

The files say "null" (in CSVs nothing) where age or density is missing. Values are imputed when
the records are used, by `impute`, as only then it is known which patients are for training.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data_pipeline.errors import DataError
from data_pipeline.files.writing import write_atomically
from data_pipeline.mammograms import (
    CLASSIFICATIONS,
    Box,
    Classification,
    Format,
    Laterality,
    Mammogram,
    View,
)

METADATA = "metadata.jsonl"


@dataclasses.dataclass(frozen=True)
class PatchRecord:
    """One patch and what is known of it.

    Attributes:
      patch_id: unique in its folder; made from image, lesion and zoom, or image and window.
      file_name: the PNG, relative to the folder of `metadata.jsonl`, with forward slashes.
      patient_id: unique over all sets.
      image_id: of the mammogram.
      dataset: the set it comes from, such as "F01".
      source: file of the mammogram, relative to the root of its source.
      view: "CC" or "MLO".
      laterality: "L" or "R".
      format: "Film" or "Digital".
      classification: "Normal" for a healthy patch, else its lesion's.
      lesion_id: unique within the mammogram; None for a healthy patch.
      findings: noted of the lesion, sorted; see `mammograms.Lesion`.
      zoom_group: zoom of a lesion, 0 for a healthy patch.
      box: where it was cut, in pixels of the mammogram.
      age: of the patient in years; None where unknown.
      density: BI-RADS class, 1 to 4 (a fraction where imputed); None where unknown.
      synthetic: True for what is cut from a phantom.
      pixels_sha256: see `pixels_digest`.
      age_imputed: whether `age` comes from `impute`; never so in the files.
      density_imputed: likewise.
    """

    patch_id: str
    file_name: str
    patient_id: str
    image_id: str
    dataset: str
    source: str
    view: View
    laterality: Laterality
    format: Format
    classification: Classification
    lesion_id: str | None
    findings: tuple[str, ...]
    zoom_group: int
    box: Box
    age: float | None
    density: float | None
    synthetic: bool
    pixels_sha256: str
    age_imputed: bool = False
    density_imputed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The record as a line of `metadata.jsonl`.

        The names are those of the thesis, with further ones for what it lacked. Besides the
        attributes (`format` is "Format", `box` a list) there are:
          image_view: RCC, LCC, RO or LO as in BCDR; O is MLO.
          suspicious: whether it shows a lesion.
          nodule: whether one was noted.
          calcification: whether calcifications or microcalcifications were noted.
        """
        row = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        row["Format"] = row.pop("format")
        return row | {
            "box": list(self.box),
            "findings": list(self.findings),
            "image_view": image_view(self.laterality, self.view),
            "suspicious": self.zoom_group > 0,
            "nodule": "nodule" in self.findings,
            "calcification": bool({"calcification", "microcalcification"} & {*self.findings}),
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "PatchRecord":
        """The inverse of `to_json`.

        Raises:
          DataError: a field is missing, unknown, or contradicts another.
        """
        names = {field.name: field.name for field in dataclasses.fields(cls)} | {"format": "Format"}
        if missing := sorted({*names.values()} - {*row}):
            raise DataError(f"lacks {', '.join(missing)}")
        values = {name: row[key] for name, key in names.items()}
        record = cls(**values | {"box": Box(*row["box"]), "findings": tuple(row["findings"])})
        if record.classification not in CLASSIFICATIONS:
            raise DataError(f"classification {record.classification!r} is none of the three")
        # What was computed from other fields must still agree with them.
        again = record.to_json()
        if wrong := sorted(key for key in {*again, *row} if again.get(key) != row.get(key)):
            raise DataError(f"{', '.join(wrong)}: unknown, or at odds with the other fields")
        return record


def image_view(laterality: Laterality, view: View) -> str:
    """BCDR's name of a view: RCC, LCC, RO or LO."""
    return laterality + {"CC": "CC", "MLO": "O"}[view]


def pixels_digest(pixels: np.ndarray) -> str:
    """Hex SHA-256 over type, shape and pixels.

    The same as `singan_jax.images.Image.digest` of the patch, so that a member of a fleet can be
    traced to its patch.

    Args:
      pixels: (H, W) uint8.
    """
    digest = hashlib.sha256(f"uint8 {(*pixels.shape, 1)} ".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def write_lines(path: pathlib.Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSON lines, atomically; keys sorted, so that equal rows give equal bytes."""
    lines = (json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, "".join(lines))


def read_metadata(folder: pathlib.Path) -> tuple[PatchRecord, ...]:
    """Reads `metadata.jsonl`.

    Args:
      folder: what `extract.extract` wrote.

    Raises:
      DataError: there is no metadata.jsonl, or a line of it is damaged.
    """
    path = folder / METADATA
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); name a folder that `build_dataset` finished"
        ) from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(PatchRecord.from_json(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}:{number}: {error}; build the folder again") from error
    return tuple(records)


def write_tables(
    folder: pathlib.Path, mammograms: Sequence[Mammogram], records: Sequence[PatchRecord]
) -> None:
    """Writes the three CSVs that the module's docstring lists.

    Args:
      folder: to write to.
      mammograms: all that were read, also those that gave no patch; none where the source has
        patches only.
      records: of all patches, at least one.

    Raises:
      OSError: a file cannot be written.
    """
    rows = [record.to_json() for record in records]
    for row in rows:
        row["findings"] = " ".join(row["findings"])
        row |= dict(zip(Box._fields, row.pop("box"), strict=True))
    patches = pd.DataFrame(rows)
    lesions = patches[patches["suspicious"]]
    tables = {
        "lesions.csv": pd.concat([lesions, _radiomics(mammograms, lesions)], axis=1),
        "healthy_patches.csv": patches[~patches["suspicious"]],
    }
    if mammograms:
        tables["mammograms.csv"] = pd.DataFrame(_mammogram_rows(mammograms, records))
    for name, table in tables.items():
        # Whole numbers with gaps, such as densities, would be written as floats otherwise.
        text = table.convert_dtypes().to_csv(index=False, lineterminator="\n")
        write_atomically(folder / name, text)


def _radiomics(mammograms: Sequence[Mammogram], lesions: pd.DataFrame) -> pd.DataFrame:
    """The columns of numbers that come with each patch's lesion; blank where there are none."""
    known = {
        (mammogram.image_id, lesion.lesion_id): dict(lesion.radiomics)
        for mammogram in mammograms
        for lesion in mammogram.lesions
    }
    keys = zip(lesions["image_id"], lesions["lesion_id"], strict=True)
    return pd.DataFrame([known.get(key, {}) for key in keys], index=lesions.index)


def _mammogram_rows(
    mammograms: Sequence[Mammogram], records: Sequence[PatchRecord]
) -> list[dict[str, Any]]:
    counts: dict[tuple[str, bool], int] = {}
    for record in records:
        key = record.image_id, record.zoom_group > 0
        counts[key] = counts.get(key, 0) + 1
    return [
        {
            "image_id": mammogram.image_id,
            "patient_id": mammogram.patient_id,
            "dataset": mammogram.dataset,
            "source": mammogram.source,
            "image_view": image_view(mammogram.laterality, mammogram.view),
            "Format": mammogram.format,
            "age": mammogram.age,
            "density": mammogram.density,
            "synthetic": mammogram.synthetic,
            "lesions": len(mammogram.lesions),
            "lesion_patches": counts.get((mammogram.image_id, True), 0),
            "healthy_patches": counts.get((mammogram.image_id, False), 0),
        }
        for mammogram in mammograms
    ]


def impute(
    records: Sequence[PatchRecord], train_patients: Collection[str] | None
) -> tuple[PatchRecord, ...]:
    """Fills in missing ages and densities, with their means.

    Each patient counts once, with the mean over the different mammograms that have patches here
    (a patient's age differs between studies). Values that are known stay as they are.

    Args:
      records: of patches.
      train_patients: the patients to take the means over; None for all of `records`, which is a
        leak as soon as some of them are for validation or test.

    Returns:
      The records in their order, what was filled in marked by `age_imputed`, `density_imputed`. A
      field that is known for none of those patients (mini-MIAS has no ages) stays None.

    Raises:
      DataError: none of the records is of a training patient.
      ValueError: records that were imputed before.
    """
    if any(record.age_imputed or record.density_imputed for record in records):
        raise ValueError("records were imputed before, over patients now unknown; read them again")
    if train_patients is None:
        known = list(records)
    else:
        chosen = frozenset(train_patients)
        known = [record for record in records if record.patient_id in chosen]
    if records and not known:
        raise DataError("no patch is of a training patient; make the splits from these patches")
    age = _patient_mean(known, lambda record: record.age)
    density = _patient_mean(known, lambda record: record.density)
    filled = []
    for record in records:
        if record.age is None and age is not None:
            record = dataclasses.replace(record, age=age, age_imputed=True)
        if record.density is None and density is not None:
            record = dataclasses.replace(record, density=density, density_imputed=True)
        filled.append(record)
    return tuple(filled)


def _patient_mean(
    records: Iterable[PatchRecord], value: Callable[[PatchRecord], float | None]
) -> float | None:
    patients: dict[str, dict[str, float]] = {}
    for record in records:
        known = value(record)
        if known is not None:
            patients.setdefault(record.patient_id, {})[record.image_id] = known
    if not patients:
        return None
    means = [np.mean(sorted(images.values())) for images in patients.values()]
    return float(np.mean(sorted(means)))
