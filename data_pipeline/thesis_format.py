"""The metadata of the thesis' own scripts (Buetas 2023): JSON lines, beside the images they name.

    {"file_name": "17.png", "patient_id": "12_F01", "image_view": 3, "Format": "Film",
     "classification": " Malign ", "age": 61, "density": 2, "zoom_group": 1, "suspicious": 1,
     "calcification": 0, "nodule": 1}

Views are numbered as in BCDR: 1 RCC, 2 LCC, 3 RO, 4 LO. But the scripts number those of healthy
digital patches from 0, as the tables of normal images do; a file is read so where one of these
patches has a view 0. Classes may have blanks around them. Calcifications are those of one column:
microcalcifications do not count.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.mammograms import CLASSIFICATIONS, Classification, Format, Laterality, View
from data_pipeline.patch_records import PatchRecord, image_view

_VIEWS: tuple[tuple[Laterality, View], ...] = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))
_VIEW_NAMES = tuple(image_view(*view) for view in _VIEWS)  # of image_view 1 to 4
_FIELDS = (
    *("file_name", "patient_id", "image_view", "Format", "classification", "age", "density"),
    *("zoom_group", "suspicious", "calcification", "nodule"),
)
_FORMATS: dict[str, Format] = {"Film": "Film", "Digital": "Digital"}
_CLASSIFICATIONS: dict[str, Classification] = {name: name for name in CLASSIFICATIONS}
_Name = TypeVar("_Name", bound=str)


@dataclasses.dataclass(frozen=True)
class Line:
    """What a line says.

    Attributes:
      file_name: of the image, relative to the metadata's folder, with forward slashes.
      patient_id: such as "12_F01".
      view_number: as written; see `view`.
      format: "Film" or "Digital".
      classification: "Normal", "Benign" or "Malign".
      age: in years, or None.
      density: BI-RADS class 1 to 4, or None.
      zoom_group: 0 for a healthy patch, else 1 to 3.
      calcification: whether one was noted.
      nodule: likewise.
    """

    file_name: str
    patient_id: str
    view_number: int
    format: Format
    classification: Classification
    age: float | None
    density: int | None
    zoom_group: int
    calcification: bool
    nodule: bool

    @property
    def is_healthy_digital(self) -> bool:
        """Whether the scripts number its view from 0."""
        return self.format == "Digital" and self.zoom_group == 0

    def view(self, counts_from_0: bool) -> tuple[Laterality, View]:
        """Laterality and view.

        Args:
          counts_from_0: whether the file numbers views of healthy digital patches from 0.

        Raises:
          DataError: the number is none of the four.
        """
        first = 0 if counts_from_0 and self.is_healthy_digital else 1
        if not first <= self.view_number < first + len(_VIEWS):
            known = ", ".join(f"{first + i} {name}" for i, name in enumerate(_VIEW_NAMES))
            raise DataError(f"image_view is {self.view_number}, not one of {known}")
        return _VIEWS[self.view_number - first]


def parse(text: str) -> Line:
    """Reads a line.

    Args:
      text: of the line.

    Raises:
      DataError: it is no JSON object, lacks a field, or a field cannot be or contradicts another.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError("is no JSON object")
    if missing := [field for field in _FIELDS if field not in row]:
        raise DataError(f"lacks {', '.join(missing)}")
    suspicious = _whole(row, "suspicious", 0, 1)
    line = Line(
        file_name=_text(row, "file_name").replace("\\", "/"),
        patient_id=_text(row, "patient_id"),
        view_number=_whole(row, "image_view", 0, 4),
        format=_choice(row, "Format", _FORMATS),
        classification=_choice(row, "classification", _CLASSIFICATIONS),
        age=_age(row),
        density=None if _is_missing(row["density"]) else _whole(row, "density", 1, 4),
        zoom_group=_whole(row, "zoom_group", 0, 3),
        calcification=bool(_whole(row, "calcification", 0, 1)),
        nodule=bool(_whole(row, "nodule", 0, 1)),
    )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*_[A-Za-z0-9]+", line.patient_id):
        raise DataError(f"patient_id is {line.patient_id!r}, not <id>_<set> such as '12_F01'")
    is_lesion = line.classification != "Normal"
    if not bool(suspicious) == (line.zoom_group > 0) == is_lesion:
        stated = f"{line.classification}, zoom_group {line.zoom_group}, suspicious {suspicious}"
        raise DataError(f"it contradicts itself: {stated}")
    if not is_lesion and (line.calcification or line.nodule):
        raise DataError("a Normal patch has a calcification or nodule")
    return line


def rows(records: Sequence[PatchRecord]) -> list[dict[str, Any]]:
    """What the scripts would have written of patches.

    Ages and densities are whole numbers, cut. What is missing takes the mean as there: an age that
    of the patches of lesions, a density that of all. These means know the patients of the test set,
    so for a study of ours use the other metadata, where they stay missing until it is known who is
    for training. Where nothing is known at all, as the ages of mini-MIAS, they are null.

    Args:
      records: of all patches of a dataset.

    Returns:
      A line for each record, its fields in the scripts' order.
    """
    lesions = [record for record in records if record.zoom_group]
    age_of_lesions = _mean([record.age for record in lesions])
    # The scripts cut the ages of lesions to whole numbers before the mean for healthy patches.
    age_of_healthy = _mean([_cut(_or(record.age, age_of_lesions)) for record in lesions])
    density = _mean([record.density for record in records])
    return [
        {
            "file_name": record.file_name,
            "patient_id": record.patient_id,
            "image_view": 1 + _VIEWS.index((record.laterality, record.view)),
            "Format": record.format,
            "classification": record.classification,
            "age": _cut(_or(record.age, age_of_lesions if record.zoom_group else age_of_healthy)),
            "density": _cut(_or(record.density, density)),
            "zoom_group": record.zoom_group,
            "suspicious": int(record.zoom_group > 0),
            "calcification": int("calcification" in record.findings),
            "nodule": int("nodule" in record.findings),
        }
        for record in records
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _or(value: float | None, other: float | None) -> float | None:
    return other if value is None else value


def _cut(value: float | None) -> int | None:
    return None if value is None else int(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(row: Mapping[str, Any], field: str) -> str:
    if not isinstance(row[field], str) or not row[field].strip():
        raise DataError(f"{field} is {row[field]!r}, not a text")
    return row[field].strip()


def _choice(row: Mapping[str, Any], field: str, known: Mapping[str, _Name]) -> _Name:
    text = _text(row, field)
    if text not in known:
        raise DataError(f"{field} is {text!r}, not one of {', '.join(known)}")
    return known[text]


def _whole(row: Mapping[str, Any], field: str, least: int, most: int) -> int:
    value = row[field]
    if not isinstance(value, int | float) or value not in range(least, most + 1):
        raise DataError(f"{field} is {value!r}, not a whole number from {least} to {most}")
    return int(value)


def _age(row: Mapping[str, Any]) -> float | None:
    value = row["age"]
    if _is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 120:
        raise DataError(f"age is {value!r}, not of 1 to 120 years")
    return float(value)
