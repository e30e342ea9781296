"""Reads the annotations of BCDR, the Breast Cancer Digital Repository, with all their quirks.

The source's folder holds some or all of `BCDR-{F01,F02,F03,D01,D02,DN01}_dataset`, each with
`bcdr_<set>_img.csv`, `bcdr_<set>_outlines.csv` (not DN01, whose images are normal) and the images,
`patient_<p>/study_<s>/img_<p>_<s>_<series>_<view>.tif`. F03 has its images, and perhaps its tables,
one folder deeper, and has no series. A lesion's mask may be beside its image, as
`img_..._mask_id_<lesion>.tif`, and its radiomics in `bcdr_<set>_features.csv`; see `radiomics`.

A row's image is located by its ids and view, and the file name in the row must agree with them: no
row can reach the image of another, or a file elsewhere.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from data_pipeline import mammogram_files, radiomics
from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.mammograms import (
    Classification,
    Laterality,
    Lesion,
    Mammogram,
    Reading,
    Skip,
    View,
)

SETS = ("F01", "F02", "F03", "D01", "D02", "DN01")
SYNTHETIC_MARK = "SYNTHETIC.txt"  # in the source's folder, where a phantom wrote it

_VIEWS: tuple[tuple[str, Laterality, View], ...] = (  # image_type_id 0 to 3, image_view 1 to 4
    ("RCC", "R", "CC"),
    ("LCC", "L", "CC"),
    ("RO", "R", "MLO"),
    ("LO", "L", "MLO"),
)
_CLASSIFICATIONS: dict[str, Classification] = {"Benign": "Benign", "Malign": "Malign"}
_FINDINGS = (
    *("nodule", "calcification", "microcalcification"),
    *("axillary_adenopathy", "architectural_distortion", "stroma_distortion"),
)
_IMG_COLUMNS = ("patient_id", "study_id", "image_filename", "image_type_id", "age", "density")
_OUTLINES_COLUMNS = (
    *("patient_id", "study_id", "lesion_id", "segmentation_id", "image_view", "image_filename"),
    *("lw_x_points", "lw_y_points", *(f"mammography_{finding}" for finding in _FINDINGS)),
    *("age", "density", "classification"),
)


def read(root: pathlib.Path) -> Reading:
    """Reads which images there are and what is on them; decodes no pixels.

    Healthy patches may be cut, as in the thesis, from films with a lesion and from all of DN01; but
    not from a film with a row of outlines left out, which may be of a lesion.

    Args:
      root: folder with the sets, any of the six.

    Returns:
      The mammograms, with lesions or without; and each row, value, table or set left out.

    Raises:
      DataError: root holds none of the sets, or nothing in them can be used.
    """
    root = pathlib.Path(root)
    present = [name for name in SETS if (root / f"BCDR-{name}_dataset").is_dir()]
    if not present:
        problem = f"holds no folder BCDR-<set>_dataset of the sets {', '.join(SETS)}"
        raise DataError(f"{root}: {problem}; give the folder that they are in")
    skips: list[Skip] = []
    mammograms = [m for name in present for m in _SetReader(root, name, skips).mammograms()]
    if not mammograms:
        first = filter(None, dataclasses.astuple(skips[0])) if skips else ["tables without rows"]
        raise DataError(f"{root}: nothing in it can be used; first fault: {' '.join(first)}")
    return Reading(tuple(sorted(mammograms, key=lambda m: m.image_id)), tuple(skips))


@dataclasses.dataclass(frozen=True)
class _Image:
    """What a row of either table says of its image."""

    source: str  # relative to the root
    file: pathlib.Path
    patient: str
    view: int  # index into _VIEWS
    age: float | None
    density: int | None


class _SetReader:
    """Reads one set and appends what is left out to the list it is given."""

    def __init__(self, root: pathlib.Path, name: str, skips: list[Skip]):
        self._root, self._name, self._skips = root, name, skips
        folder = f"BCDR-{name}_dataset"
        nested = f"{folder}/BCDR-{name}"
        self._folder = nested if (root / nested).is_dir() else folder
        self._series = () if name == "F03" else ("series",)
        self._tables: dict[str, str] = {}  # relative to the root
        for kind in ("img", "outlines", "features"):
            table = f"bcdr_{name.lower()}_{kind}.csv"
            is_outside = os.path.lexists(root / folder / table)
            self._tables[kind] = f"{folder if is_outside else self._folder}/{table}"
        self._doubtful: set[str] = set()  # names of images with a row of outlines left out
        self._radiomics: Mapping[radiomics.Key, radiomics.Radiomics] = {}

    def mammograms(self) -> list[Mammogram]:
        """Returns all usable images with their lesions; none where a table is unusable."""
        has_outlines = self._name != "DN01"
        has_img = not has_outlines or os.path.lexists(self._root / self._tables["img"])
        if not has_img:  # some copies of F03; the outlines say all that is needed
            self._skip("img", None, "is missing; only images with an outline are read")
        img = self._rows("img", _IMG_COLUMNS) if has_img else []
        outlines = self._rows("outlines", _OUTLINES_COLUMNS) if has_outlines else []
        if img is None or outlines is None:
            return []
        images = self._images(img)
        self._radiomics = self._read_radiomics(outlines)
        lesions = self._lesions(outlines, images, may_add_images=not has_img)
        return [self._mammogram(name, images[name], lesions.get(name, ())) for name in images]

    def _rows(self, kind: str, columns: Sequence[str]) -> list[tables.Row] | None:
        try:
            path = mammogram_files.find(self._root, self._tables[kind])
            return tables.read(path, (*self._series, *columns))
        except DataError as error:
            self._skip(kind, None, f"{error}; all of {self._name} is left out")
            return None

    def _read_radiomics(
        self, outlines: Sequence[tables.Row]
    ) -> Mapping[radiomics.Key, radiomics.Radiomics]:
        """The radiomics by key; none where there is no such table, which patches can do without."""
        if not os.path.lexists(self._root / self._tables["features"]):
            return {}
        skip = functools.partial(self._skip, "features")
        try:
            path = mammogram_files.find(self._root, self._tables["features"])
            return radiomics.read(path, self._series, outlines, skip)
        except DataError as error:
            self._skip("features", None, f"{error}; the radiomics of {self._name} are left blank")
            return {}

    def _skip(self, kind: str, row: tables.Row | None, reason: str) -> None:
        self._skips.append(Skip(self._tables[kind], f"line {row.line}" if row else "", reason))

    def _images(self, rows: Sequence[tables.Row]) -> dict[str, _Image]:
        """The images of the img table by file name."""
        images: dict[str, _Image] = {}
        for row in rows:
            try:
                image = self._image("img", row)
                if image.file.name in images:
                    raise DataError(f"{image.file.name} again; its first row is used")
                images[image.file.name] = image
            except DataError as error:
                self._skip("img", row, str(error))
        return images

    def _lesions(
        self, rows: Sequence[tables.Row], images: dict[str, _Image], may_add_images: bool
    ) -> dict[str, tuple[Lesion, ...]]:
        """The lesions of the outlines table by their image's file name."""
        found: dict[tuple[str, int], list[tuple[int, tables.Row, Lesion]]] = {}
        for row in rows:
            try:
                image = self._image("outlines", row)
                name = image.file.name
                if name not in images and not may_add_images:
                    raise DataError(f"{name} has no usable row in {self._tables['img']}")
                lesion = self._lesion(row, image)
                segmentation = int(row.digits("segmentation_id"))
            except DataError as error:
                self._skip("outlines", row, str(error))
                self._doubtful.update(re.findall(r"img_\w+\.tif", row.text))
                continue
            images.setdefault(name, image)
            key = name, int(lesion.lesion_id)
            found.setdefault(key, []).append((segmentation, row, lesion))
        lesions: dict[str, tuple[Lesion, ...]] = {}
        for (name, number), segmented in sorted(found.items(), key=lambda item: item[0]):
            (used, _, lesion), *others = sorted(segmented, key=lambda s: (s[0], s[1].line))
            lesions[name] = (*lesions.get(name, ()), lesion)
            for other, row, _ in others:
                reason = f"lesion {number} of {name} again as segmentation {other}; {used} is used"
                self._skip("outlines", row, reason)
        return lesions

    def _image(self, kind: str, row: tables.Row) -> _Image:
        column, first = ("image_type_id", 0) if kind == "img" else ("image_view", 1)
        view = int(row.digits(column)) - first
        if not 0 <= view < len(_VIEWS):
            known = ", ".join(f"{i + first} {name}" for i, (name, _, _) in enumerate(_VIEWS))
            raise DataError(f"{column} is {row[column]}, not one of {known}")
        patient, study = row.digits("patient_id"), row.digits("study_id")
        parts = [patient, study, *(row.digits(key) for key in self._series), _VIEWS[view][0]]
        name = f"img_{'_'.join(parts)}.tif"
        source = f"{self._folder}/patient_{patient}/study_{study}/{name}"
        given = pathlib.PureWindowsPath(row["image_filename"]).parts  # either kind of slash
        if not given or given != pathlib.PurePosixPath(source).parts[-len(given) :]:
            self._doubtful.add(name)
            problem = f"image_filename is {row['image_filename']!r}"
            raise DataError(f"{problem}, but its ids and {column} say {name}")
        age = self._optional(kind, row, "age", "of 1 to 120 years", lambda age: 1 <= age <= 120)
        density = self._optional(kind, row, "density", "1, 2, 3 or 4", (1, 2, 3, 4).__contains__)
        file = mammogram_files.find(self._root, source)
        return _Image(source, file, patient, view, age, None if density is None else int(density))

    def _optional(
        self, kind: str, row: tables.Row, column: str, rule: str, holds: Callable[[float], bool]
    ) -> float | None:
        text = row[column]
        if text.lower() in ("", "nan"):
            return None
        number = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text) else None
        if number is not None and holds(number):
            return number
        self._skip(kind, row, f"{column} is {text!r}, not {rule}; the value is taken as missing")
        return None

    def _lesion(self, row: tables.Row, image: _Image) -> Lesion:
        lesion_id, classification = row.digits("lesion_id"), row["classification"]
        if classification not in _CLASSIFICATIONS:
            raise DataError(f"classification is {classification!r}, not Benign or Malign")
        mask = f"{image.source.removesuffix('.tif')}_mask_id_{lesion_id}.tif"
        has_mask = os.path.lexists(self._root / mask)
        return Lesion(
            lesion_id,
            _CLASSIFICATIONS[classification],
            _outline(row, may_be_empty=has_mask),
            mammogram_files.find(self._root, mask) if has_mask else None,
            frozenset(finding for finding in _FINDINGS if _is_noted(row, finding)),
            self._radiomics.get(radiomics.key_of(row, self._series), ()),
        )

    def _mammogram(self, name: str, image: _Image, lesions: tuple[Lesion, ...]) -> Mammogram:
        _, laterality, view = _VIEWS[image.view]
        is_film = self._name.startswith("F")
        is_clear_film = is_film and bool(lesions) and name not in self._doubtful
        return Mammogram(
            image_id=f"{self._name}_{image.file.stem}",
            dataset=self._name,
            patient_id=f"{image.patient}_{self._name}",
            file=image.file,
            source=image.source,
            view=view,
            laterality=laterality,
            format="Film" if is_film else "Digital",
            age=image.age,
            density=image.density,
            lesions=lesions,
            may_give_healthy=is_clear_film or self._name == "DN01",
            synthetic=(self._root / SYNTHETIC_MARK).exists(),
        )


def _outline(row: tables.Row, may_be_empty: bool) -> tuple[tuple[int, int], ...]:
    """The polygon of a row; its two columns hold whole numbers between blanks."""
    columns = [row[column].split() for column in ("lw_x_points", "lw_y_points")]
    if may_be_empty and columns == [[], []]:
        return ()
    xs, ys = columns
    if not all(re.fullmatch("-?[0-9]{1,6}", text) for text in xs + ys):
        raise DataError("lw_x_points or lw_y_points has something other than whole numbers")
    if len(xs) != len(ys) or len(xs) < 3:
        raise DataError(f"its outline has {len(xs)} x and {len(ys)} y, not 3 or more of each")
    return tuple(zip(map(int, xs), map(int, ys), strict=True))


def _is_noted(row: tables.Row, finding: str) -> bool:
    column = f"mammography_{finding}"
    if row[column].lower() not in ("0", "0.0", "1", "1.0", "", "nan"):
        raise DataError(f"{column} is {row[column]!r}, not 0 or 1")
    return row[column] in ("1", "1.0")
