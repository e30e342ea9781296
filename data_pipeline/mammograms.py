"""What every reader returns and later steps take: mammograms, their lesions, what was skipped.

Coordinates are pixels of the stored image, origin in its top left corner, x to the right and y
down, whatever the annotation's own convention is.
"""

import dataclasses
import pathlib
from typing import Literal, NamedTuple

Classification = Literal["Normal", "Benign", "Malign"]
Format = Literal["Film", "Digital"]
Laterality = Literal["L", "R"]
View = Literal["CC", "MLO"]

CLASSIFICATIONS: tuple[Classification, ...] = ("Normal", "Benign", "Malign")


class Box(NamedTuple):
    """A rectangle of pixels, `left <= x < right` and `top <= y < bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One annotated lesion of a mammogram.

    Attributes:
      lesion_id: unique within its mammogram.
      classification: "Benign" or "Malign".
      outline: (x, y) vertices of a polygon, not closed; a circle comes as a polygon through its
        four extremes. May be empty where there is a mask.
      mask_file: an image of the mammogram's size, zero outside the lesion; takes precedence.
      findings: which of nodule, calcification, microcalcification, axillary_adenopathy,
        architectural_distortion, stroma_distortion were noted.
      radiomics: (name, value) of each number that its source computed from the pixels within the
        outline, None where one is not known; empty where the source has none.
    """

    lesion_id: str
    classification: Classification
    outline: tuple[tuple[int, int], ...] = ()
    mask_file: pathlib.Path | None = None
    findings: frozenset[str] = frozenset()
    radiomics: tuple[tuple[str, float | None], ...] = ()


@dataclasses.dataclass(frozen=True)
class Mammogram:
    """One image and what is known of it.

    Attributes:
      image_id: unique in its source, safe as a file name.
      dataset: the set it comes from, such as "F01", "DN01" or "MIAS".
      patient_id: unique over all sets, such as "12_F01".
      file: the image.
      source: the same relative to the root of the source, with forward slashes; for provenance.
      view: "CC" or "MLO".
      laterality: "L" or "R".
      format: "Film" or "Digital".
      age: of the patient in years, or None.
      density: BI-RADS class 1 to 4, or None.
      lesions: may be empty.
      may_give_healthy: whether healthy patches may be cut from it.
      synthetic: True for phantoms.
    """

    image_id: str
    dataset: str
    patient_id: str
    file: pathlib.Path
    source: str
    view: View
    laterality: Laterality
    format: Format
    age: float | None
    density: int | None
    lesions: tuple[Lesion, ...]
    may_give_healthy: bool
    synthetic: bool = False


@dataclasses.dataclass(frozen=True)
class Skip:
    """Something that was left out, and why.

    Attributes:
      source: file that it is in, relative to the root.
      where: row, lesion or image concerned; empty for the whole file.
      reason: one line.
    """

    source: str
    where: str
    reason: str


class Reading(NamedTuple):
    """The result of a reader.

    Attributes:
      mammograms: sorted by `image_id`.
      skips: everything left out.
    """

    mammograms: tuple[Mammogram, ...]
    skips: tuple[Skip, ...]
