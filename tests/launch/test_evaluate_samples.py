"""Samples of a small fleet measured: whole folders, and each kind of bad input."""

import csv
import json
import math
import pathlib
import shutil
import subprocess
import sys
import warnings

import numpy as np
import PIL.Image
import pytest
import tiny

import singan_jax
from singan_jax import InputError
from singan_jax.evaluate import inception, measures, sample_folder, summary, texture
from singan_jax.evaluate.frechet import single_image_distance
from singan_jax.images.read import from_float, write_png
from singan_jax.scale.pyramid import Pyramid, build_pyramid
from singan_jax.workdir.enroll import enroll

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = singan_jax.Config(min_size=20, max_size=26)
COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds two images, one of them gray with 16 bits, the record of their fleet, and samples.

    The samples are those of no generator, and nothing is trained: measures ask for neither.
    """
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "images").mkdir()
    write_png(folder / "images" / "rgb.png", tiny.image(1, (27, 30)).pixels)
    gray = tiny.image(2, (27, 30), channels=1).pixels.astype(np.uint16) * 257
    write_png(folder / "images" / "gray.png", gray)
    found, _ = singan_jax.read_images([str(folder / "images")], CONFIG)
    (folder / "fleet").mkdir()
    enroll(folder / "fleet", found, CONFIG)
    lines = []
    for image in found:
        (folder / "samples" / image.name).mkdir(parents=True)
        for n in range(COUNT):
            sample = tiny.image(10 + n, (24, 26), image.shape[2]).pixels
            scale = 257 if image.bit_depth == 16 else 1
            lines.append({"file": f"{image.name}/{n}.png", "member": image.name})
            file = folder / "samples" / lines[-1]["file"]
            write_png(file, sample.astype(image.pixels.dtype) * scale)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "samples" / "manifest.jsonl").write_text(text)
    settings = {"workdir": str(folder / "fleet")}
    (folder / "samples" / "run.json").write_text(json.dumps({"settings": settings}))
    return folder


@pytest.fixture(scope="module")
def fleet(folder):
    return singan_jax.load_fleet(folder / "fleet")


@pytest.fixture(scope="module")
def images(folder):
    found, _ = singan_jax.read_images([str(folder / "images")], CONFIG)
    return {image.name: image for image in found}


@pytest.fixture(scope="module")
def weights():
    """Random ones of Inception's layers."""
    rng = np.random.default_rng(0)
    widths = [3, 32, 32, 64, 80, 192]
    sides = [3, 3, 3, 1, 3]
    return tuple(
        inception.Convolution(
            np.float32(rng.normal(size=(side, side, i, o)) / np.sqrt(side * side * i)),
            np.float32(rng.normal(size=o) / 10),
        )
        for side, i, o in zip(sides, widths[:-1], widths[1:], strict=True)
    )


@pytest.fixture(scope="module")
def measured(folder, fleet, images, weights):
    files = sample_folder.find_samples(folder / "samples")
    return {m.member: m for m in measures.measure_fleet(fleet, images, files, weights, quiet=True)}


def finest(fleet, image):
    """(H, W, C) in [0, 1]: an image as its member was trained on it."""
    plan = Pyramid.of(image.shape[:2], fleet.config)
    return (np.asarray(build_pyramid(image.to_float(), plan)[-1][0]) + 1) / 2


def pixels(path):
    image = np.asarray(PIL.Image.open(path))
    image = image[..., None] if image.ndim == 2 else image
    return image / (65535 if image.max() > 255 else 255)


@pytest.mark.parametrize("name", ["rgb", "gray"])
def test_each_member_is_measured_beside_its_own_image(
    name, measured, folder, fleet, images, weights
):
    found, real = measured[name], finest(fleet, images[name])
    samples = np.stack([pixels(folder / "samples" / name / f"{n}.png") for n in range(COUNT)])
    assert samples.shape[1:] == real.shape
    assert found.of_all["diversity"] == pytest.approx(
        samples.std(axis=0, ddof=1).mean() / real.std(), rel=1e-4
    )
    of_real = inception.features(weights, np.float32(real)[None])
    of_samples = inception.features(weights, np.float32(samples))
    for width, ours, theirs in zip(inception.FEATURES, of_real, of_samples, strict=True):
        expected = [single_image_distance(ours[0], theirs[n]) for n in range(COUNT)]
        np.testing.assert_allclose(found.of_samples[f"sifid_{width}"], expected, rtol=1e-3)
    low, high = real.mean(axis=-1).min(), real.mean(axis=-1).max()
    for image, values in ((real, found.of_real), (samples[1], None)):
        for key, value in texture.texture(np.float32(image), low, high).items():
            ours = values[key] if values else found.of_samples[key][1]
            assert ours == pytest.approx(float(value), rel=1e-3), key
    assert (found.of_samples["filter_bank_distance"] > 0).all()
    assert found.files == tuple(folder / "samples" / name / f"{n}.png" for n in range(COUNT))


def test_a_member_alone_measures_the_same(measured, folder, fleet, images):
    files = sample_folder.find_samples(folder / "samples")
    (alone,) = measures.measure_fleet(fleet, images, {"gray": files["gray"]}, quiet=True)
    together = measured["gray"]
    assert not any(name.startswith("sifid") for name in alone.of_samples)
    for name, values in alone.of_samples.items():
        np.testing.assert_allclose(values, together.of_samples[name], rtol=1e-4, err_msg=name)
    assert alone.of_all == pytest.approx(together.of_all, rel=1e-4)


def test_copies_of_the_image_are_flagged(folder, fleet, images, tmp_path):
    real = finest(fleet, images["rgb"])
    moved = np.roll(real, (1, -2), (0, 1))
    noisy = real + np.random.default_rng(0).normal(0, 0.15 * real.std(), real.shape)
    turned = real[::-1, ::-1]
    files = [tmp_path / f"{n}.png" for n in range(4)]
    for path, image in zip(files, (turned, real, noisy, moved), strict=True):
        write_png(path, from_float(2 * image - 1, 8))
    (found,) = measures.measure_fleet(fleet, images, {"rgb": files}, quiet=True)
    assert found.near_copies == files[1:]
    assert found.of_samples["filter_bank_distance"][1] < 1e-2
    # 8 bits round by at most half a level.
    assert found.of_samples["patch_distance"][1] < 0.5 < found.of_samples["patch_distance"][2]
    assert summary.row(found)["near_copies"] == 3


def test_files_hold_a_row_a_member_and_the_fleets_mean_and_sd(measured, tmp_path):
    rows = summary.write_summary(tmp_path / "out", list(measured.values()), {"samples": "here"})
    with (tmp_path / "out" / "measures.csv").open() as file:
        table = {line["member"]: line for line in csv.DictReader(file)}
    assert list(table) == [*measured, "(mean)", "(sd)"]
    content = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert content["samples"] == "here"
    for column in ("sifid_64", "sifid_192", "diversity", "patch_distance_real", "energy"):
        values = [float(table[name][column]) for name in measured]
        assert values == [row[column] for row in rows]
        assert values == [line[column] for line in content["members"]]
        assert float(table["(mean)"][column]) == pytest.approx(np.mean(values))
        assert float(table["(sd)"][column]) == pytest.approx(np.std(values, ddof=1))
        assert content["sd"][column] == pytest.approx(np.std(values, ddof=1))
    with PIL.Image.open(tmp_path / "out" / "measures.png") as plot:
        assert plot.size[0] > 1000
    assert "sifid_192" in summary.table(rows)


def test_the_deviation_of_one_member_is_unknown(measured, tmp_path):
    rows = summary.write_summary(tmp_path, [measured["rgb"]], {})
    assert json.loads((tmp_path / "measures.json").read_text())["sd"]["diversity"] is None
    assert math.isnan(summary.over_fleet(rows)[1]["diversity"])


# --- bad input ---------------------------------------------------------------------------------


def test_folders_that_hold_no_samples(folder, tmp_path):
    for place in (folder / "images", tmp_path / "none", folder / "images" / "rgb.png"):
        with pytest.raises(InputError, match="holds no samples"):
            sample_folder.find_samples(place)
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(InputError, match=r"manifest\.jsonl: lists no samples"):
        sample_folder.find_samples(tmp_path)
    for text in ('{"member": "rgb"}', "{", "3"):
        (tmp_path / "manifest.jsonl").write_text(text)
        with pytest.raises(InputError, match=r"manifest\.jsonl: damaged"):
            sample_folder.find_samples(tmp_path)
    for text in (None, "{}", "3"):
        if text:
            (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match=r"run\.json: does not name the fleet .* `workdir`"):
            sample_folder.find_workdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (np.zeros((20, 20, 3), np.uint8), "1.png: is 20x20 pixels in colour, expected 26x24"),
        (np.zeros((24, 26, 1), np.uint8), "1.png: is 26x24 pixels in gray, expected 26x24"),
        (b"\x89PNG\r\n\x1a\nno", "1.png: is damaged or truncated"),
        (None, "1.png: cannot be read"),
    ],
)
def test_samples_that_cannot_be_compared(content, problem, folder, fleet, images, tmp_path):
    shutil.copytree(folder / "samples", tmp_path / "samples")
    path = tmp_path / "samples" / "rgb" / "1.png"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_png(path, content)
    files = sample_folder.find_samples(tmp_path / "samples")
    with pytest.raises(InputError, match=problem):
        measures.measure_fleet(fleet, images, {"rgb": files["rgb"]}, quiet=True)


def test_one_sample_has_no_diversity(folder, fleet, images):
    files = sample_folder.find_samples(folder / "samples")
    with pytest.raises(InputError, match=r"rgb.0\.png: is the only sample .* needs 2"):
        measures.measure_fleet(fleet, images, {"rgb": files["rgb"][:1]}, quiet=True)


def test_missing_weights(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: no such file"):
        inception.load(tmp_path / "none.pth")


def run(*arguments):
    """Runs the launcher; (exit status, stdout, stderr without the progress bar)."""
    command = [sys.executable, "-m", "launch.evaluate_samples", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stderr.replace("\r", "\n").splitlines()
    return done.returncode, done.stdout, [x for x in lines if x.strip() and "%|" not in x]


def test_the_command(folder, tmp_path):
    status, out, errors = run(f"--samples={folder / 'samples'}", f"--out={tmp_path / 'out'}")
    assert (status, errors) == (0, [])
    assert "filter_bank_distance" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"measures.{suffix}" for suffix in ("csv", "json", "png")
    ]


def test_the_command_refuses_other_images(folder, tmp_path):
    for file in ("rgb.png", "gray.png"):
        write_png(tmp_path / file, tiny.image(1, (27, 30)).pixels)
    status, _, (line,) = run(
        f"--samples={folder / 'samples'}", f"--out={tmp_path / 'out'}", f"--images={tmp_path}"
    )
    assert status == 2
    assert line.endswith("has changed since training; name it by --images")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["of one intensity", "of two colours"])
def test_degenerate_pictures_are_measured_without_a_librarys_warning(tmp_path, kind):
    stripes = (np.arange(30) // 3 % 2)[None, :, None] * np.ones((27, 1, 1), int)
    second = [0, 255, 0] if kind == "of one intensity" else [10, 20, 250]
    pixels = np.where(stripes, second, [255, 0, 0]).astype(np.uint8)
    write_png(tmp_path / "odd.png", pixels)
    found, _ = singan_jax.read_images([str(tmp_path / "odd.png")], CONFIG)
    enroll(tmp_path, found, CONFIG)
    fleet = singan_jax.load_fleet(tmp_path)
    files = {"odd": [tmp_path / f"{n}.png" for n in range(COUNT)]}
    for n, file in enumerate(files["odd"]):
        write_png(file, tiny.image(10 + n, (24, 26)).pixels)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        measured = measures.measure_fleet(fleet, {"odd": found[0]}, files, quiet=True)
        rows = summary.write_summary(tmp_path / "out", measured, {})
    said = [str(warning.message) for warning in heard]
    flat = kind == "of one intensity"
    assert len(said) == flat
    assert all(line.startswith("odd: of one intensity everywhere, so it") for line in said)
    assert "contrast" in summary.table(rows)

    def refuse(token):
        raise AssertionError(token)

    content = json.loads((tmp_path / "out/measures.json").read_text(), parse_constant=refuse)
    (line,) = content["members"]
    assert (line["contrast_real"] is None) == flat
    assert (line["spectrum_slope_real"] is None) == flat
    assert (content["mean"]["contrast"] is None) == flat
    assert line["diversity"] > 0
    assert content["sd"]["diversity"] is None  # of one member
