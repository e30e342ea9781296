"""The CSV tables of a BCDR set, with what is peculiar to each of the six.

A blank after every comma, a column that is not there, a class written three ways, ages as floats,
missing values written four ways: a reader that copes with the phantom copes with these.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from data_pipeline.mammograms import Format
from data_pipeline.phantom import features

FINDINGS = (
    *("nodule", "calcification", "microcalcification", "axillary_adenopathy"),
    *("architectural_distortion", "stroma_distortion"),
)
_KEYS = ("patient_id", "study_id", "series")
_LESION = ("mammography_type", *(f"mammography_{finding}" for finding in FINDINGS))
COLUMNS = {
    "img": (*_KEYS, "image_filename", "image_type_name", "image_type_id", "age", "density"),
    "outlines": (
        *(*_KEYS, "lesion_id", "segmentation_id", "image_view", "image_filename"),
        *("lw_x_points", "lw_y_points", *_LESION, "age", "density", "classification"),
    ),
    "features": (
        *(*_KEYS, "lesion_id", "segmentation_id", "image_view", *_LESION, "age", "density"),
        *(*features.COLUMNS, "classification"),
    ),
}


@dataclasses.dataclass(frozen=True)
class SetStyle:
    """How a set is written.

    Attributes:
      format: of its images.
      folder: that holds patients and tables, below the set's own; empty for none.
      tables: which it has.
      dropped: columns it lacks.
      series: whether file names hold the series.
      masks: whether there are masks of the lesions.
      comma: between two values.
      benign: how that class is written.
      malign: how that class is written.
      missing: an age or a density that is not known.
      age: format of a known age.
      density: format of a known density.
    """

    format: Format
    folder: str = ""
    tables: tuple[str, ...] = ("img", "outlines", "features")
    dropped: tuple[str, ...] = ()
    series: bool = True
    masks: bool = False
    comma: str = ","
    benign: str = " Benign "
    malign: str = " Malign"
    missing: str = "NaN"
    age: str = "{}"
    density: str = "{}"


SETS: Mapping[str, SetStyle] = {
    "F01": SetStyle("Film", masks=True),
    "F02": SetStyle("Film", missing="", age=" {} ", density=" {} "),
    "F03": SetStyle(
        "Film",
        folder="BCDR-F03",
        dropped=("series", "s_x_center_mass", "s_y_center_mass", "t_inf1h", "t_inf2h"),
        series=False,
        malign="Malign",
        benign="Benign",
        age="{}.0",
    ),
    "D01": SetStyle("Digital", masks=True, missing=" NaN "),
    "D02": SetStyle("Digital", comma=", ", benign="Benign ", malign="Malign", missing=" "),
    "DN01": SetStyle("Digital", tables=("img",)),
}


def file_name(set_name: str, table: str) -> str:
    """The name of a table's file, such as "bcdr_f01_img.csv"."""
    return f"bcdr_{set_name.lower()}_{table}.csv"


def write_csv(table: str, rows: Sequence[Mapping[str, object]], style: SetStyle) -> str:
    """Writes a table as the set does.

    Args:
      table: "img", "outlines" or "features".
      rows: the value of every column by its name. An age or density may be None; points are
        sequences of whole numbers; the classification is "Benign" or "Malign".
      style: of the set.

    Returns:
      The text of the file.
    """
    columns = [column for column in COLUMNS[table] if column not in style.dropped]
    lines = [columns, *([_value(c, row[c], style) for c in columns] for row in rows)]
    return "".join(style.comma.join(line) + "\n" for line in lines)


def _value(column: str, value: object, style: SetStyle) -> str:
    if value is None:
        return style.missing
    if column == "classification":
        return style.benign if value == "Benign" else style.malign
    if column == "age":
        return style.age.format(value)
    if column == "density":
        return style.density.format(value)
    if isinstance(value, list):  # points have a leading blank
        return "".join(f" {number}" for number in value)
    if isinstance(value, float):
        return f" {value:.5g}"
    return str(value)
