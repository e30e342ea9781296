"""Extraction: what lands on disk, whatever the workers, the interruptions and the bad files."""

import dataclasses
import errno
import fcntl
import json
import os

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import tifffile

from data_pipeline import cut, extract, patch_records, pool
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Lesion, Mammogram, Reading, Skip
from data_pipeline.patches import PatchSettings

SETTINGS = PatchSettings(size=None, zooms=(1, 2), film_window=16)


def image_of(seed, height=48, width=40):
    """Noise, brighter on the left half."""
    image = np.random.default_rng(seed).integers(0, 90, (height, width))
    image[:, : width // 2] += 120
    return image.astype(np.uint8)


def mammogram(root, name, seed, **changes):
    """Writes a TIFF and describes it: patient 'name', one lesion in the upper right corner."""
    tifffile.imwrite(root / f"{name}.tif", image_of(seed))
    square = ((30, 2), (35, 2), (35, 9), (30, 9))
    values = {
        "image_id": name,
        "dataset": "F01",
        "patient_id": f"{name}_F01",
        "file": root / f"{name}.tif",
        "source": f"{name}.tif",
        "view": "MLO",
        "laterality": "L",
        "format": "Film",
        "age": 50.0,
        "density": None,
        "lesions": (Lesion("7", "Malign", square, findings=frozenset({"nodule"})),),
        "may_give_healthy": True,
    }
    return Mammogram(**values | changes)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def reading(root):
    """Four mammograms: film, digital without lesion, one that gives no healthy patch, film."""
    mammograms = (
        mammogram(root, "a", 0),
        mammogram(root, "b", 1, lesions=(), format="Digital", dataset="DN01", age=None),
        mammogram(root, "c", 2, may_give_healthy=False, synthetic=True),
        mammogram(root, "d", 3),
    )
    return Reading(mammograms, (Skip("x.csv", "row 3", "no image"),))


def run(reading, out, settings=SETTINGS, workers=1, progress=False):
    return extract.extract(reading, out, settings, workers=workers, progress=progress)


def tree(folder):
    """{path relative to the folder: content} of all files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def skips_in(out):
    lines = (out / "skipped.jsonl").read_text().splitlines()
    return tuple(Skip(**json.loads(line)) for line in lines)


def refusal(*arguments, **options):
    with pytest.raises(DataError) as caught:
        run(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written(reading, tmp_path):
    out = tmp_path / "deep" / "out"
    result = run(reading, out)
    assert patch_records.read_metadata(out) == result.records
    assert skips_in(out) == result.skips == reading.skips
    assert result.reused == 0
    # Windows of 16 every 12 pixels that are half breast, so of columns 0 to 20: at 0 and at 12.
    film = [f"healthy_{n:03d}" for n in range(6)]
    # Windows of 20 % of 40 side by side; 60 % breast leaves the first two of each of six rows.
    digital = [f"healthy_{n:03d}" for n in range(12)]
    lesion = ["lesion_7_z1", "lesion_7_z2"]
    names = {"a": lesion + film, "b": digital, "c": lesion, "d": lesion + film}
    ids = [f"{image}_{name}" for image, listed in names.items() for name in listed]
    assert [record.patch_id for record in result.records] == ids
    files = {f"patches/{patch_id[0]}/{patch_id}.png" for patch_id in ids}
    files |= {f"patches/{i[0]}/{i}_mask.png" for i in ids if "lesion" in i}
    others = {f"patches/{image}/mammogram.json" for image in names}
    others |= {"metadata.jsonl", "skipped.jsonl", "extraction.json", ".lock"}
    others |= {"lesions.csv", "healthy_patches.csv", "mammograms.csv"}
    assert set(tree(out)) == files | others


def test_patches_show_what_their_records_say(reading, tmp_path):
    result = run(reading, tmp_path / "out")
    for record in result.records:
        with PIL.Image.open(tmp_path / "out" / record.file_name) as png:
            assert (png.format, png.mode) == ("PNG", "L")
            pixels = np.array(png)
        image = image_of("abcd".index(record.image_id))
        left, top, right, bottom = record.box
        np.testing.assert_array_equal(pixels, image[top:bottom, left:right])
        assert record.pixels_sha256 == patch_records.pixels_digest(pixels)


@pytest.mark.parametrize("size", [None, 21])
def test_masks_show_where_the_lesion_is(root, tmp_path, size):
    """Against the polygon drawn at the patch's own resolution, by Pillow."""
    outline = ((20, 8), (33, 14), (30, 30), (17, 26))
    image = mammogram(root, "a", 0, lesions=(Lesion("7", "Malign", outline),))
    settings = dataclasses.replace(SETTINGS, size=size)
    result = run(Reading((image,), ()), tmp_path / "out", settings)
    for record in (record for record in result.records if record.zoom_group):
        path = tmp_path / "out" / record.file_name
        mask = np.array(PIL.Image.open(path.with_name(f"{path.stem}_mask.png")))
        assert mask.shape == np.array(PIL.Image.open(path)).shape
        assert set(np.unique(mask)) == {0, 255}
        height, width = mask.shape
        sides = np.array([width / record.box.width, height / record.box.height])
        corners = (np.array(outline) + 0.5 - record.box[:2]) * sides - 0.5
        drawn = PIL.Image.new("1", (width, height))
        PIL.ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in corners], fill=1)
        assert np.mean((mask > 0) != np.array(drawn)) < (0.08 if size else 0.05)
        assert 0.1 < np.mean(mask > 0) < 0.8


def test_records_carry_what_is_known_of_the_mammogram(reading, tmp_path):
    records = {record.patch_id: record for record in run(reading, tmp_path / "out").records}
    lesion = records["c_lesion_7_z2"]
    assert lesion == patch_records.PatchRecord(
        patch_id="c_lesion_7_z2",
        file_name="patches/c/c_lesion_7_z2.png",
        patient_id="c_F01",
        image_id="c",
        dataset="F01",
        source="c.tif",
        view="MLO",
        laterality="L",
        format="Film",
        classification="Malign",
        lesion_id="7",
        findings=("nodule",),
        zoom_group=2,
        box=Box(27, 0, 39, 14),  # 6 x 8 pixels doubled about their centre, clipped at the top
        age=50.0,
        density=None,
        synthetic=True,
        pixels_sha256=lesion.pixels_sha256,
    )
    healthy = records["b_healthy_003"]
    assert (healthy.classification, healthy.lesion_id, healthy.zoom_group) == ("Normal", None, 0)
    assert (healthy.format, healthy.findings, healthy.age) == ("Digital", (), None)
    assert healthy.box == Box(8, 8, 16, 16)


def test_the_plan_is_written(reading, tmp_path):
    run(reading, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "extraction.json").read_text())
    assert plan["settings"] == {**dataclasses.asdict(SETTINGS), "zooms": [1, 2]}
    assert {"numpy", "singan-jax", "python"} <= plan["versions"].keys()
    assert isinstance(plan["command"], list)


def test_workers_change_nothing(reading, tmp_path):
    one = run(reading, tmp_path / "one")
    three = run(reading, tmp_path / "three", workers=3)
    assert three == one
    assert tree(tmp_path / "three") == tree(tmp_path / "one")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("files_written", [0, 1, 3, 10, 22])
def test_an_interrupted_run_goes_on(reading, tmp_path, monkeypatch, stop, files_written):
    run(reading, tmp_path / "whole")
    out = tmp_path / "out"
    left = files_written
    save = PIL.Image.Image.save

    def save_some(self, path, **options):
        nonlocal left
        if left == 0:
            path.write_bytes(b"half a PNG")
            raise stop
        left -= 1
        save(self, path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(PIL.Image.Image, "save", save_some)
        with pytest.raises(stop):
            run(reading, out)
    assert not (out / "metadata.jsonl").exists()
    result = run(reading, out)
    assert result.reused == {0: 0, 1: 0, 3: 0, 10: 1, 22: 2}[files_written]
    assert tree(out) == tree(tmp_path / "whole")
    assert run(reading, out).reused == 4
    assert tree(out) == tree(tmp_path / "whole")


def test_a_bad_image_does_not_stop_the_rest_and_is_done_once_mended(reading, root, tmp_path):
    run(reading, tmp_path / "whole")
    data = {name: (root / f"{name}.tif").read_bytes() for name in "ab"}
    (root / "a.tif").write_bytes(data["a"][:-50])
    (root / "b.tif").unlink()
    out = tmp_path / "out"
    result = run(reading, out, workers=2)
    assert {record.image_id for record in result.records} == {"c", "d"}
    assert skips_in(out) == result.skips
    reasons = {skip.source: skip for skip in result.skips[1:]}
    assert reasons.keys() == {"a.tif", "b.tif"}
    assert {skip.where for skip in reasons.values()} == {"image"}
    assert "damaged" in reasons["a.tif"].reason
    assert "No such file" in reasons["b.tif"].reason
    for name in "ab":
        (root / f"{name}.tif").write_bytes(data[name])
    assert run(reading, out).reused == 2
    assert tree(out) == tree(tmp_path / "whole")


def test_an_image_that_changed_is_done_again(reading, root, tmp_path):
    out = tmp_path / "out"
    run(reading, out)
    tifffile.imwrite(root / "a.tif", image_of(99))
    assert run(reading, out).reused == 3
    run(reading, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")
    (root / "a.tif").write_bytes(b"")
    assert {record.image_id for record in run(reading, out).records} == {"b", "c", "d"}
    assert not (out / "patches" / "a").exists()


def mask_of(root, shape):
    tifffile.imwrite(root / "mask.tif", np.full(shape, 255, np.uint8))
    return root / "mask.tif"


@pytest.mark.parametrize(
    ("lesion", "reason"),
    [
        (lambda root: Lesion("2", "Benign", mask_file=mask_of(root, (40, 48))), "mask is 48x40"),
        (lambda root: Lesion("2", "Benign", mask_file=root / "none.tif"), "No such file"),
        (lambda root: Lesion("2", "Benign", ((90, 90), (99, 90), (95, 99))), "outside the 40x48"),
        (lambda root: Lesion("2", "Benign", ((9, 9), (9, 20), (9, 15))), "without an area"),
    ],
)
def test_a_bad_lesion_is_skipped_and_keeps_healthy_patches_away(root, tmp_path, lesion, reason):
    first = mammogram(root, "a", 0)
    reading = Reading((dataclasses.replace(first, lesions=(*first.lesions, lesion(root))),), ())
    result = run(reading, tmp_path / "out")
    assert [record.patch_id for record in result.records] == ["a_lesion_7_z1", "a_lesion_7_z2"]
    bad, unknown = result.skips
    assert (bad.source, bad.where) == ("a.tif", "lesion 2")
    assert reason in bad.reason
    assert (unknown.source, unknown.where) == ("a.tif", "healthy patches")
    assert "the place of a lesion is unknown" in unknown.reason
    assert run(reading, tmp_path / "out") == (result.records, result.skips, 1, ())


def test_a_mask_decides_where_the_lesion_is_and_is_watched(root, tmp_path):
    mask = np.zeros((48, 40), np.uint8)
    mask[20:24, 8:11] = 255
    tifffile.imwrite(root / "mask.tif", mask)
    lesion = Lesion("1", "Benign", mask_file=root / "mask.tif")
    reading = Reading((mammogram(root, "a", 0, lesions=(lesion,)),), ())
    assert run(reading, tmp_path / "out").records[0].box == Box(8, 20, 11, 24)
    tifffile.imwrite(root / "mask.tif", np.roll(mask, 5, axis=1))
    assert run(reading, tmp_path / "out").records[0].box == Box(13, 20, 16, 24)


def test_a_mammogram_without_a_healthy_window_says_so(root, tmp_path):
    everywhere = Lesion("1", "Benign", ((1, 1), (38, 1), (38, 46), (1, 46)))
    result = run(Reading((mammogram(root, "a", 0, lesions=(everywhere,)),), ()), tmp_path / "out")
    (skip,) = result.skips
    assert skip.where == "healthy patches"
    assert "no window misses every lesion" in skip.reason


def test_no_patch_at_all_is_an_error_that_points_to_the_reasons(reading, root, tmp_path):
    for name in "abcd":
        (root / f"{name}.tif").unlink()
    out = tmp_path / "out"
    assert (
        refusal(reading, out) == f"{out}: no mammogram gave a patch; {out}/skipped.jsonl says why"
    )
    assert len(skips_in(out)) == 5
    assert "no mammogram gave a patch" in refusal(Reading((), ()), tmp_path / "empty")


def test_other_settings_or_another_source_are_refused(reading, root, tmp_path):
    out = tmp_path / "out"
    run(reading, out)
    before = tree(out)
    other = dataclasses.replace(SETTINGS, size=8, zooms=(1, 3))
    message = refusal(reading, out, other)
    assert message.startswith(f"{out}: has other settings (size None there, 8 here, zooms [1, 2]")
    assert message.endswith("; choose another folder, or delete this one to start afresh")
    first, *rest = reading.mammograms
    for changed in (
        (dataclasses.replace(first, age=51.0), *rest),
        (dataclasses.replace(first, lesions=()), *rest),
        rest,
    ):
        message = refusal(Reading(tuple(changed), ()), out)
        assert "holds patches of another source" in message
    assert tree(out) == before
    moved = root.rename(tmp_path / "moved")
    again = tuple(dataclasses.replace(m, file=moved / m.source) for m in reading.mammograms)
    assert run(Reading(again, reading.skips), out).reused == 4
    assert tree(out) == before


def test_what_was_extracted_before_there_were_rules_goes_on_by_the_clean_ones(reading, tmp_path):
    out = tmp_path / "out"
    first = run(reading, out)
    plan = json.loads((out / "extraction.json").read_text())
    assert plan["settings"].pop("rules") == "clean"
    (out / "extraction.json").write_text(json.dumps(plan))
    before = tree(out)
    again = run(reading, out)
    assert (again.records, again.reused) == (first.records, 4)
    assert tree(out) == before
    message = refusal(reading, out, dataclasses.replace(SETTINGS, rules="thesis"))
    assert message.startswith(f"{out}: has other settings (rules clean there, thesis here); choose")
    other = run(reading, tmp_path / "other", dataclasses.replace(SETTINGS, rules="thesis"))
    assert [r.box for r in other.records] != [r.box for r in first.records]
    message = refusal(reading, tmp_path / "other")
    assert "has other settings (rules thesis there, clean here)" in message


def test_the_fingerprint_of_a_source_is_what_it_was_and_radiomics_do_not_count(reading):
    """As recorded before lesions had radiomics, so that these datasets go on."""
    recorded = "d96f442717baebeab4ef41a0a70f24080696bf8960e50624232eedff2e8b84b1"
    assert extract._fingerprint(reading.mammograms) == recorded
    first, *rest = reading.mammograms
    (lesion,) = first.lesions
    described = dataclasses.replace(lesion, radiomics=(("i_mean", 0.5),))
    changed = (dataclasses.replace(first, lesions=(described,)), *rest)
    assert extract._fingerprint(changed) == recorded


def test_a_folder_of_something_else_is_refused(reading, tmp_path):
    (tmp_path / "patches").mkdir()
    message = refusal(reading, tmp_path)
    assert message.startswith(f"{tmp_path}: has patches but no extraction.json")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "extraction.json").write_text('{"format": 2, "sett')
    assert "extraction.json: is damaged" in refusal(reading, tmp_path / "out")
    (tmp_path / "out" / "extraction.json").write_text('{"format": 1}')
    assert "extraction.json: format 1, not 2" in refusal(reading, tmp_path / "out")


def test_a_damaged_unit_is_named(reading, tmp_path):
    run(reading, tmp_path)
    (tmp_path / "patches" / "b" / "mammogram.json").write_text("[")
    message = refusal(reading, tmp_path)
    assert message.startswith(f"{tmp_path}/patches/b/mammogram.json: is damaged")
    assert message.endswith("; delete its folder and repeat")


def test_output_that_cannot_be_written_is_one_line(reading, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        message = refusal(reading, out)
        assert message.startswith(f"{out}: cannot be written to (")
        assert message.endswith("mend this one and repeat the command to go on")

    def full(self, path, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(PIL.Image.Image, "save", full)
        assert "(No space left on device)" in refusal(reading, tmp_path / "out")
    assert len(run(reading, tmp_path / "out").records) == 30


def test_two_at_once_are_refused(reading, tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert "another process is extracting into it" in refusal(reading, tmp_path)
    run(reading, tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "a\n"])
def test_names_that_lead_out_of_the_folder_are_refused(reading, tmp_path, name):
    first = reading.mammograms[0]
    bad_lesion = dataclasses.replace(first, lesions=(Lesion(name, "Benign", ((1, 1), (5, 1))),))
    for bad in (dataclasses.replace(first, image_id=name), bad_lesion):
        assert repr(name) in refusal(Reading((bad,), ()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_mammograms_of_one_name_are_refused(reading, tmp_path):
    twice = Reading((*reading.mammograms, reading.mammograms[1]), ())
    assert refusal(twice, tmp_path / "out") == "two mammograms are named 'b'; rename one of them"


def test_workers_must_be_positive(reading, tmp_path):
    assert refusal(reading, tmp_path / "out", workers=0) == "workers is 0; it must be 1 or more"


def die(job):
    os._exit(9)


def test_a_killed_worker_is_one_line(reading, tmp_path):
    jobs = [cut.Job(m, tmp_path / m.image_id, SETTINGS) for m in reading.mammograms]
    with pytest.raises(DataError, match=r"a worker process was killed.*fewer workers"):
        list(pool.map_in_order(die, jobs, 2))


def test_progress_is_shown_when_asked(reading, tmp_path, capsys):
    run(reading, tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    run(reading, tmp_path / "out", progress=True)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "mammogram/s" in shown
    assert "30 patches, " in shown
    assert " patches/s" in shown
