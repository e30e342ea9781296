"""The same picture twice: what is found, refused, listed, and what is none."""

import csv
import dataclasses
import json

import numpy as np
import PIL.Image
import pytest
import tifffile

from data_pipeline import duplicates, extract
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Lesion, Mammogram, Reading
from data_pipeline.patches import PatchSettings

SETTINGS = PatchSettings(size=None, zooms=(1,), film_window=16)


def drawn(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 40), np.uint8)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def mammogram(root, name, pixels, patient=None):
    """Writes a film with one lesion, by default of a patient of its own."""
    tifffile.imwrite(root / f"{name}.tif", pixels)
    return Mammogram(
        image_id=name,
        dataset="F01",
        patient_id=patient or f"{name}_F01",
        file=root / f"{name}.tif",
        source=f"{name}.tif",
        view="MLO",
        laterality="L",
        format="Film",
        age=None,
        density=None,
        lesions=(Lesion("7", "Malign", ((20, 20), (34, 20), (34, 40), (20, 40))),),
        may_give_healthy=True,
    )


def run(mammograms, out, workers=1, **options):
    reading = Reading(tuple(mammograms), ())
    return extract.extract(reading, out, SETTINGS, workers=workers, progress=False, **options)


def table(out):
    with (out / "duplicates.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refusal(*arguments, **options):
    with pytest.raises(DataError) as caught:
        run(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_different_mammograms_are_no_duplicates(root, tmp_path):
    result = run([mammogram(root, name, drawn(n)) for n, name in enumerate("abcd")], tmp_path / "o")
    assert result.duplicates == ()
    assert not (tmp_path / "o/duplicates.csv").exists()
    assert duplicates.lines(()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mammogram_of_two_patients_is_refused(root, tmp_path, workers):
    a, b, c = (mammogram(root, name, drawn(n)) for n, name in enumerate("abc"))
    PIL.Image.fromarray(drawn(0)).save(root / "c.png")  # in another format
    c = dataclasses.replace(c, file=root / "c.png", source="c.png")
    out = tmp_path / "out"
    assert refusal([a, b, c], out, workers=workers) == (
        "a.tif of patient a_F01 and c.png of patient c_F01 have the same pixels: a leak where one "
        "is trained on and the other tested; put the right picture in place of one, or remove it "
        f"and {out}, or set `allow_duplicates`"
    )
    assert not (out / "metadata.jsonl").exists()
    (row,) = table(out)  # and their patches are not told apart from them
    assert row == {
        **{"kind": "equal mammograms", "similarity": "1.0"},
        **{"first_patient": "a_F01", "first_source": "a.tif", "first_name": "a"},
        **{"second_patient": "c_F01", "second_source": "c.png", "second_name": "c"},
    }
    allowed = run([a, b, c], out, allow_duplicates=True)
    assert allowed.reused == 3
    assert {record.image_id for record in allowed.records} == {"a", "b", "c"}
    assert [pair.is_leak for pair in allowed.duplicates] == [True]
    assert duplicates.lines(allowed.duplicates) == [
        "1 pair of equal mammograms of two patients: a.tif of patient a_F01, c.png of patient c_F01"
    ]
    PIL.Image.fromarray(drawn(2)).save(root / "c.png")
    mended = run([a, b, c], out)
    assert (mended.reused, mended.duplicates) == (2, ())
    assert not (out / "duplicates.csv").exists()


def test_a_mammogram_of_one_patient_is_listed(root, tmp_path):
    a, b = (mammogram(root, name, drawn(0), "1_F01") for name in "ab")
    result = run([a, b, mammogram(root, "c", drawn(1))], tmp_path / "out")
    (pair,) = result.duplicates
    assert (pair.kind, pair.is_leak) == ("equal mammograms", False)
    assert "1 pair of equal mammograms of one patient" in duplicates.lines([pair])[0]


def test_several_are_counted_and_each_is_paired_with_the_first(root, tmp_path):
    mammograms = [mammogram(root, name, drawn(0)) for name in "abc"]
    out = tmp_path / "out"
    line = refusal(mammograms, out)
    assert f"have the same pixels, and so has 1 more in {out}/duplicates.csv: a leak" in line
    assert [(r["first_name"], r["second_name"]) for r in table(out)] == [("a", "b"), ("a", "c")]


def test_an_equal_patch_of_another_mammogram_is_refused(root, tmp_path):
    first, second = drawn(0), drawn(1)
    second[20:41, 20:35] = first[20:41, 20:35]
    mammograms = [mammogram(root, "a", first), mammogram(root, "b", second)]
    line = refusal(mammograms, tmp_path / "out")
    assert line.startswith(
        "a.tif (a_lesion_7_z1) of patient a_F01 and b.tif (b_lesion_7_z1) of patient b_F01 are the "
        "same patch: a leak"
    )
    result = run(mammograms, tmp_path / "out", allow_duplicates=True)
    assert [pair.kind for pair in result.duplicates] == ["equal patches"]


@pytest.mark.parametrize("stray", [0, 5, 40])
def test_patches_that_show_nothing_are_no_duplicates(root, tmp_path, stray):
    first, second = drawn(0), drawn(1)
    for pixels in (first, second):
        pixels[20:41, 20:35] = 9
        pixels[30, 20:35][: stray % 15] = 200
        pixels[35:38, 21:34][:, : stray // 3] = 200
    mammograms = [mammogram(root, "a", first), mammogram(root, "b", second)]
    if stray < 40:
        assert run(mammograms, tmp_path / "out").duplicates == ()
    else:  # more than a twentieth of its pixels
        assert "are the same patch" in refusal(mammograms, tmp_path / "out")


def test_blank_mammograms_are_no_duplicates(root, tmp_path):
    blank = np.full((48, 40), 7, np.uint8)
    mammograms = [mammogram(root, "a", blank), mammogram(root, "b", blank)]
    assert run(mammograms, tmp_path / "out").duplicates == ()


@pytest.mark.parametrize("is_leak", [False, True])
def test_a_folder_of_an_earlier_version_goes_on_and_is_searched(root, tmp_path, is_leak):
    mammograms = [mammogram(root, n, drawn(0 if is_leak else k)) for k, n in enumerate("ab")]
    out = tmp_path / "out"
    run(mammograms, out, allow_duplicates=True)
    metadata = (out / "metadata.jsonl").read_bytes()
    pictures = {}
    for path in out.glob("patches/*/mammogram.json"):  # which kept no picture
        content = json.loads(path.read_text())
        pictures[path] = content.pop("picture")
        path.write_text(json.dumps(content))
    (out / "duplicates.csv").unlink(missing_ok=True)
    if is_leak:
        assert "a.tif of patient a_F01 and b.tif" in refusal(mammograms, out)
    result = run(mammograms, out, allow_duplicates=True)
    assert (result.reused, len(result.duplicates)) == (2, int(is_leak))
    assert (out / "metadata.jsonl").read_bytes() == metadata
    assert {path: json.loads(path.read_text())["picture"] for path in pictures} == pictures


def test_pictures_are_the_pixels_of_the_file(root, tmp_path):
    run([mammogram(root, "a", drawn(3))], tmp_path / "out")
    content = json.loads((tmp_path / "out/patches/a/mammogram.json").read_text())
    pixels = tifffile.imread(root / "a.tif")
    assert duplicates.Picture(**content["picture"]) == duplicates.picture(pixels)
    assert duplicates.picture(pixels).pixels_sha256 == duplicates.pixels_digest(pixels)
