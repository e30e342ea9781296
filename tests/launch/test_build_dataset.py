"""`launch.build_dataset`: what it builds, says and refuses; bad input in the midst of good."""

import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import commands
import numpy as np
import PIL.Image
import pytest
import tifffile
import tiny_bcdr
from absl.testing import flagsaver

from data_pipeline import load, mias, overview, query
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Skip
from launch import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHANTOM = (
    *("--phantom_film_patients=2", "--phantom_digital_patients=2", "--phantom_normal_patients=3"),
    *("--phantom_film_scale=0.15", "--phantom_digital_scale=0.1"),
)


def process(*arguments):
    """The command line as users give it."""
    return [sys.executable, "-m", "launch.build_dataset", *arguments]


@pytest.fixture
def build(capsys):
    """Runs the launcher in this process, which is faster; returns what it printed."""
    from absl import flags

    from launch import build_dataset

    def build(*arguments, workers=1):
        with flagsaver.flagsaver():
            flags.FLAGS(["build_dataset", *arguments, f"--workers={workers}"])
            build_dataset.main()
        return capsys.readouterr().out

    return build


def refusal(build, *arguments):
    with pytest.raises(DataError) as caught:
        build(*arguments)
    assert "\n" not in str(caught.value)
    return cli.spelled(str(caught.value))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tiny_bcdr.write(tmp_path_factory.mktemp("raw") / "bcdr")


def contents(folder, pattern):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob(pattern)}


def skips(data_dir, name="bcdr_patches_8"):
    """Reasons by (source, where)."""
    path = data_dir / "extracted" / name / "skipped.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {(row["source"], row["where"]): row["reason"] for row in rows}


def test_the_phantom_from_nothing(tmp_path, raw):
    data_dir = tmp_path / "data"
    arguments = ["--source=phantom", f"--data_dir={data_dir}", "--patch_size=8", "--workers=1"]
    command = process(*arguments, *PHANTOM)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert contents(data_dir / "phantom", "*.tif") == contents(raw, "*.tif")
    wanted = collections.Counter()
    for (name, _, classification), number in tiny_bcdr.counted(raw).items():
        wanted[name, classification] += number
        wanted["all", classification] += number
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == [*sorted(tiny_bcdr.SETS), "all"]
    for name, patients, *numbers in rows:
        assert int(patients) == {"DN01": 3, "all": 13}.get(name, 2)
        assert [*map(int, numbers)] == [wanted[name, c] for c in ("Normal", "Benign", "Malign")]
    assert "is prepared as g1_8, g2_8, g3_8, all_8" in done.stdout
    bars = done.stderr.replace("\r", "\n")
    assert all(bar in bars for bar in ("phantom: 100%", "patches/s]", "packing: 100%"))
    assert "Downloading" not in done.stdout + done.stderr
    with PIL.Image.open(data_dir / "extracted/bcdr_patches_8/overview.png") as page:
        assert page.format == "PNG"
        assert page.width > 1000
        assert np.unique(np.array(page.convert("L"))).size > 100
    (found, *_) = load.load(data_dir, query.parse("bcdr_patches/g1_8:train[classification=Malign]"))
    assert found[0].synthetic
    plan = json.loads((data_dir / "extracted/bcdr_patches_8/extraction.json").read_text())
    assert plan["settings"]["film_window"] == tiny_bcdr.FILM_WINDOW


def test_the_same_again_changes_nothing_and_other_settings_are_refused(tmp_path, build):
    arguments = ["--source=phantom", f"--data_dir={tmp_path}", "--patch_size=8", *PHANTOM]
    said = build(*arguments)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for folder in ("bcdr_patches", "phantom")
        for path in (tmp_path / folder).rglob("*")
        if path.is_file()
    }
    assert build(*arguments) == said
    for path, (time_written, data) in before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (time_written, data)
    line = refusal(build, *arguments, "--phantom_seed=1")
    assert "seed = 0 there, seed = 1 asked for" in line
    native = build(*arguments[:2], "--patch_size=native", *PHANTOM)
    assert "is prepared as g1_native, g2_native, g3_native, all_native" in native


def write_film(raw_dir, number, seed=None):
    """A film with tissue of its own; windows start every 179 pixels: three by three are half."""
    rng = np.random.default_rng(number if seed is None else seed)
    pixels = np.zeros((1024, 1024), np.uint8)
    pixels[:600, :500] = np.kron(rng.integers(80, 120, (30, 25)), np.ones((20, 20)))
    path = raw_dir / f"mdb{number:03d}.pgm"
    path.write_bytes(b"P5\n1024 1024\n255\n" + pixels.tobytes())
    return path


def test_films_of_two_patients_with_the_same_pixels(tmp_path):
    raw_dir = tmp_path / "mias"
    raw_dir.mkdir()
    (raw_dir / mias.INFO).write_text("\n".join(f"mdb{n:03d} G NORM" for n in range(1, 9)))
    for number in (1, 3, 5, 7):
        write_film(raw_dir, number)
    write_film(raw_dir, 6, seed=3)
    data_dir = tmp_path / "data"
    arguments = ["--source=mias", f"--raw_dir={raw_dir}", f"--data_dir={data_dir}"]
    arguments += ["--patch_size=8", "--workers=1"]
    line = commands.refused("build_dataset", *arguments)
    assert line.startswith("mdb003.pgm of patient 2_MIAS and mdb006.pgm of patient 3_MIAS have the")
    assert line.endswith(", or set --allow_duplicates")
    assert not (data_dir / "mias_patches").exists()
    status, said, _ = commands.run("build_dataset", *arguments, "--allow_duplicates")
    assert status == 0
    assert (
        "1 pair of equal mammograms of two patients: mdb003.pgm of patient 2_MIAS, mdb006" in said
    )
    assert "are in " + str(data_dir / "extracted/mias_patches_8/duplicates.csv") in said
    assert re.search(r"^MIAS +4 +45 +0 +0$", said, re.MULTILINE)


def test_near_copies_of_films_are_listed(tmp_path, build):
    raw_dir = tmp_path / "mias"
    raw_dir.mkdir()
    (raw_dir / mias.INFO).write_text("\n".join(f"mdb{n:03d} G NORM" for n in range(1, 9)))
    header = len(b"P5\n1024 1024\n255\n")
    data = [write_film(raw_dir, number).read_bytes() for number in (1, 3, 5)][1]
    pixels = np.frombuffer(data[header:], np.uint8).reshape(1024, 1024)
    changed = np.roll(pixels[:, ::-1], 2, axis=0) // 2 + 30
    (raw_dir / "mdb007.pgm").write_bytes(data[:header] + changed.tobytes())
    said = build(
        "--source=mias", f"--raw_dir={raw_dir}", f"--data_dir={tmp_path}", "--patch_size=8"
    )
    near = r"1 pair of near copies of two patients: mdb003\.pgm of patient 2_MIAS, mdb007\.pgm of"
    assert re.search(near + r" patient 4_MIAS \((0\.9\d*|1\.000)\)", said)
    (row,) = (tmp_path / "extracted/mias_patches_8/duplicates.csv").read_text().splitlines()[1:]
    assert row.startswith("near copies,")


def test_mini_mias_in_part(tmp_path, build):
    raw_dir = tmp_path / "mias"
    raw_dir.mkdir()
    rows = [f"mdb{n:03d} G NORM" for n in range(1, 323)]
    rows[7] = "mdb008 G SPIC M 300 400 20"
    (raw_dir / mias.INFO).write_text("\n".join(rows))
    for number in (1, 4, 8):
        write_film(raw_dir, number)
    (raw_dir / "mdb009.pgm").write_bytes(b"P5\n1024 1024\n255\n" + bytes(1000))
    said = build(
        "--source=mias", f"--raw_dir={raw_dir}", f"--data_dir={tmp_path}", "--patch_size=8"
    )
    assert re.search(r"^MIAS +3 +18 +0 +3$", said, re.MULTILINE)
    assert "1: Info.txt: 318 of the films listed are not in the folder (mdb002, mdb003," in said
    assert len(skips(tmp_path, "mias_patches_8")) == 2
    assert skips(tmp_path, "mias_patches_8")["mdb009.pgm", "image"].startswith("mdb009.pgm: ")


def table(said):
    """The rows of counts that were printed."""
    return re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", said, re.MULTILINE)


def test_by_the_rules_of_the_thesis_and_back_from_its_format(raw, tmp_path, build):
    arguments = ["--source=bcdr", f"--raw_dir={raw}", "--patch_size=8"]
    clean = build(*arguments, f"--data_dir={tmp_path / 'clean'}")
    assert "in the format of the thesis" not in clean
    assert not list(tmp_path.rglob("thesis_metadata.jsonl"))
    rules = ["--patch_rules=thesis", f"--data_dir={tmp_path / 'thesis'}"]
    said = build(*arguments, *rules, "--thesis_metadata")
    folder = tmp_path / "thesis/extracted/bcdr_patches_8"
    assert f"{folder / 'thesis_metadata.jsonl'} has the metadata in the format" in said
    plan = json.loads((folder / "extraction.json").read_text())
    assert plan["settings"]["rules"] == "thesis"
    normal = {name: (int(n), int(m)) for name, _, n, m, _ in table(clean)}
    for name, _, fewer, benign, _ in table(said):  # windows keep away from lesions
        assert int(fewer) < normal[name][0] or name[0] == "D"
        assert int(benign) == normal[name][1]
    line = refusal(build, *arguments, "--patch_rules=clean", rules[1])
    assert "has other settings (rules thesis there, clean here)" in line
    again = build(
        "--source=thesis", f"--raw_dir={folder}", f"--data_dir={tmp_path}", "--patch_size=8"
    )
    assert table(again) == table(said)
    assert "thesis_patches is prepared as g1_8, g2_8, g3_8, all_8" in again
    wanted, found = (
        load.load(where, query.parse(f"{name}/all_8:all[classification=Malign]"))
        for where, name in [(tmp_path / "thesis", "bcdr_patches"), (tmp_path, "thesis_patches")]
    )
    assert [(r.patch_id, r.pixels_sha256) for r, _ in found] == [
        (r.patch_id, r.pixels_sha256) for r, _ in wanted
    ]


def test_a_thesis_folder_with_faults_is_a_line_each_and_the_rest_is_built(raw, tmp_path, build):
    build(
        *("--source=bcdr", f"--raw_dir={raw}", f"--data_dir={tmp_path / 'data'}"),
        *("--patch_size=8", "--thesis_metadata"),
    )
    folder = tmp_path / "data/extracted/bcdr_patches_8"
    lines = (folder / "thesis_metadata.jsonl").read_text().splitlines()
    gone = json.loads(lines[4])["file_name"]
    (folder / gone).unlink()
    lines[1] = lines[1][:40]
    (folder / "thesis_metadata.jsonl").write_text("\n".join(lines))
    said = build(
        "--source=thesis", f"--raw_dir={folder}", f"--data_dir={tmp_path}", "--patch_size=8"
    )
    assert "2 skipped, by reason:" in said
    assert "1: thesis_metadata.jsonl line 2: is no JSON (" in said
    assert f"1: thesis_metadata.jsonl line 5: {gone} is missing; restore it" in said
    assert len(skips(tmp_path, "thesis_patches_8")) == 2
    total = sum(map(int, table(said)[-1][2:]))
    assert total == len(lines) - 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--source=bcdr"], "--source=bcdr needs --raw_dir"),
        (["--source=thesis"], "needs --raw_dir, the folder of the patches"),
        (["--source=thesis", "--raw_dir=none"], "none: has no metadata.jsonl; give the folder"),
        (["--source=bcdr", "--raw_dir=none"], "none: holds no folder BCDR-<set>_dataset of the"),
        (["--source=mias", "--raw_dir=none"], "none: has no Info.txt; give the folder"),
        (["--source=phantom", "--patch_size=big"], "--patch_size=big is no size"),
        (["--source=phantom", "--patch_size=0"], "write pixels from 1 to 9999, or native"),
        (["--source=phantom", "--phantom_difficulty=2"], "difficulty is 2.0; it must be"),
        (["--source=phantom", "--phantom_film_patients=0"], "film_patients is 0; it must be"),
        (["--source=mias", "--raw_dir=x", "--phantom_seed=1"], "--phantom_seed is for --source="),
    ],
)
def test_bad_commands_say_what_is_wrong_and_write_nothing(tmp_path, build, arguments, problem):
    assert problem in refusal(build, *arguments, f"--data_dir={tmp_path / 'data'}")
    assert not (tmp_path / "data").exists()


def test_a_bad_command_is_one_line_and_exit_status_2(tmp_path):
    command = process("--source=bcdr", f"--raw_dir={tmp_path}", f"--data_dir={tmp_path / 'data'}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}: holds no folder BCDR-<set>_dataset")


def test_output_that_cannot_be_written(raw, tmp_path, build):
    (tmp_path / "file").write_text("not a folder")
    where = f"--data_dir={tmp_path / 'file' / 'data'}"
    line = refusal(build, "--source=bcdr", f"--raw_dir={raw}", where)
    assert "file/data/extracted/bcdr_patches_224: cannot be written to (Not a directory)" in line
    line = refusal(build, "--source=phantom", where)
    assert "the phantom cannot be written (Not a directory)" in line


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk"
)
@pytest.mark.parametrize(  # full while extracting, while packing
    "size", [pytest.param("400k", marks=pytest.mark.slow), "1m"]
)
def test_a_full_disk_is_one_line_and_goes_on_later(raw, tmp_path, build, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    arguments = ["--source=bcdr", f"--raw_dir={raw}", f"--data_dir={disk}", "--patch_size=8"]
    try:
        assert "No space left" in refusal(build, *arguments)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        build(*arguments)
        build(*arguments[:2], f"--data_dir={tmp_path / 'data'}", "--patch_size=8")
        for pattern in ("*.png", "*.array_record*", "*.jsonl"):
            assert contents(disk, pattern) == contents(tmp_path / "data", pattern)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "reached",
    ["extracted/*/patches/*/*_z2.png", pytest.param("bcdr_patches/g1/*", marks=pytest.mark.slow)],
)
def test_a_killed_build_goes_on(raw, tmp_path, build, reached):
    arguments = ["--source=bcdr", f"--raw_dir={raw}"]
    killed = process(*arguments, f"--data_dir={tmp_path / 'killed'}", "--workers=1")
    child = subprocess.Popen(killed, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while not any((tmp_path / "killed").glob(reached)):
        assert child.poll() is None
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for name in ("killed", "whole"):
        build(*arguments, f"--data_dir={tmp_path / name}")
    for pattern in ("*.png", "*.array_record*", "*.jsonl", "metadata.json", "*.csv"):
        found = contents(tmp_path / "killed", pattern)
        assert found == contents(tmp_path / "whole", pattern)
        assert found
    assert not list((tmp_path / "killed").rglob("incomplete.*"))


def test_a_tree_with_only_some_sets(raw, tmp_path, build):
    some = tmp_path / "raw"
    for name in ("D02", "F03"):
        folder = f"BCDR-{name}_dataset"
        shutil.copytree(raw / folder, some / folder)
    said = build("--source=bcdr", f"--raw_dir={some}", f"--data_dir={tmp_path}", "--patch_size=8")
    assert re.findall(r"^(\w+) +\d+ +\d+ +\d+ +\d+$", said, re.MULTILINE) == ["D02", "F03", "all"]


def test_columns_that_are_missing_or_renamed(raw, tmp_path, build):
    copy = shutil.copytree(raw, tmp_path / "raw")
    tiny_bcdr.rewrite(tiny_bcdr.table(copy, "F01", "outlines"), "lw_x_points", "x_points")
    tiny_bcdr.rewrite(tiny_bcdr.table(copy, "DN01", "img"), "image_type_id,", "")
    arguments = [f"--raw_dir={copy}", f"--data_dir={tmp_path}", "--patch_size=8"]
    said = build("--source=bcdr", *arguments)
    rows = re.findall(r"^(\w+) +\d+ +\d+ +\d+ +\d+$", said, re.MULTILINE)
    assert rows == ["D01", "D02", "F02", "F03", "all"]
    left_out = [reason for reason in skips(tmp_path).values() if "is left out" in reason]
    assert len(left_out) == 2
    assert any("no column 'lw_x_points'" in reason for reason in left_out)
    assert any("no column 'image_type_id'" in reason for reason in left_out)


def spoil(raw):
    """Spoils an image or a row each; {fault: (image, (source, where), part of the reason)}."""
    faults = {}

    def place(name, number, kind="img"):
        row = tiny_bcdr.rows(raw, name, kind)[number]
        file = tiny_bcdr.image(raw, name, row)
        return file, file.relative_to(raw).as_posix(), row

    file, source, _ = place("F01", 0)
    tifffile.imwrite(file, tifffile.imread(file).astype(np.uint16))
    faults["16 bits"] = file, (source, "image"), "has more than 8 bits a pixel"
    file, source, _ = place("F01", 1)
    tifffile.imwrite(file, np.stack([tifffile.imread(file)] * 3, -1), photometric="rgb")
    faults["RGB"] = file, (source, "image"), "is in colour"
    file, source, _ = place("DN01", 0)
    file.write_bytes(file.read_bytes()[:-300])
    faults["truncated"] = file, (source, "image"), "is damaged"
    file, source, _ = place("DN01", 1)
    elsewhere = raw.parent / "elsewhere.tif"
    os.replace(file, elsewhere)
    os.symlink(elsewhere, file)
    table = "BCDR-DN01_dataset/bcdr_dn01_img.csv"
    faults["link"] = file, (table, "line 3"), f"{source} leads out of its source"
    file, source, row = place("D01", 0, "outlines")
    mask = file.with_name(f"{file.stem}_mask_id_{row['lesion_id']}.tif")
    tifffile.imwrite(mask, tifffile.imread(mask)[:-1])
    where = source, f"lesion {row['lesion_id']}"
    faults["mask"] = file, where, f"{mask.name}: the mask is "
    outlines = tiny_bcdr.table(raw, "F02", "outlines")
    file, source, row = place("F02", 0, "outlines")
    tiny_bcdr.rewrite(outlines, re.escape(row["lw_x_points"]), " 9000 9010 9010 9000")
    tiny_bcdr.rewrite(outlines, re.escape(row["lw_y_points"]), " 5 5 15 15")
    faults["outside"] = file, (source, f"lesion {row['lesion_id']}"), "outside the"
    file, source, row = place("D02", 0, "outlines")
    outlines = tiny_bcdr.table(raw, "D02", "outlines")
    tiny_bcdr.rewrite(outlines, re.escape(row["lw_x_points"]), " 30 30 30")
    tiny_bcdr.rewrite(outlines, re.escape(row["lw_y_points"]), " 5 15 25")
    faults["no area"] = file, (source, f"lesion {row['lesion_id']}"), "without an area"
    file, source, row = place("F03", 0)
    for kind in ("img", "outlines"):
        line = rf"(?m)^{row['patient_id']}, ?{row['study_id']},"
        tiny_bcdr.rewrite(tiny_bcdr.table(raw, "F03", kind), line, f"../../{row['study_id']},9,")
    table = "BCDR-F03_dataset/BCDR-F03/bcdr_f03_img.csv"
    faults["path"] = file, (table, "line 2"), "patient_id is '../../"
    return faults


@pytest.fixture(scope="module")
def spoilt(raw, tmp_path_factory):
    """A tree with one fault of each kind, and what is built of it."""
    folder = tmp_path_factory.mktemp("spoilt")
    faults = spoil(shutil.copytree(raw, folder / "raw"))
    return folder, faults


@pytest.fixture
def built(spoilt, raw, build):
    """The data_dirs of the spoilt tree and of the whole one."""
    folder, _ = spoilt
    for data_dir, root in ((folder / "data", folder / "raw"), (folder / "whole", raw)):
        if not data_dir.exists():
            build("--source=bcdr", f"--raw_dir={root}", f"--data_dir={data_dir}", "--patch_size=8")
    return folder / "data", folder / "whole"


@pytest.mark.parametrize(
    "fault", ["16 bits", "RGB", "truncated", "link", "mask", "outside", "no area", "path"]
)
def test_a_fault_is_one_entry_in_the_skip_report(spoilt, built, fault):
    folder, faults = spoilt
    _, key, reason = faults[fault]
    found = skips(built[0])
    assert reason in found[key]
    assert "\n" not in found[key]
    assert str(folder) not in found[key]


def test_all_else_is_built_as_if_there_were_no_fault(spoilt, built):
    _, faults = spoilt
    spoilt_images = {file.stem for file, _, _ in faults.values()}
    found, whole = (contents(d / "extracted/bcdr_patches_8/patches", "*.png") for d in built)
    named = re.compile(r".*?_(img_\w+?)/")

    def untouched(files):
        return {
            name: data for name, data in files.items() if named.match(name)[1] not in spoilt_images
        }

    assert untouched(found)
    assert untouched(found) == untouched(whole)
    assert set(found) < set(whole)
    for d in built:
        assert all((d / f"bcdr_patches/{g}_8/1.0.0").is_dir() for g in ("g1", "g2", "g3", "all"))


def test_skips_are_summed_up_by_kind():
    skips = [Skip("a.csv", f"line {n}", f"lesion {n} of img_{n}.tif again") for n in (5, 7, 9)]
    skips.insert(1, Skip("b.csv", "", "is empty; restore it"))
    assert overview.skip_lines(skips) == [
        "4 skipped, by reason:",
        "3 such as: a.csv line 5: lesion 5 of img_5.tif again",
        "1: b.csv: is empty; restore it",
    ]
    assert overview.skip_lines([]) == ["0 skipped"]
    many = [Skip("a.csv", "", f"fault {chr(97 + n)}") for n in range(20)]
    lines = overview.skip_lines([*many, many[3]])
    assert lines[1] == "2 such as: a.csv: fault d"
    assert sum(int(re.search(r"\d+", line)[0]) for line in lines[1:]) == 21
    assert lines[-1] == "and 8 for other reasons"
