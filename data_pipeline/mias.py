"""Reads the annotations of mini-MIAS: Suckling et al. (1994), Excerpta Medica 1069, 375-378.

A folder holds `Info.txt` as distributed and some or all of the films, `mdb001.pgm` to
`mdb322.pgm`, each 1024 x 1024 pixels. Circles are converted from their bottom left origin to our
top left one, and the database's terms to ours:

* Laterality: odd films are of the left breast, even ones of the right. Info.txt says the opposite,
  but the lead letters on the films themselves and the file names of the full-size database
  (mdb001lm, mdb002rl) agree on this. All films are mirrored, letters included.
* Density: fatty 1, fatty-glandular 2, dense-glandular 3. MIAS has three classes and none of them is
  a BI-RADS class; these are the nearest by description, and 3 stands for both 3 and 4.
* Findings: CALC is a calcification; CIRC, SPIC and MISC, all masses, are nodules; ARCH is an
  architectural distortion. An asymmetry (ASYM) is not among BCDR's findings.
"""

import os
import pathlib
import re

import numpy as np

from data_pipeline import mammogram_files
from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.mammograms import Classification, Lesion, Mammogram, Reading, Skip

INFO = "Info.txt"
SIDE = 1024  # pixels; height and width of every film

_ROW = re.compile(
    r"""(?P<film>mdb(?P<number>[0-9]{3})) \s+ (?P<tissue>[FGD]) \s+
    (?: NORM
      | (?P<kind>CALC|CIRC|SPIC|MISC|ARCH|ASYM) \s+ (?P<severity>[BM])
        (?: \s+ (?P<x>[0-9]{1,4}) \s+ (?P<y>[0-9]{1,4}) \s+ (?P<radius>[0-9]{1,4})
          | \s+ \*.*  # refers to a note: calcifications all over the film
        )?
    )""",
    re.VERBOSE,
)
_DENSITIES = {"F": 1, "G": 2, "D": 3}
_CLASSIFICATIONS: dict[str, Classification] = {"B": "Benign", "M": "Malign"}
_FINDINGS = {
    "CALC": frozenset({"calcification"}),
    "CIRC": frozenset({"nodule"}),
    "SPIC": frozenset({"nodule"}),
    "MISC": frozenset({"nodule"}),
    "ARCH": frozenset({"architectural_distortion"}),
    "ASYM": frozenset[str](),
}
_VERTICES = 64  # of the polygon for a circle; a multiple of 4, so that its extremes are among them


def read(root: pathlib.Path) -> Reading:
    """Reads which films there are and what is on them; decodes no pixels.

    A film may give healthy patches only where every row of it says NORM.

    Args:
      root: folder with Info.txt and the films.

    Returns:
      The films that are in the folder; and, as skips, all else that is listed or in the folder,
      with one entry for all films that are missing.

    Raises:
      DataError: root has no Info.txt, or none of its films can be used.
    """
    root = pathlib.Path(root)
    info = _info(root)
    if info is None:
        raise DataError(f"{root}: has no {INFO}; give the folder of mini-MIAS")
    skips: list[Skip] = []
    films, unclear = _rows(info, skips)
    there = _films(root)
    absent = sorted(set(films) - set(there))
    if absent:
        names = ", ".join(absent[:3]) + (", ..." if absent[3:] else "")
        reason = f"{len(absent)} of the films listed are not in the folder ({names})"
        skips.append(Skip(INFO, "", reason))
    mammograms = []
    for film, rows in sorted(films.items()):
        if film in absent:
            continue
        try:
            file = _find(root, there[film])
        except DataError as error:
            skips.append(Skip(INFO, film, str(error).replace(f"{root}{os.sep}", "")))
            continue
        lesions, unplaced = _lesions(film, rows)
        skips += unplaced
        is_normal = film not in unclear and not any(row["kind"] for row in rows)
        mammograms.append(_mammogram(file, rows[0], lesions, is_normal))
    unlisted = sorted(set(there) - set(films))
    skips += [Skip(there[film], "", f"{INFO} has no row for it") for film in unlisted]
    if not mammograms:
        raise DataError(f"{root}: none of the {len(films)} films of {INFO} is usable; add films")
    return Reading(tuple(mammograms), tuple(skips))


def _info(root: pathlib.Path) -> pathlib.Path | None:
    """Info.txt, also where a copy spells it in other letters."""
    names = sorted(os.listdir(root)) if root.is_dir() else []
    names = [name for name in names if name.lower() == INFO.lower() and (root / name).is_file()]
    return root / (INFO if INFO in names else names[0]) if names else None


def _rows(info: pathlib.Path, skips: list[Skip]) -> tuple[dict[str, list[re.Match[str]]], set[str]]:
    """The rows of each film, and the films with a row that cannot be read: perhaps a lesion."""
    films: dict[str, list[re.Match[str]]] = {}
    unclear = set()
    for number, line in enumerate(tables.read_text(info).split("\n"), start=1):
        values = _values(line)
        if not re.match("mdb[0-9]", values):
            continue  # the text before and after the list
        row = _ROW.fullmatch(values)
        if row:
            films.setdefault(row["film"], []).append(row)
        else:
            unclear.add(values.split()[0])
            skips.append(Skip(INFO, f"line {number}", f"row {line.strip()!r} cannot be read"))
    if not films:
        problem = f"{INFO} lists no film: no line is like 'mdb001 G CIRC B 535 425 197'"
        raise DataError(f"{info.parent}: {problem}; restore it")
    return films, unclear


def _values(line: str) -> str:
    """A line's values between single blanks, whatever stood between them, in the list's letters.

    Without the number of the row and the decimals that pandas adds.
    """
    values = re.split(r"[\s,;|]+", re.sub(r"[\"']", "", line).strip(" \t,;|"))
    values = [re.sub(r"^(\d+)\.0+$", r"\1", value) for value in values]
    if values[0].isdigit() and len(values) > 1:
        values = values[1:]
    return " ".join([values[0].lower(), *map(str.upper, values[1:])])


def _films(root: pathlib.Path) -> dict[str, str]:
    """The names of the films' files, by the film's name in small letters."""
    there = (name for name in os.listdir(root) if not name.startswith("."))  # macOS' ._mdb001.pgm
    names = sorted(name for name in there if name.lower().endswith(".pgm"))
    return {name[:-4].lower(): name for name in names}


def _find(root: pathlib.Path, name: str) -> pathlib.Path:
    file = mammogram_files.find(root, name)
    height, width = mammogram_files.pgm_shape(file)
    if (height, width) != (SIDE, SIDE):
        problem = f"{name} is {width}x{height} pixels, but {INFO} refers to {SIDE}x{SIDE}"
        raise DataError(f"{problem}; put the original film there")
    return file


def _lesions(film: str, rows: list[re.Match[str]]) -> tuple[tuple[Lesion, ...], list[Skip]]:
    lesions, skips = [], []
    for number, row in enumerate((row for row in rows if row["kind"]), start=1):
        if row["x"] is None:
            reason = f"its {row['kind']} {row['severity']} has no position; it gives no patches"
            skips.append(Skip(INFO, film, reason))
            continue
        outline = _circle(int(row["x"]), int(row["y"]), int(row["radius"]))
        classification = _CLASSIFICATIONS[row["severity"]]
        findings = _FINDINGS[row["kind"]]
        lesions.append(Lesion(str(number), classification, outline, findings=findings))
    return tuple(lesions), skips


def _circle(x: int, y: int, radius: int) -> tuple[tuple[int, int], ...]:
    """A polygon through the circle's four extremes, all in pixels; y counts from the bottom.

    The lowest row of pixels is 0 in MIAS' coordinates, as the leftmost column is, and 1023 in ours:
    hence 1023 - y, not 1024 - y, which would be right for edges of pixels.
    """
    angles = 2 * np.pi * np.arange(_VERTICES) / _VERTICES
    columns = np.rint(x + radius * np.cos(angles)).astype(int)
    rows = np.rint(SIDE - 1 - y + radius * np.sin(angles)).astype(int)
    return tuple(dict.fromkeys(zip(columns.tolist(), rows.tolist(), strict=True)))


def _mammogram(
    file: pathlib.Path, row: re.Match[str], lesions: tuple[Lesion, ...], is_normal: bool
) -> Mammogram:
    number = int(row["number"])
    return Mammogram(
        image_id=row["film"],
        dataset="MIAS",
        patient_id=f"{(number + 1) // 2}_MIAS",  # films 2k - 1 and 2k
        file=file,
        source=file.name,
        view="MLO",
        laterality="L" if number % 2 else "R",
        format="Film",
        age=None,
        density=_DENSITIES[row["tissue"]],
        lesions=lesions,
        may_give_healthy=is_normal,
    )
