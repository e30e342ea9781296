"""The phantom: what it draws, the tree it writes, that both depend on the settings alone."""

import collections
import csv
import dataclasses
import math
import os
import shutil

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import tifffile
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from data_pipeline import outlines, phantom
from data_pipeline.errors import DataError
from data_pipeline.phantom import features, lesions, mammogram, tissue
from data_pipeline.phantom.mammogram import Exposure

SMALL = phantom.PhantomSettings(film_scale=0.15, digital_scale=0.1)
TINY = phantom.PhantomSettings(
    film_patients=2, digital_patients=1, normal_patients=1, film_scale=0.12, digital_scale=0.1
)
ALL_SETS = ("F01", "F02", "F03", "D01", "D02", "DN01")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tree of as many patients as by default, with small images."""
    root = tmp_path_factory.mktemp("phantom") / "bcdr"
    phantom.write(root, SMALL, progress=False, workers=1)
    return root


def folder(root, name):
    return root / f"BCDR-{name}_dataset" / ("BCDR-F03" if name == "F03" else "")


def text(root, name, table):
    return (folder(root, name) / f"bcdr_{name.lower()}_{table}.csv").read_text()


def table(root, name, kind):
    return list(csv.DictReader(text(root, name, kind).splitlines(), skipinitialspace=True))


def contents(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def points(row):
    x, y = (np.array(row[f"lw_{axis}_points"].split(), int) for axis in "xy")
    return np.stack([x, y], 1)


# The tree.


def test_every_set_is_there_and_says_that_it_is_synthetic(root):
    assert sorted(path.name for path in root.iterdir()) == sorted(
        ["SYNTHETIC.txt", *(f"BCDR-{name}_dataset" for name in ALL_SETS)]
    )
    marker = (root / "SYNTHETIC.txt").read_text()
    assert marker.startswith("SYNTHETIC")
    for line in ("seed = 0", "difficulty = 0.45", "film_scale = 0.15", f"numpy = {np.__version__}"):
        assert f"  {line}\n" in marker
    images = list(root.rglob("*.tif"))
    assert len(images) > 160
    for path in images[::20]:
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages.first.description.startswith("SYNTHETIC")
            assert "DateTime" not in tiff.pages.first.tags


def test_every_image_is_listed_and_has_the_size_and_name_of_its_set(root):
    shapes = {"F": {(175, 108)}, "D": {(408, 333), (333, 256), (307, 282)}}
    for name in ALL_SETS:
        rows = table(root, name, "img")
        assert len({row["patient_id"] for row in rows}) == (20 if name == "DN01" else 12)
        listed = {row["image_filename"] for row in rows}
        there = {p.relative_to(folder(root, name)) for p in folder(root, name).rglob("*.tif")}
        assert listed == {p.as_posix() for p in there if "_mask_id_" not in p.name}
        for row in rows:
            patient, study, view = row["patient_id"], row["study_id"], row["image_type_name"]
            series = "" if name == "F03" else f"_{row['series']}"
            stem = f"patient_{patient}/study_{study}/img_{patient}_{study}{series}_{view}"
            assert row["image_filename"] == f"{stem}.tif"
            assert ("RCC", "LCC", "RO", "LO")[int(row["image_type_id"])] == view
            pixels = tifffile.imread(folder(root, name) / row["image_filename"])
            assert pixels.dtype == np.uint8
            assert pixels.shape in shapes[name[0]]
    ids = [{row["patient_id"] for row in table(root, name, "img")} for name in ALL_SETS]
    assert max(collections.Counter(i for some in ids for i in some).values()) > 2


def test_headers_are_those_of_bcdr(root):
    keys = "patient_id,study_id,series,"
    lesion = (
        "mammography_type,mammography_nodule,mammography_calcification,"
        "mammography_microcalcification,mammography_axillary_adenopathy,"
        "mammography_architectural_distortion,mammography_stroma_distortion,age,density"
    )
    described = (
        "i_mean,i_std_dev,i_maximum,i_minimum,i_kurtosis,i_skewness,s_area,s_perimeter,"
        "s_x_center_mass,s_y_center_mass,s_circularity,s_elongation,s_form,s_solidity,s_extent,"
        "t_energ,t_contr,t_corr,t_sosvh,t_homo,t_savgh,t_svarh,t_senth,t_entro,t_dvarh,t_denth,"
        "t_inf1h,t_inf2h,classification"
    )
    ids = "lesion_id,segmentation_id,image_view,"
    expected = {
        "img": f"{keys}image_filename,image_type_name,image_type_id,age,density",
        "outlines": f"{keys}{ids}image_filename,lw_x_points,lw_y_points,{lesion},classification",
        "features": f"{keys}{ids}{lesion},{described}",
    }
    for kind, header in expected.items():
        for name in ("F01", "F02", "D01"):
            assert text(root, name, kind).splitlines()[0] == header
        assert text(root, "D02", kind).splitlines()[0] == header.replace(",", ", ")
        lacking = header.replace("series,", "")
        for column in ("s_x_center_mass,", "s_y_center_mass,", "t_inf1h,", "t_inf2h,"):
            lacking = lacking.replace(column, "")
        assert text(root, "F03", kind).splitlines()[0] == lacking
    assert text(root, "DN01", "img").splitlines()[0] == expected["img"]
    assert {p.name for p in folder(root, "DN01").glob("*.csv")} == {"bcdr_dn01_img.csv"}


def test_values_have_the_quirks_of_bcdr(root):
    written = {name: text(root, name, "outlines").splitlines()[1:] for name in ALL_SETS[:5]}
    ends = {name: {row.rsplit(",", 1)[1] for row in rows} for name, rows in written.items()}
    assert ends["F01"] == ends["F02"] == ends["D01"] == {" Benign ", " Malign"}
    assert ends["F03"] == {"Malign", "Benign"}
    assert ends["D02"] == {" Malign", " Benign "}
    for kind in ("img", "outlines", "features"):
        rest = text(root, "D02", kind).replace(", ", "")
        assert "," not in rest
    raw = {name: list(csv.DictReader(text(root, name, "img").splitlines())) for name in ALL_SETS}
    ages = {
        name: {row[" age" if name == "D02" else "age"] for row in rows}
        for name, rows in raw.items()
    }
    assert all(age == "NaN" or age.endswith(".0") for age in ages["F03"])
    assert all(age == "" or age == f" {age.strip()} " for age in ages["F02"])
    lines = {name: text(root, name, "img").splitlines()[1:] for name in ALL_SETS}
    densities = {name: {row.rsplit(",", 1)[1] for row in rows} for name, rows in lines.items()}
    unknown = {
        name: {v for v in densities[name] | ages[name] if v.strip() in ("", "NaN")}
        for name in ALL_SETS
    }
    assert unknown["F01"] == unknown["F03"] == unknown["DN01"] == {"NaN"}
    assert (unknown["F02"], unknown["D01"], unknown["D02"]) == ({""}, {" NaN "}, {"  "})
    assert {d.strip() for some in densities.values() for d in some} == {*"1234", "NaN", ""}
    assert all(density == f" {density.strip()} " for density in densities["F02"] - {""})


def test_outlines_are_open_polygons_within_their_images(root):
    for name in ALL_SETS[:5]:
        by_view = {row["image_filename"]: row for row in table(root, name, "img")}
        for raw, row in zip(
            csv.DictReader(text(root, name, "outlines").splitlines()),
            table(root, name, "outlines"),
            strict=True,
        ):
            assert next(v for c, v in raw.items() if "lw_x" in c).startswith(" ")
            image = by_view[row["image_filename"]]
            assert int(row["image_view"]) == int(image["image_type_id"]) + 1
            outline = points(row)
            assert len(outline) > 5
            assert (outline != np.roll(outline, 1, axis=0)).any(axis=1).all()
            height, width = tifffile.imread(folder(root, name) / row["image_filename"]).shape
            assert (outline >= 0).all()
            assert (outline < (width, height)).all()


def test_keys_repeat_with_another_segmentation_and_segmentations_never(root):
    repeated = 0
    for name in ALL_SETS[:5]:
        rows = table(root, name, "outlines")
        ids = ("patient_id", "study_id", "image_filename", "image_view", "lesion_id")
        counts = collections.Counter(tuple(row[key] for key in ids) for row in rows)
        repeated += sum(count > 1 for count in counts.values())
        assert len({row["segmentation_id"] for row in rows}) == len(rows)
        described = table(root, name, "features")
        assert [r["segmentation_id"] for r in described] == [r["segmentation_id"] for r in rows]
    assert repeated > 3


def test_masks_are_those_of_the_outlines_and_two_sets_have_them(root):
    for name in ALL_SETS:
        assert any(folder(root, name).rglob("*_mask_id_*")) == (name in ("F01", "D01"))
    for name in ("F01", "D01"):
        needed = set()
        seen = set()
        for row in table(root, name, "outlines"):
            image = folder(root, name) / row["image_filename"]
            mask_file = image.with_name(f"{image.stem}_mask_id_{row['lesion_id']}.tif")
            needed.add(mask_file)
            if mask_file in seen:
                continue  # outlined a second time
            seen.add(mask_file)
            mask = tifffile.imread(mask_file)
            assert set(np.unique(mask)) == {0, 255}
            assert mask.shape == tifffile.imread(image).shape
            np.testing.assert_array_equal(mask > 0, outlines.rasterise(points(row), mask.shape))
        assert needed == set(folder(root, name).rglob("*_mask_id_*"))


def test_the_share_of_malignant_patients_is_as_asked(root):
    for name in ALL_SETS[:5]:
        rows = table(root, name, "outlines")
        malignant = {r["patient_id"] for r in rows if r["classification"].strip() == "Malign"}
        assert len(malignant) == 5  # 0.4 of 12
        assert {row["patient_id"] for row in rows} == {
            row["patient_id"] for row in table(root, name, "img")
        }


def test_described_are_the_pixels_within_the_outline(root):
    rows = zip(table(root, "F01", "outlines"), table(root, "F01", "features"), strict=True)
    for outline, row in list(rows)[::5]:
        pixels = tifffile.imread(folder(root, "F01") / outline["image_filename"])
        within = pixels[outlines.rasterise(points(outline), pixels.shape)] / 255
        assert float(row["i_mean"]) == pytest.approx(within.mean(), rel=1e-4)
        assert float(row["i_maximum"]) == pytest.approx(within.max(), rel=1e-4)
        assert float(row["s_area"]) == pytest.approx(len(within), rel=1e-4)


# Determinism and resumption.


def test_the_number_of_processes_does_not_matter(tmp_path):
    phantom.write(tmp_path / "one", TINY, progress=False, workers=1)
    phantom.write(tmp_path / "three", TINY, progress=False, workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_another_seed_gives_other_images(tmp_path):
    phantom.write(tmp_path / "a", TINY, progress=False, workers=1)
    phantom.write(tmp_path / "b", dataclasses.replace(TINY, seed=1), progress=False, workers=1)
    a, b = (list(contents(tmp_path / name).values()) for name in "ab")
    assert not set(a) & set(b)


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path):
    few = dataclasses.replace(TINY, malignant=0)
    more = dataclasses.replace(few, film_patients=3, digital_patients=2)
    phantom.write(tmp_path / "few", few, progress=False, workers=1)
    phantom.write(tmp_path / "more", more, progress=False, workers=1)
    a, b = contents(tmp_path / "few"), contents(tmp_path / "more")
    images = [name for name in a if name.endswith(".tif")]
    assert len(images) > 10
    assert {name: b.get(name) for name in images} == {name: a[name] for name in images}


def test_what_is_missing_is_written_and_the_rest_is_left(tmp_path, root):
    copy = tmp_path / "bcdr"
    shutil.copytree(root, copy)
    names = [name for name in contents(copy) if name != "SYNTHETIC.txt"]
    lost = np.random.default_rng(4).choice(names, 12, replace=False).tolist()
    lost += [n for n in names if n.endswith("f02_outlines.csv") or "DN01" in n]
    for name in lost:
        (copy / name).unlink(missing_ok=True)
    (copy / "BCDR-DN01_dataset" / ".bcdr_dn01_img.csv.tmp").write_text("killed while writ")
    kept = copy / next(n for n in names if n not in lost and "F02" in n and n.endswith(".tif"))
    before = kept.stat().st_mtime_ns
    phantom.write(copy, SMALL, progress=False, workers=1)
    assert contents(copy) == contents(root)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_run_cut_short_is_completed(tmp_path, monkeypatch, error, after):
    phantom.write(tmp_path / "whole", TINY, progress=False, workers=1)
    done = []
    replace = os.replace

    def cut_short(source, target):
        if len(done) == after:
            raise error
        done.append(replace(source, target))

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", cut_short)
        with pytest.raises((KeyboardInterrupt, DataError)) as caught:
            phantom.write(tmp_path / "cut", TINY, progress=False, workers=1)
    if caught.type is DataError:
        assert "No space left" in str(caught.value)
    assert len([n for n in contents(tmp_path / "cut") if not n.endswith(".tmp")]) == after
    phantom.write(tmp_path / "cut", TINY, progress=False, workers=1)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_what_others_left_in_the_folder_stays(tmp_path):
    strays = [tmp_path / name for name in (".DS_Store", "Thumbs.db", ".notes.tmp", "lost+found/x")]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.write_text("stray")
    phantom.write(tmp_path, TINY, progress=False, workers=1)
    phantom.write(tmp_path, TINY, progress=False, workers=1)
    assert [path.read_text() for path in strays] == ["stray"] * 4
    (tmp_path / "other").mkdir()
    (tmp_path / "other/scan.tif").write_text("of a patient")
    with pytest.raises(DataError, match="is not empty and holds no phantom"):
        phantom.write(tmp_path / "other", TINY, progress=False, workers=1)


def test_progress_is_shown_on_request(tmp_path, capsys):
    phantom.write(tmp_path / "a", TINY, progress=False, workers=1)
    assert capsys.readouterr() == ("", "")
    phantom.write(tmp_path / "b", TINY, progress=True, workers=1)
    images = len([n for n in contents(tmp_path / "b") if n.endswith(".tif") and "_mask" not in n])
    assert f"{images}/{images}" in capsys.readouterr().err


# Bad input.


def one_line(error):
    line = str(error.value)
    assert "\n" not in line
    return line


def test_a_tree_of_other_settings_is_left_alone(tmp_path):
    phantom.write(tmp_path, TINY, progress=False, workers=1)
    before = contents(tmp_path)
    with pytest.raises(DataError) as error:
        phantom.write(tmp_path, dataclasses.replace(TINY, difficulty=0.7), progress=False)
    line = one_line(error)
    assert "SYNTHETIC.txt" in line
    assert "difficulty = 0.45 there, difficulty = 0.7 asked for" in line
    assert contents(tmp_path) == before
    phantom.write(tmp_path, TINY, progress=False)


def test_a_whole_number_is_the_same_setting(tmp_path):
    phantom.write(tmp_path, dataclasses.replace(TINY, malignant=1), progress=False, workers=1)
    phantom.write(tmp_path, dataclasses.replace(TINY, malignant=1.0), progress=False, workers=1)


def test_real_images_are_never_mixed_with_synthetic_ones(tmp_path):
    (tmp_path / "BCDR-F01_dataset").mkdir()
    with pytest.raises(DataError, match="never mixed") as error:
        phantom.write(tmp_path, TINY, progress=False)
    assert str(tmp_path) in one_line(error)
    assert os.listdir(tmp_path) == ["BCDR-F01_dataset"]


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot be written") as error:
            phantom.write(place, TINY, progress=False)
        assert str(tmp_path / "file") in one_line(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("film_patients", 0),
        ("digital_patients", -2),
        ("normal_patients", 0),
        ("malignant", 1.01),
        ("difficulty", -0.1),
        ("difficulty", math.nan),
        ("film_scale", 0.05),
        ("digital_scale", 3.0),
    ],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(DataError) as error:
        phantom.PhantomSettings(**{name: value})
    assert f"phantom setting {name} is {value}; it must be" in one_line(error)


# Tissue.


@pytest.mark.parametrize("shape", [(256, 256), (300, 180), (150, 411)])
@pytest.mark.parametrize("beta", [2.0, 3.0])
def test_a_texture_has_the_spectrum_asked_for(shape, beta):
    height, width = shape
    power = 0
    for seed in range(20):
        texture = tissue.power_law(np.random.default_rng(seed), shape, beta, longest=4.0)
        assert texture.dtype == np.float32
        assert texture.mean() == pytest.approx(0, abs=1e-5)
        assert texture.std() == pytest.approx(1, abs=1e-4)
        power = power + np.abs(np.fft.fft2(texture.astype(np.float64))) ** 2
    down = np.fft.fftfreq(height)[:, None] * height  # cycles per height, both
    along = np.fft.fftfreq(width) * height
    frequency = np.hypot(down, along)
    band = (frequency > 4) & (frequency < 60)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.1)
    upright = band & (np.abs(down) > 3 * np.abs(along))
    level = band & (np.abs(along) > 3 * np.abs(down))
    scaled = power * np.maximum(frequency, 1) ** beta
    assert scaled[upright].mean() / scaled[level].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("seed", range(12))
def test_a_breast_is_where_it_belongs(view, seed):
    anatomy = tissue.draw_anatomy(np.random.default_rng(seed), view, 720 / 1167)
    inside = anatomy.skin > 0
    height = len(inside)
    assert 0.2 < inside.mean() < 0.75
    assert inside[int(0.55 * height), 0]  # at the chest wall
    assert not inside[:, -1].any()  # air beyond the nipple
    assert not inside[-1].any()
    column, row = (int(v * height) for v in anatomy.nipple)
    assert abs(anatomy.skin[row, column]) < 0.03
    farthest = np.flatnonzero(inside.any(axis=0)).max()
    assert farthest - column < 0.06 * height  # the nipple points away from the chest
    # One step away from the skin line is one step of distance.
    steps = np.abs(np.diff(anatomy.skin, axis=1))
    assert steps.max() < 1.05 / height
    if view == "CC":
        assert not inside[0].any()
        assert (anatomy.muscle < 0).all()
    else:
        assert inside[0, 0]
        assert anatomy.muscle[0, 0] > 0.1
        assert (anatomy.muscle[int(0.8 * height) :] < 0).all()
        assert (np.diff(anatomy.muscle, axis=1) < 0).all()  # it ends towards the nipple


def test_dense_breasts_are_brighter_and_muscle_brighter_than_fat():
    shape = (292, 180)
    means = collections.defaultdict(list)
    for seed in range(6):
        for density in (1, 2, 3, 4):
            rng = np.random.default_rng(seed)
            anatomy = tissue.draw_anatomy(rng, "MLO", 180 / 292)
            drawn = tissue.draw_tissue(rng, anatomy, shape, density)
            skin, muscle = (tissue.resized(f, shape) for f in (anatomy.skin, anatomy.muscle))
            means[density].append(drawn[(skin > 0.1) & (muscle < -0.02)].mean())
            means["muscle"].append(drawn[(muscle > 0.05) & (skin > 0.1)].mean())
            assert np.abs(drawn[skin < -0.03]).max() < 0.01  # air
    means = {key: np.mean(values) for key, values in means.items()}
    assert means[1] + 0.02 < means[2] < means[3] - 0.02
    assert means[3] + 0.02 < means[4]
    assert means["muscle"] > means[1] + 0.08


@pytest.mark.parametrize("image_format", ["Film", "Digital"])
def test_more_attenuation_is_brighter(image_format):
    ramp = np.tile(np.linspace(0, 0.75, 16, dtype=np.float32), (400, 1))
    levels = tissue.expose(np.random.default_rng(0), ramp, image_format)
    assert levels.dtype == np.uint8
    means = levels.mean(axis=0)
    assert (np.diff(means) > 0).all()
    noise = levels.std(axis=0)
    if image_format == "Digital":
        assert (levels[:, 0] == 0).all()  # nothing but air, and no noise in it
        assert noise[-2] > 1.5 * noise[2] > 0
        steps = np.diff(means)
        assert steps.max() < 1.3 * steps.min()
    else:
        assert 0 < means[0] < 25
        assert noise[0] > 0.5
        assert np.diff(means).max() > 3 * np.diff(means)[0]  # the S


# Lesions.


@pytest.mark.parametrize("difficulty", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_suspicion_separates_the_classes_as_stated(difficulty):
    rng = np.random.default_rng(1)
    drawn = [lesions.draw_traits(rng, bool(k % 2), difficulty) for k in range(4000)]
    auc = roc_auc_score([t.malignant for t in drawn], [t.suspicion for t in drawn])
    ideal = scipy.special.ndtr(math.sqrt(2) * (1 - difficulty) / max(difficulty, 1e-3))
    assert auc == pytest.approx(ideal, abs=0.025)
    assert all(40 / 1167 <= t.diameter <= 120 / 1167 for t in drawn)
    for malignant in (False, True):  # nothing else differs between the classes
        some = [t for t in drawn if t.malignant == malignant]
        assert np.mean([t.kind == "mass" for t in some]) == pytest.approx(0.65, abs=0.04)
        assert np.mean([t.diameter * 1167 for t in some]) == pytest.approx(72.8, abs=2)
        contrast = (1 - difficulty**2) * 0.165
        assert np.mean([t.contrast for t in some]) == pytest.approx(contrast, abs=0.003)


def draw(suspicion, kind="mass", diameter=48, count=20, contrast=1.0):
    traits = lesions.Traits(suspicion > 0.5, kind, suspicion, 0.05, contrast)
    return [
        lesions.draw_lesion(np.random.default_rng(seed), traits, diameter) for seed in range(count)
    ]


def test_a_lesion_fits_its_patch_and_its_outline():
    for kind in lesions.KINDS:
        for suspicion in (0.0, 0.5, 1.0):
            for added, outline in draw(suspicion, kind):
                side = added.shape[0]
                assert added.shape == (side, side)
                assert side % 2 == 1
                assert added.dtype == np.float32
                rim = np.concatenate([added[0], added[-1], added[:, 0], added[:, -1]])
                assert np.abs(rim).max() < 0.02
                mask = outlines.rasterise(outline + side // 2, added.shape)
                assert 0.6 < math.sqrt(mask.sum() / (math.pi * 24**2)) < 1.6
                assert added[mask].mean() > 3 * abs(added[~mask].mean())
    # Without contrast there is nothing.
    assert all(not added.any() for added, _ in draw(0.5, contrast=0.0, count=3))


def test_malignant_masses_are_irregular_ill_defined_spiculated_and_uneven():
    def look(suspicion):
        found = []
        for added, outline in draw(suspicion):
            mask = outlines.rasterise(outline + added.shape[0] // 2, added.shape)
            shape = features.describe((mask * 255).astype(np.uint8), mask)
            row, column = np.indices(added.shape) - added.shape[0] // 2
            far = (np.hypot(row, column) > 30) & ~mask
            down, along = np.gradient(added)
            steepest = np.percentile(np.hypot(down, along), 99)
            inner = added[np.hypot(row, column) < 8]
            found.append((shape["s_solidity"], steepest, added[far].max(), inner.std()))
        return np.mean(found, axis=0)

    solidity, steepest, spicules, unevenness = zip(look(0.02), look(0.98), strict=True)
    assert solidity[0] > 0.96 > solidity[1] + 0.02
    assert steepest[0] > 1.3 * steepest[1]
    assert spicules[0] < 0.02 < 0.2 < spicules[1]
    assert unevenness[1] > 2 * unevenness[0]


def test_calcifications_become_many_and_small():
    def specks(suspicion):
        counts, sizes = [], []
        for added, _ in draw(suspicion, "calcifications", diameter=100):
            labels, count = scipy.ndimage.label(added > 0.4)
            counts.append(count)
            sizes.append(np.count_nonzero(labels) / count)
        return np.mean(counts), np.mean(sizes)

    (few, large), (many, small) = specks(0.02), specks(0.98)
    assert few < 6 < 10 < many
    assert large > 2 * small


# Mammograms.


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("seed", range(6))
def test_lesions_are_in_the_breast_off_the_muscle_and_apart(view, seed):
    rng = np.random.default_rng(seed)
    traits = [lesions.draw_traits(rng, bool(k % 2), 0.5) for k in range(3)]
    exposure = Exposure(view, "L", "Film", (583, 360))
    layout = mammogram.lay_out(rng, exposure, traits)
    resized = (tissue.resized(f, (583, 360)) for f in (layout.anatomy.skin, layout.anatomy.muscle))
    breast, muscle = next(resized) > 0, next(resized) > 0
    masks = [outlines.rasterise(lesion.outline, (583, 360)) for lesion in layout.lesions]
    for mask in masks:
        assert breast[mask].mean() > 0.97
        assert muscle[mask].mean() < 0.05
    assert np.sum(masks, axis=0).max() == 1


@pytest.mark.parametrize("image_format", ["Film", "Digital"])
def test_a_lesion_is_added_where_its_outline_is(image_format):
    exposure = Exposure("CC", "L", image_format, (400, 300))
    strong = lesions.Traits(False, "mass", 0.02, 0.12, 0.3)
    drawn = []
    for trait in (strong, dataclasses.replace(strong, contrast=0.0)):
        layout = mammogram.lay_out(np.random.default_rng(3), exposure, [trait])
        drawn.append(mammogram.render(np.random.default_rng(4), layout, 2).astype(int))
    difference = drawn[0] - drawn[1]
    mask = outlines.rasterise(layout.lesions[0].outline, exposure.shape)
    assert difference[mask].mean() > 20
    assert np.abs(difference[~scipy.ndimage.binary_dilation(mask, iterations=8)]).max() <= 1


def test_the_right_breast_is_the_mirror_of_the_left():
    trait = lesions.Traits(True, "mass", 0.9, 0.1, 0.2)
    drawn = {}
    for side in ("L", "R"):
        exposure = Exposure("MLO", side, "Film", (300, 185))
        layout = mammogram.lay_out(np.random.default_rng(3), exposure, [trait])
        pixels = mammogram.render(np.random.default_rng(4), layout, 2)
        drawn[side] = pixels, outlines.rasterise(layout.lesions[0].outline, pixels.shape)
    for left, right in zip(drawn["L"], drawn["R"], strict=True):
        np.testing.assert_array_equal(left, right[:, ::-1])
    assert drawn["L"][0][:20, :20].mean() > 3 * drawn["L"][0][:20, -20:].mean()  # muscle, air


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0])
def test_a_breast_looks_alike_at_every_size(scale):
    shape = (round(1167 * scale), round(720 * scale))
    anatomy = tissue.draw_anatomy(np.random.default_rng(0), "CC", 720 / 1167)
    rng = np.random.default_rng(1)
    levels = tissue.expose(rng, tissue.draw_tissue(rng, anatomy, shape, 3), "Film")
    assert 60 < levels[tissue.resized(anatomy.skin, shape) > 0.1].mean() < 200
    assert (levels > 60).mean() == pytest.approx((anatomy.skin > 0.01).mean(), abs=0.06)


# The features table.


def test_described_shapes_are_those_of_closed_forms():
    y, x = np.mgrid[:200, :300]
    disc = np.hypot(x - 90, y - 150) < 40
    got = features.describe(np.full((200, 300), 51, np.uint8), disc)
    assert tuple(got) == features.COLUMNS
    assert all(math.isfinite(value) for value in got.values())
    assert got["s_area"] == disc.sum()
    assert got["s_circularity"] == pytest.approx(1, abs=0.08)
    assert got["s_elongation"] == pytest.approx(1, abs=1e-6)
    assert (got["s_x_center_mass"], got["s_y_center_mass"]) == (90 / 300, 150 / 200)
    assert got["s_extent"] == pytest.approx(math.pi / 4, abs=0.02)
    assert got["s_form"] == pytest.approx(got["s_perimeter"] / (8 * disc.sum()))
    assert [got[name] for name in features.INTENSITY_COLUMNS] == [0.2, 0, 0.2, 0.2, 0, 0]
    assert (got["t_energ"], got["t_contr"], got["t_entro"], got["t_homo"]) == (1, 0, 0, 1)
    assert got["t_savgh"] == 2 * (51 // 8 + 1)
    ellipse = ((x - 150) / 120) ** 2 + ((y - 100) / 60) ** 2 < 1
    assert features.describe(disc * np.uint8(9), ellipse)["s_elongation"] == pytest.approx(
        0.5, 0.01
    )


def test_described_intensities_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    mask = rng.random((40, 50)) < 0.7
    got = features.describe(pixels, mask)
    values = [int(v) / 255 for v in pixels[mask]]
    mean = sum(values) / len(values)
    central = [sum((v - mean) ** k for v in values) / len(values) for k in range(5)]
    assert got["i_mean"] == pytest.approx(mean)
    assert got["i_std_dev"] == pytest.approx(central[2] ** 0.5)
    assert got["i_skewness"] == pytest.approx(central[3] / central[2] ** 1.5)
    assert got["i_kurtosis"] == pytest.approx(central[4] / central[2] ** 2 - 3)
    assert (got["i_minimum"], got["i_maximum"]) == (min(values), max(values))


def texture_by_loops(pixels, mask):
    """Counts pairs of neighbours and sums over them, one at a time."""
    pairs = collections.Counter()
    height, width = pixels.shape
    for y in range(height):
        for x in range(width):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    v, u = y + dy, x + dx
                    if (
                        (dy or dx)
                        and 0 <= v < height
                        and 0 <= u < width
                        and mask[y, x] & mask[v, u]
                    ):
                        pairs[int(pixels[y, x]) // 8 + 1, int(pixels[v, u]) // 8 + 1] += 1
    p = {pair: count / sum(pairs.values()) for pair, count in pairs.items()}
    one, plus, minus = collections.Counter(), collections.Counter(), collections.Counter()
    for (i, j), value in p.items():
        one[i] += value
        plus[i + j] += value
        minus[abs(i - j)] += value

    def entropy(masses):
        return -sum(v * math.log(v) for v in masses.values())

    mean = sum(i * v for i, v in one.items())
    variance = sum((i - mean) ** 2 * v for i, v in one.items())
    crossed = -sum(v * math.log(one[i] * one[j]) for (i, j), v in p.items())
    product = -sum(a * b * math.log(a * b) for a in one.values() for b in one.values())
    return {
        "t_energ": sum(v**2 for v in p.values()),
        "t_contr": sum((i - j) ** 2 * v for (i, j), v in p.items()),
        "t_corr": sum((i - mean) * (j - mean) * v for (i, j), v in p.items()) / variance,
        "t_sosvh": sum(i**2 * v for (i, j), v in p.items()),
        "t_homo": sum(v / (1 + abs(i - j)) for (i, j), v in p.items()),
        "t_savgh": sum(k * v for k, v in plus.items()),
        "t_svarh": sum((k - entropy(plus)) ** 2 * v for k, v in plus.items()),
        "t_senth": entropy(plus),
        "t_entro": entropy(p),
        "t_dvarh": sum(k**2 * v for k, v in minus.items()),
        "t_denth": entropy(minus),
        "t_inf1h": (entropy(p) - crossed) / entropy(one),
        "t_inf2h": math.sqrt(1 - math.exp(-2 * (product - entropy(p)))),
    }


@pytest.mark.parametrize("seed", range(3))
def test_described_textures_are_those_of_loops(seed):
    rng = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(rng.standard_normal((24, 31)), 1.5)
    pixels = np.clip(120 + 300 * noise, 0, 255).astype(np.uint8)
    mask = rng.random((24, 31)) < 0.8
    got = features.describe(pixels, mask)
    assert {k: got[k] for k in features.TEXTURE_COLUMNS} == pytest.approx(
        texture_by_loops(pixels, mask), rel=1e-9, abs=1e-12
    )


# Difficulty.

SIDE = 64


def patch_features(pixels):
    """Gradients along and across the direction from the middle by distance, and coarseness."""
    unit = pixels / 255
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(x, y)
    down = scipy.ndimage.gaussian_filter(unit, 1.2, order=(1, 0))
    along = scipy.ndimage.gaussian_filter(unit, 1.2, order=(0, 1))
    outwards, around = (along * x + down * y) / distance, (down * x - along * y) / distance
    found = []
    for nearest in (0, 8, 13, 18, 24):
        ring = (distance >= nearest) & (distance < nearest + 6)
        across = np.mean(around[ring] ** 2)
        found += [outwards[ring].mean(), np.log(across)]
        found += [np.log(np.mean(outwards[ring] ** 2) / across), unit[ring].mean()]
    for sigma in (0.7, 1.5, 3):
        band = scipy.ndimage.gaussian_filter(unit, sigma)
        band -= scipy.ndimage.gaussian_filter(unit, 2 * sigma)
        for part in (band[distance < 16], band[(distance >= 16) & (distance < 26)]):
            found += [np.log(part.std()), np.percentile(part, 99)]
    return found


def lesion_patch(difficulty, seed):
    """A lesion of 32 pixels in the middle of a patch of tissue, and whether it is malignant."""
    rng = np.random.default_rng([seed, int(difficulty * 100)])
    malignant = bool(seed % 2)
    traits = lesions.draw_traits(rng, malignant, difficulty)
    added, _ = lesions.draw_lesion(rng, traits, SIDE / 2)
    half = added.shape[0] // 2
    added = np.pad(added, max(SIDE // 2 - half, 0))
    start = added.shape[0] // 2 - SIDE // 2
    attenuation = added[start : start + SIDE, start : start + SIDE]
    attenuation = (
        attenuation + rng.uniform(0.38, 0.5) + 0.03 * tissue.power_law(rng, (SIDE, SIDE), 3)
    )
    return tissue.expose(rng, attenuation, ("Film", "Digital")[seed // 2 % 2]), malignant


@pytest.mark.parametrize(
    ("difficulty", "lowest", "highest"),
    [(0.0, 0.95, 1), (phantom.PhantomSettings().difficulty, 0.75, 0.94), (1.0, 0.38, 0.62)],
)
def test_difficulty_sets_how_well_a_simple_classifier_does(difficulty, lowest, highest):
    patches, labels = zip(*(lesion_patch(difficulty, seed) for seed in range(300)), strict=True)
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    scores = cross_val_predict(
        forest, [patch_features(p) for p in patches], labels, cv=5, method="predict_proba"
    )
    assert lowest < roc_auc_score(labels, scores[:, 1]) <= highest
