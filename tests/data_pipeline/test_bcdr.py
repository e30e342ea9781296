"""BCDR's annotations: trees written here by hand, one quirk or fault at a time.

The images are empty files, since a reader decodes no pixels.
"""

import os

import pytest

from data_pipeline import bcdr
from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.mammograms import Lesion, Mammogram, Skip

FINDINGS = [
    *("nodule", "calcification", "microcalcification"),
    *("axillary_adenopathy", "architectural_distortion", "stroma_distortion"),
]
KEYS = ["patient_id", "study_id", "series"]
COLUMNS = {
    "img": [*KEYS, "image_filename", "image_type_name", "image_type_id", "age", "density"],
    "outlines": [
        *[*KEYS, "lesion_id", "segmentation_id", "image_view", "image_filename"],
        *["lw_x_points", "lw_y_points", "mammography_type"],
        *[f"mammography_{finding}" for finding in FINDINGS],
        *["age", "density", "classification"],
    ],
}
VIEWS = ("RCC", "LCC", "RO", "LO")
POINTS = {"lw_x_points": " 10 30 30 10", "lw_y_points": " 20 20 50 50"}
OUTLINE = ((10, 20), (30, 20), (30, 50), (10, 50))


def image_row(view="RCC", patient=3, study=4, series=1, **values):
    name = f"img_{patient}_{study}_{series}_{view}.tif"
    return {
        "patient_id": patient,
        "study_id": study,
        "series": series,
        "image_filename": f"patient_{patient}/study_{study}/{name}",
        "image_type_name": view,
        "image_type_id": VIEWS.index(view),
        "age": 51,
        "density": 2,
        **values,
    }


def outline_row(view="RCC", patient=3, study=4, series=1, **values):
    row = image_row(view, patient, study, series)
    return {
        **{column: row.get(column, 0) for column in COLUMNS["outlines"]},
        "image_view": VIEWS.index(view) + 1,
        "lesion_id": 7,
        "segmentation_id": 9,
        **POINTS,
        "mammography_nodule": 1,
        "classification": "Benign",
        **values,
    }


def write_table(folder, set_name, kind, rows, separator=",", without=()):
    columns = [column for column in COLUMNS[kind] if column not in without]
    lines = [columns, *([str(row[column]) for column in columns] for row in rows)]
    path = folder / f"bcdr_{set_name.lower()}_{kind}.csv"
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    return path


@pytest.fixture
def make(tmp_path):
    """Writes a set: its tables, and an empty file for each image of the img rows."""

    def make(images=None, outlines=None, name="F01", folder=None, **options):
        folder = tmp_path / (folder or f"BCDR-{name}_dataset")
        folder.mkdir(parents=True, exist_ok=True)
        images = [image_row()] if images is None else images
        for row in images:
            image = folder / row["image_filename"].strip().replace("\\", "/")
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        write_table(folder, name, "img", images, **options)
        if name != "DN01":
            outlines = [outline_row()] if outlines is None else outlines
            write_table(folder, name, "outlines", outlines, **options)
        return tmp_path

    return make


def only(root):
    """The one mammogram of a tree in which nothing is left out."""
    (mammogram,), skips = bcdr.read(root)
    assert skips == ()
    return mammogram


def only_skip(root):
    mammograms, (skip,) = bcdr.read(root)
    return mammograms, skip


def test_a_row_of_each_table_makes_a_mammogram_with_a_lesion(make):
    root = make()
    source = "BCDR-F01_dataset/patient_3/study_4/img_3_4_1_RCC.tif"
    assert only(root) == Mammogram(
        image_id="F01_img_3_4_1_RCC",
        dataset="F01",
        patient_id="3_F01",
        file=root / source,
        source=source,
        view="CC",
        laterality="R",
        format="Film",
        age=51,
        density=2,
        lesions=(Lesion("7", "Benign", OUTLINE, None, frozenset({"nodule"})),),
        may_give_healthy=True,
        synthetic=False,
    )


@pytest.mark.parametrize(
    ("view", "laterality", "projection"),
    [("RCC", "R", "CC"), ("LCC", "L", "CC"), ("RO", "R", "MLO"), ("LO", "L", "MLO")],
)
def test_views(make, view, laterality, projection):
    mammogram = only(make([image_row(view)], [outline_row(view)]))
    assert (mammogram.laterality, mammogram.view) == (laterality, projection)
    assert mammogram.image_id == f"F01_img_3_4_1_{view}"


@pytest.mark.parametrize("name", ["F01", "F02", "D01", "D02"])
def test_sets_with_lesions(make, name):
    root = make([image_row(), image_row("LO")], name=name, separator=", " if name == "D02" else ",")
    (plain, with_lesion), skips = bcdr.read(root)
    assert skips == ()
    for mammogram in (plain, with_lesion):
        assert mammogram.dataset == name
        assert mammogram.patient_id == f"3_{name}"
        assert mammogram.format == ("Film" if name[0] == "F" else "Digital")
    assert (len(plain.lesions), len(with_lesion.lesions)) == (0, 1)
    assert not plain.may_give_healthy
    assert with_lesion.may_give_healthy == (name[0] == "F")
    assert with_lesion.lesions[0].outline == OUTLINE


def test_dn01_is_normal_and_needs_no_outlines(make):
    root = make([image_row(age="", density=" NaN"), image_row("LO", 12)], name="DN01")
    mammograms, skips = bcdr.read(root)
    assert skips == ()
    assert [m.image_id for m in mammograms] == ["DN01_img_12_4_1_LO", "DN01_img_3_4_1_RCC"]
    assert all(m.may_give_healthy and m.format == "Digital" and not m.lesions for m in mammograms)
    assert (mammograms[1].age, mammograms[1].density) == (None, None)


def f03_rows():
    name = "patient_3/study_4/img_3_4_RCC.tif"
    return [image_row(image_filename=name, age="51.0")], [outline_row(image_filename=name)]


@pytest.mark.parametrize("tables_are_nested", [True, False])
def test_f03_is_nested_and_has_no_series(make, tables_are_nested):
    root = make(*f03_rows(), name="F03", folder="BCDR-F03_dataset/BCDR-F03", without=("series",))
    if not tables_are_nested:
        for table in (root / "BCDR-F03_dataset" / "BCDR-F03").glob("*.csv"):
            os.replace(table, root / "BCDR-F03_dataset" / table.name)
    mammogram = only(root)
    assert mammogram.image_id == "F03_img_3_4_RCC"
    assert mammogram.source == "BCDR-F03_dataset/BCDR-F03/patient_3/study_4/img_3_4_RCC.tif"
    assert mammogram.file.is_file()
    assert (mammogram.age, mammogram.lesions[0].outline) == (51, OUTLINE)
    assert mammogram.may_give_healthy


def test_without_the_img_table_the_outlines_are_enough(make):
    root = make(*f03_rows(), name="F03", folder="BCDR-F03_dataset/BCDR-F03", without=("series",))
    expected = only(root)
    (root / "BCDR-F03_dataset/BCDR-F03/bcdr_f03_img.csv").unlink()
    (mammogram,), skip = only_skip(root)
    assert mammogram == expected
    assert skip == Skip(
        "BCDR-F03_dataset/BCDR-F03/bcdr_f03_img.csv",
        "",
        "is missing; only images with an outline are read",
    )


def test_all_sets_together_are_sorted_and_keep_their_patients_apart(make):
    for name in ("D01", "D02", "F01", "F02", "DN01"):
        root = make(name=name)
    make(*f03_rows(), name="F03", folder="BCDR-F03_dataset/BCDR-F03", without=("series",))
    mammograms, skips = bcdr.read(root)
    assert skips == ()
    ids = [m.image_id for m in mammograms]
    assert ids == sorted(ids)
    assert {m.patient_id for m in mammograms} == {f"3_{name}" for name in bcdr.SETS}


@pytest.mark.parametrize("text", ["Benign", " Benign ", "Benign  ", '"Benign"'])
def test_classifications_come_with_blanks(make, text):
    assert only(make(outlines=[outline_row(classification=text)])).lesions[0].classification == (
        "Benign"
    )
    malign = text.replace("Benign", "Malign")
    assert only(make(outlines=[outline_row(classification=malign)])).lesions[0].classification == (
        "Malign"
    )


@pytest.mark.parametrize(
    ("text", "age"), [("", None), ("  ", None), ("NaN", None), (" nan ", None), (" 63.0 ", 63)]
)
def test_ages_may_be_blank_padded_nan_or_floats(make, text, age):
    assert only(make([image_row(age=text)])).age == age


@pytest.mark.parametrize(("text", "density"), [("", None), (" NaN", None), (" 4 ", 4), ("1.0", 1)])
def test_densities_may_be_blank_padded_nan_or_floats(make, text, density):
    found = only(make([image_row(density=text)])).density
    assert found == density
    assert found is None or type(found) is int


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("age", text) for text in ("old", "-3", "0", "511", "inf")),
        *(("density", text) for text in ("5", "0", "2.5", "B")),
    ],
)
def test_a_value_that_cannot_be_is_reported_and_missing(make, column, text):
    (mammogram,), skip = only_skip(make([image_row(**{column: text})]))
    assert getattr(mammogram, column) is None
    assert (skip.source, skip.where) == ("BCDR-F01_dataset/bcdr_f01_img.csv", "line 2")
    assert skip.reason.startswith(f"{column} is {text!r}, not ")
    assert mammogram.lesions


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("yes", ["1", " 1", "1.0"])
def test_findings(make, finding, yes):
    names = [f"mammography_{name}" for name in FINDINGS]
    no = dict(zip(names, ["0", " 0 ", "0.0", "", "NaN", "0"], strict=True))
    row = outline_row(**{**no, f"mammography_{finding}": yes})
    assert only(make(outlines=[row])).lesions[0].findings == {finding}


def test_file_names_may_have_blanks_backslashes_or_no_folder(make):
    for given in (
        " patient_3/study_4/img_3_4_1_RCC.tif ",
        "patient_3\\study_4\\img_3_4_1_RCC.tif",
        "./patient_3/study_4/img_3_4_1_RCC.tif",
        "img_3_4_1_RCC.tif",
    ):
        root = make()
        folder = root / "BCDR-F01_dataset"
        write_table(folder, "F01", "img", [image_row(image_filename=given)])
        write_table(folder, "F01", "outlines", [outline_row(image_filename=given)])
        assert only(root).lesions


def test_several_lesions_of_an_image(make):
    rows = [outline_row(lesion_id=n, classification=c) for n, c in [(12, "Malign"), (5, "Benign")]]
    lesions = only(make(outlines=rows)).lesions
    assert [(x.lesion_id, x.classification) for x in lesions] == [("5", "Benign"), ("12", "Malign")]


def test_of_a_lesion_segmented_again_the_lowest_segmentation_is_used(make):
    other = {"lw_x_points": "1 2 3", "lw_y_points": "4 6 4"}
    rows = [
        outline_row(segmentation_id=30, **other),
        outline_row(segmentation_id=9),
        outline_row(segmentation_id=200, **other),
    ]
    (mammogram,), skips = bcdr.read(make(outlines=rows))
    assert [lesion.outline for lesion in mammogram.lesions] == [OUTLINE]
    assert [skip.where for skip in skips] == ["line 2", "line 4"]
    assert "lesion 7 of img_3_4_1_RCC.tif again as segmentation 30; 9 is used" in skips[0].reason
    assert mammogram.may_give_healthy  # its one lesion is known


def test_of_a_lesion_segmented_again_a_bad_row_does_not_count(make):
    rows = [outline_row(segmentation_id=1, lw_x_points="1 2"), outline_row(segmentation_id=9)]
    (mammogram,), skip = only_skip(make(outlines=rows))
    assert [lesion.outline for lesion in mammogram.lesions] == [OUTLINE]
    assert skip.where == "line 2"


def test_masks_beside_the_image_are_attached(make):
    root = make(outlines=[outline_row(), outline_row(lesion_id=8)])
    folder = root / "BCDR-F01_dataset/patient_3/study_4"
    mask = folder / "img_3_4_1_RCC_mask_id_8.tif"
    mask.touch()
    (folder / "img_3_4_1_RCC_mask_id_77.tif").touch()
    first, second = only(root).lesions
    assert (first.mask_file, second.mask_file) == (None, mask)


def test_with_a_mask_the_points_may_be_blank(make):
    root = make(outlines=[outline_row(lw_x_points="", lw_y_points=" ")])
    mask = root / "BCDR-F01_dataset/patient_3/study_4/img_3_4_1_RCC_mask_id_7.tif"
    mask.touch()
    (lesion,) = only(root).lesions
    assert (lesion.outline, lesion.mask_file) == ((), mask)


def test_phantoms_are_marked_synthetic(make):
    root = make()
    (root / "SYNTHETIC.txt").write_text("drawn")
    assert only(root).synthetic


BAD_OUTLINES = {
    "view": ({"image_view": 5}, "image_view is 5, not one of 1 RCC, 2 LCC, 3 RO, 4 LO"),
    "view-0": ({"image_view": 0}, "image_view is 0"),
    "view-blank": ({"image_view": ""}, "image_view is '', not a whole number"),
    "view-contradicts": ({"image_view": 2}, "ids and image_view say img_3_4_1_LCC.tif"),
    "study-contradicts": ({"study_id": 5}, "ids and image_view say img_3_5_1_RCC.tif"),
    "classification": ({"classification": "Normal"}, "classification is 'Normal', not Benign"),
    "classification-blank": ({"classification": ""}, "classification is ''"),
    "patient-path": ({"patient_id": "../3"}, "patient_id is '../3', not a whole number"),
    "patient-path-in-name": ({"image_filename": "../x/img_3_4_1_RCC.tif"}, "image_filename is"),
    "absolute-name": ({"image_filename": "/patient_3/study_4/img_3_4_1_RCC.tif"}, "_filename is"),
    "no-name": ({"image_filename": ""}, "image_filename is ''"),
    "study-path": ({"study_id": "4/../4"}, "study_id is '4/../4'"),
    "lesion-path": ({"lesion_id": "/etc/7"}, "lesion_id is '/etc/7'"),
    "lesion-blank": ({"lesion_id": ""}, "lesion_id is ''"),
    "segmentation": ({"segmentation_id": "a"}, "segmentation_id is 'a'"),
    "points-counts": ({"lw_x_points": "1 2 3"}, "has 3 x and 4 y, not 3 or more of each"),
    "points-few": ({"lw_x_points": "1 9", "lw_y_points": "1 9"}, "has 2 x and 2 y"),
    "points-blank": ({"lw_x_points": "", "lw_y_points": ""}, "has 0 x and 0 y"),
    "points-text": ({"lw_x_points": "1 2 3 x"}, "something other than whole numbers"),
    "points-floats": ({"lw_x_points": "1 2 3.5 4"}, "something other than whole numbers"),
    "points-huge": ({"lw_x_points": f"1 2 3 {10**300}"}, "something other than whole numbers"),
    "finding": ({"mammography_nodule": "yes"}, "mammography_nodule is 'yes', not 0 or 1"),
    "too-many-values": ({"classification": "Benign,x"}, "has 20 values, but there are 19 columns"),
}


@pytest.mark.parametrize("kind", BAD_OUTLINES)
def test_a_bad_row_of_outlines_is_skipped_and_the_rest_goes_on(make, kind):
    values, reason = BAD_OUTLINES[kind]
    rows = [outline_row(lesion_id=8), {**outline_row(), **values}, outline_row("LO")]
    mammograms, skip = only_skip(make([image_row(), image_row("LO"), image_row("LCC")], rows))
    assert (skip.source, skip.where) == ("BCDR-F01_dataset/bcdr_f01_outlines.csv", "line 3")
    assert reason in skip.reason
    assert "\n" not in skip.reason
    lesions = {m.image_id[-3:]: len(m.lesions) for m in mammograms}
    assert lesions == {"RCC": 1, "_LO": 1, "LCC": 0}


def test_no_healthy_patches_from_a_film_with_a_bad_row(make):
    # A lesion that could not be read may be anywhere in the image of either name.
    images = [image_row(view) for view in VIEWS]
    rows = [outline_row(view, lesion_id=1) for view in VIEWS]
    rows += [outline_row("RCC", classification="?"), outline_row("LCC", image_view=3)]
    mammograms, skips = bcdr.read(make(images, rows))
    assert len(skips) == 2
    assert {m.image_id[14:]: m.may_give_healthy for m in mammograms} == {
        **{"RCC": False, "LCC": False, "RO": False},
        "LO": True,
    }


def test_bad_rows_of_img_are_skipped_with_what_refers_to_them(make):
    images = [image_row(), image_row("LO", image_type_id=2), image_row("RO", image_type_id=7)]
    rows = [outline_row(), outline_row("LO"), outline_row("RO")]
    mammograms, skips = bcdr.read(make(images, rows))
    assert [m.image_id for m in mammograms] == ["F01_img_3_4_1_RCC"]
    source = "BCDR-F01_dataset/bcdr_f01"
    assert [(skip.source, skip.where) for skip in skips] == [
        (f"{source}_img.csv", "line 3"),
        (f"{source}_img.csv", "line 4"),
        (f"{source}_outlines.csv", "line 3"),
        (f"{source}_outlines.csv", "line 4"),
    ]
    reasons = [skip.reason for skip in skips]
    assert "but its ids and image_type_id say img_3_4_1_RO.tif" in reasons[0]
    assert "image_type_id is 7, not one of 0 RCC, 1 LCC, 2 RO, 3 LO" in reasons[1]
    assert f"img_3_4_1_LO.tif has no usable row in {source}_img.csv" in reasons[2]


def test_an_image_listed_twice_is_used_once(make):
    (mammogram,), skip = only_skip(make([image_row(), image_row(age=90)]))
    assert mammogram.age == 51
    assert skip.reason == "img_3_4_1_RCC.tif again; its first row is used"
    assert skip.where == "line 3"


def test_a_missing_image_is_skipped(make):
    root = make([image_row(), image_row("LO")], [outline_row("LO"), outline_row()])
    source = "BCDR-F01_dataset/patient_3/study_4/img_3_4_1_RCC.tif"
    (root / source).unlink()
    (mammogram,), skips = bcdr.read(root)
    assert mammogram.image_id == "F01_img_3_4_1_LO"
    assert [(skip.where, skip.reason) for skip in skips] == [
        ("line 2", f"{source} is missing; restore it"),
        ("line 3", f"{source} is missing; restore it"),
    ]


@pytest.mark.parametrize("linked", ["image", "study", "mask"])
def test_links_out_of_the_tree_are_not_followed(make, linked, tmp_path_factory):
    root = make([image_row(), image_row("LO", 5)], [outline_row("LO", 5), outline_row()])
    study = root / "BCDR-F01_dataset/patient_3/study_4"
    mask = study / "img_3_4_1_RCC_mask_id_7.tif"
    mask.touch()
    path = {"image": study / "img_3_4_1_RCC.tif", "study": study, "mask": mask}[linked]
    elsewhere = tmp_path_factory.mktemp("elsewhere") / path.name
    os.replace(path, elsewhere)
    os.symlink(elsewhere, path)
    mammograms, skips = bcdr.read(root)
    lesions = {m.image_id: len(m.lesions) for m in mammograms}
    assert lesions.pop("F01_img_5_4_1_LO") == 1
    assert lesions == ({"F01_img_3_4_1_RCC": 0} if linked == "mask" else {})
    assert all("leads out of its source" in skip.reason for skip in skips)
    assert len(skips) == (1 if linked == "mask" else 2)


def test_a_set_that_is_a_link_out_of_the_tree_is_left_out(make, tmp_path_factory):
    root = make()
    make(name="F02")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "F02"
    os.replace(root / "BCDR-F02_dataset", elsewhere)
    os.symlink(elsewhere, root / "BCDR-F02_dataset")
    (mammogram,), skips = bcdr.read(root)
    assert mammogram.dataset == "F01"
    assert all("leads out" in skip.reason and "F02" in skip.reason for skip in skips)


@pytest.mark.parametrize(
    ("kind", "column"),
    [(kind, column) for kind in COLUMNS for column in COLUMNS[kind]],
)
def test_a_set_with_a_renamed_column_is_left_out(make, kind, column):
    make(name="F01")
    root = make(name="D01")
    path = root / f"BCDR-D01_dataset/bcdr_d01_{kind}.csv"
    header, *body = path.read_text().splitlines()
    columns = [f"{c}_" if c == column else c for c in header.split(",")]
    path.write_text("\n".join([",".join(columns), *body]))
    if column in ("image_type_name", "mammography_type"):  # not needed
        assert len(bcdr.read(root).mammograms) == 2
        return
    (mammogram,), skip = only_skip(root)
    assert mammogram.dataset == "F01"
    assert skip.source == f"BCDR-D01_dataset/bcdr_d01_{kind}.csv"
    assert f"has no column {column!r} among" in skip.reason
    assert "all of D01 is left out" in skip.reason


@pytest.mark.parametrize("name", ["F02", "DN01"])
def test_a_set_without_the_table_it_needs_is_left_out(make, name):
    make(name="F01")
    root = make(name=name)
    kind = "img" if name == "DN01" else "outlines"
    source = f"BCDR-{name}_dataset/bcdr_{name.lower()}_{kind}.csv"
    (root / source).unlink()
    (mammogram,), skip = only_skip(root)
    assert mammogram.dataset == "F01"
    assert skip.reason == f"{source} is missing; restore it; all of {name} is left out"


def test_a_root_that_is_not_bcdr(tmp_path, make):
    with pytest.raises(DataError, match="none: holds no folder BCDR-<set>_dataset of the sets F01"):
        bcdr.read(tmp_path / "none")
    with pytest.raises(DataError, match="give the folder that they are in"):
        bcdr.read(make() / "BCDR-F01_dataset")
    (tmp_path / "BCDR-F01_dataset/bcdr_f01_outlines.csv").write_text("patient,view\n1,2\n")
    with pytest.raises(DataError, match=r"nothing in it can be used; .*no column 'series'"):
        bcdr.read(tmp_path)
    with pytest.raises(DataError, match="tables without rows"):
        bcdr.read(make([], []))


def read_table(path, data, columns=("a", "b")):
    path.write_bytes(data)
    return tables.read(path, columns)


def test_tables_come_as_they_are_written(tmp_path):
    data = b'\xef\xbb\xbfa, b ,c\r\n\r\n 1,  007 ,"x, y"\r\n,NaN, \r\n , ,\r\n1,2\r\n\xff,2,3\r\n'
    padded, blank, short, garbled = read_table(tmp_path / "t.csv", data)
    assert (padded.line, padded["a"], padded["b"], padded["c"]) == (3, "1", "007", "x, y")
    assert (blank.line, blank["a"], blank["b"], blank["c"]) == (4, "", "NaN", "")
    assert (short.line, short.text) == (6, "1,2")
    with pytest.raises(DataError, match="has 2 values, but there are 3 columns"):
        short["a"]
    assert garbled["b"] == "2"
    with pytest.raises(DataError, match="a is '\N{REPLACEMENT CHARACTER}', not a whole number"):
        garbled.digits("a")
    assert padded.digits("b") == "007"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "t.csv is empty"),
        (b"a,c\n1,2\n", "t.csv has no column 'b' among a, c"),
        (b"a b\n1 2\n", "t.csv has no column 'a' among a b"),
        (b"a,b,a\n1,2,3\n", "t.csv has several columns 'a'"),
        (b"a,b\n" + b"9" * 200_000, "t.csv cannot be read as a table"),
    ],
)
def test_tables_that_are_refused(tmp_path, data, problem):
    with pytest.raises(DataError, match=f"^{problem}.*; "):
        read_table(tmp_path / "t.csv", data)


def test_a_table_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read as a table \(Is a directory\)"):
        tables.read(tmp_path, ["a"])


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1e3", "٣", "../1", "1" * 13, "1\n"])
def test_ids_are_whole_numbers(text):
    row = tables.Row(1, text, {"a": text}, "")
    with pytest.raises(DataError, match=r"^a is .*, not a whole number$"):
        row.digits("a")
