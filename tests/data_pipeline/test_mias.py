"""mini-MIAS: Info.txt as distributed, with drawn films; circles checked against pixels."""

import os

import numpy as np
import pytest

from data_pipeline import mias, outlines
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Skip

PROSE = """                  MiniMammographic Database

1st column: MIAS database reference number.
\t    the abnormality.
4) In some cases mdb001 and others are NORM.

=================================================================

"""
ROWS = """mdb001 G CIRC B 535 425 197
mdb002 D NORM
mdb003 D SPIC M 300 1000 10
mdb003 D CALC B 20 20 3
mdb003 D CALC M *NOTE 3*
mdb004 F NORM
"""


def write_film(root, name, side=1024):
    (root / f"{name}.pgm").write_bytes(f"P5\n{side} {side}\n255\n".encode() + bytes(side**2))


@pytest.fixture
def make(tmp_path):
    """Writes Info.txt with the rows given, and films; returns the folder."""

    def make(rows=ROWS, films=("mdb001", "mdb002", "mdb003", "mdb004"), newline="\n"):
        text = PROSE + rows + "\n=====================\n"
        (tmp_path / "Info.txt").write_bytes(text.replace("\n", newline).encode())
        for film in films:
            write_film(tmp_path, film)
        return tmp_path

    return make


def test_what_systems_leave_in_the_folder_is_no_film(make):
    root = make()
    expected = mias.read(root)
    for name in (".DS_Store", "._mdb001.pgm", ".nfs0001", "Thumbs.db"):
        (root / name).write_text("stray")
    assert mias.read(root) == expected


def described(root):
    """All that is read of the films, but for where they are."""
    return [
        (film.image_id, film.density, film.may_give_healthy, film.lesions)
        for film in mias.read(root).mammograms
    ]


WRITINGS = {
    "utf-8 with a mark": ("{rows}", "utf-8-sig"),
    "utf-16": ("{text}", "utf-16"),
    "utf-16 without a mark": ("{text}", "utf-16-le"),
    "capitals": ("{upper}", "utf-8"),
    "small letters": ("{lower}", "utf-8"),
    "commas": ("REFNUM,BG,CLASS,SEVERITY,X,Y,RADIUS\n{commas}", "utf-8"),
    "semicolons": ("{semicolons}", "utf-8-sig"),
    "tabs": ("{tabs}", "utf-8"),
    "quotes": ("{quotes}", "utf-8"),
    "of pandas": ("{pandas}", "utf-8"),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", WRITINGS)
def test_the_same_films_and_lesions_in_every_writing(make, kind, end):
    root = make()
    expected = described(root)
    assert sum(len(lesions) for *_, lesions in expected) == 3
    rows = [row.split(maxsplit=6) for row in ROWS.splitlines()]
    texts = {
        "rows": ROWS,
        "text": PROSE + ROWS,
        "upper": PROSE + ROWS.upper(),
        "lower": PROSE + ROWS.lower(),
        "commas": "\n".join(",".join(row) for row in rows),
        "semicolons": "\n".join(";".join([*row, *[""] * (7 - len(row))]) for row in rows),
        "tabs": "\n".join("\t".join(row) for row in rows),
        "quotes": "\n".join(",".join(f'"{value}"' for value in row) for row in rows),
        "pandas": "\n".join(
            ",".join(
                [
                    str(n),
                    *row[:4],
                    *(f"{value}.0" if value.isdigit() else value for value in row[4:]),
                    *[""] * (7 - len(row)),
                ]
            )
            for n, row in enumerate(rows)
        ),
    }
    pattern, encoding = WRITINGS[kind]
    text = pattern.format(**texts).replace("\n", end)
    (root / "Info.txt").write_bytes(text.encode(encoding))
    assert described(root) == expected
    os.rename(root / "Info.txt", root / "info.TXT")
    for name in ("mdb001", "mdb002"):
        os.rename(root / f"{name}.pgm", root / f"{name.upper()}.PGM")
    assert described(root) == expected


@pytest.mark.parametrize("newline", ["\n", " \r\n"])
def test_films_and_what_is_known_of_them(make, newline):
    root = make(newline=newline)
    films, _ = mias.read(root)
    assert [film.image_id for film in films] == ["mdb001", "mdb002", "mdb003", "mdb004"]
    assert [film.patient_id for film in films] == ["1_MIAS", "1_MIAS", "2_MIAS", "2_MIAS"]
    assert [film.laterality for film in films] == ["L", "R", "L", "R"]
    assert [film.density for film in films] == [2, 3, 3, 1]
    assert [film.may_give_healthy for film in films] == [False, True, False, True]
    assert [len(film.lesions) for film in films] == [1, 0, 2, 0]
    for film in films:
        assert (film.dataset, film.format, film.view) == ("MIAS", "Film", "MLO")
        assert (film.age, film.synthetic) == (None, False)
        assert film.file == root / film.source
        assert film.source == f"{film.image_id}.pgm"


def test_a_film_with_benign_and_malignant_lesions(make):
    film = mias.read(make()).mammograms[2]
    spiculated, cluster = film.lesions
    assert (spiculated.classification, cluster.classification) == ("Malign", "Benign")
    assert (spiculated.findings, cluster.findings) == ({"nodule"}, {"calcification"})
    assert spiculated.lesion_id != cluster.lesion_id


@pytest.mark.parametrize(
    ("kind", "findings"),
    [
        ("CALC", {"calcification"}),
        ("CIRC", {"nodule"}),
        ("SPIC", {"nodule"}),
        ("MISC", {"nodule"}),
        ("ARCH", {"architectural_distortion"}),
        ("ASYM", set()),
    ],
)
def test_findings(make, kind, findings):
    (film,), _ = mias.read(make(f"mdb001 G {kind} M 500 500 20\n", ["mdb001"]))
    assert film.lesions[0].findings == findings


@pytest.mark.parametrize(
    ("x", "y", "radius"), [(535, 425, 197), (20, 1000, 9), (0, 0, 5), (1023, 1023, 40), (9, 9, 1)]
)
def test_circles_count_y_from_the_bottom(make, x, y, radius):
    root = make(f"mdb001 G CIRC B {x} {y} {radius}\n", ["mdb001"])
    # Drawn with the first row at the bottom, as MIAS counts, then turned over.
    columns, rows = np.meshgrid(np.arange(1024), np.arange(1024))
    distance = np.hypot(columns - x, rows - y)[::-1]
    (film,), _ = mias.read(root)
    mask = outlines.lesion_mask(film.lesions[0], distance.shape)
    assert outlines.bounding_box(mask) == outlines.bounding_box(distance <= radius)
    # Vertices are whole pixels, up to half a diagonal off; sides run inside the circle.
    slack, sagitta = np.sqrt(0.5), radius * (1 - np.cos(np.pi / 64))
    assert distance[mask].max() <= radius + slack
    assert mask[distance <= radius - slack - sagitta].all()
    assert mask[1023 - y, x]


def test_a_circle_goes_through_its_four_extremes(make):
    (film,), _ = mias.read(make("mdb001 G CIRC B 535 425 197\n", ["mdb001"]))
    assert {(535, 401), (535, 795), (338, 598), (732, 598)} <= set(film.lesions[0].outline)
    mask = outlines.lesion_mask(film.lesions[0], (1024, 1024))
    assert outlines.bounding_box(mask) == Box(338, 401, 733, 796)


@pytest.mark.parametrize("row", ["CIRC B", "CALC M *NOTE 3*", "CALC M *NOTE 3* ", "CALC M"])
def test_a_lesion_without_position_is_skipped_and_its_film_not_normal(make, row):
    films, skips = mias.read(make(f"mdb001 F {row}\nmdb002 F NORM \n", ["mdb001", "mdb002"]))
    assert [film.lesions for film in films] == [(), ()]
    assert [film.may_give_healthy for film in films] == [False, True]
    kind = " ".join(row.split()[:2])
    assert skips == (
        Skip("Info.txt", "mdb001", f"its {kind} has no position; it gives no patches"),
    )


def test_other_lesions_of_such_a_film_are_used(make):
    rows = "mdb001 F CALC M *NOTE 3*\nmdb001 F CIRC B 400 300 20\n"
    (film,), skips = mias.read(make(rows, ["mdb001"]))
    assert [lesion.classification for lesion in film.lesions] == ["Benign"]
    assert not film.may_give_healthy
    assert len(skips) == 1


@pytest.mark.parametrize(
    ("films", "reason"),
    [
        (["mdb001", "mdb002", "mdb004"], "1 of the films listed are not in the folder (mdb003)"),
        (["mdb002"], "3 of the films listed are not in the folder (mdb001, mdb003, mdb004)"),
    ],
)
def test_films_that_are_missing_are_skipped_in_one_line(make, films, reason):
    read, skips = mias.read(make(films=films))
    assert [film.image_id for film in read] == films
    assert [skip for skip in skips if not skip.where] == [Skip("Info.txt", "", reason)]


def test_of_many_films_that_are_missing_three_are_named(make):
    rows = "".join(f"mdb{n:03d} G NORM\n" for n in range(1, 300))
    _, skips = mias.read(make(rows, ["mdb007"]))
    names = "mdb001, mdb002, mdb003, ..."
    reason = f"298 of the films listed are not in the folder ({names})"
    assert skips == (Skip("Info.txt", "", reason),)


def test_films_that_are_not_listed_are_skipped(make):
    root = make("mdb002 D NORM\n", ["mdb002", "mdb321", "mdb001"])
    films, skips = mias.read(root)
    assert [film.image_id for film in films] == ["mdb002"]
    reason = "Info.txt has no row for it"
    assert skips == (Skip("mdb001.pgm", "", reason), Skip("mdb321.pgm", "", reason))


@pytest.mark.parametrize(
    "row",
    [
        "mdb002 X NORM",
        "mdb002 G XXXX B 1 2 3",
        "mdb002 G CIRC N 1 2 3",
        "mdb002 G CIRC B 1 2",
        "mdb002 G CIRC B 1 2 -3",
        "mdb002 G CIRC B 1 2 3 4",
        "mdb002 G CIRC B one two three",
        "mdb002 G NORM 1 2 3",
        "mdb002",
    ],
)
def test_a_row_that_cannot_be_read_is_skipped_and_its_film_not_normal(make, row):
    root = make(f"mdb001 G NORM\n{row}\nmdb002 G NORM\n", ["mdb001", "mdb002"])
    films, (skip,) = mias.read(root)
    line = PROSE.count("\n") + 2
    assert skip == Skip("Info.txt", f"line {line}", f"row {row!r} cannot be read")
    assert [film.may_give_healthy for film in films] == [True, False]


def test_a_film_of_another_size_is_skipped(make):
    root = make()
    write_film(root, "mdb001", side=512)
    films, skips = mias.read(root)
    assert len(films) == 3
    assert "mdb001.pgm is 512x512 pixels, but Info.txt refers to 1024x1024" in skips[0].reason


def test_a_film_that_is_no_pgm_is_skipped(make):
    root = make()
    (root / "mdb002.pgm").write_bytes(b"")
    films, skips = mias.read(root)
    assert [film.image_id for film in films] == ["mdb001", "mdb003", "mdb004"]
    assert skips[0].reason.startswith("mdb002.pgm: is no PGM; restore")


def test_a_film_that_is_a_link_out_of_the_folder_is_skipped(make, tmp_path_factory):
    root = make()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "film.pgm"
    os.replace(root / "mdb002.pgm", elsewhere)
    os.symlink(elsewhere, root / "mdb002.pgm")
    films, skips = mias.read(root)
    assert len(films) == 3
    assert "mdb002.pgm leads out of its source" in skips[0].reason


def test_a_folder_that_is_not_mini_mias(tmp_path, make):
    with pytest.raises(DataError, match=r"none: has no Info\.txt; give the folder"):
        mias.read(tmp_path / "none")
    with pytest.raises(DataError, match=r"has no Info\.txt"):
        mias.read(tmp_path)
    with pytest.raises(DataError, match=r"none of the 4 films of Info\.txt is usable"):
        mias.read(make(films=[]))
    with pytest.raises(DataError, match=r"Info\.txt lists no film: no line is like 'mdb001 G"):
        mias.read(make(rows=""))
