"""Members whose image is stretched for training: what comes out has the image's own size."""

import dataclasses
import json
import types

import jax
import numpy as np
import PIL.Image
import pytest
import tiny

import singan_jax
from classify.plan import synthetic
from singan_jax.evaluate import measures, sample_folder
from singan_jax.images.read import from_float, write_png
from singan_jax.manipulate import batches, manipulations, output_files
from singan_jax.samples.page import write_page
from singan_jax.samples.sample import SamplePlan, sample_all
from singan_jax.samples.trained import sampling_key
from singan_jax.scale.pyramid import Pyramid, build_pyramid

CONFIG = dataclasses.replace(tiny.CONFIG, stretch="42x28", max_size=24, steps_per_scale=2)
SIZE = (20, 21)  # not of the proportions to which it is stretched
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "patch.png"
    drawn = tiny.image(1, SIZE, channels=1)
    write_png(path, drawn.pixels)
    return dataclasses.replace(
        drawn, name="patch", source=str(path), provenance={"patient": "p1_F01"}
    )


@pytest.fixture(scope="module")
def fleet(image, tmp_path_factory):
    return singan_jax.train_fleet([image], CONFIG, tmp_path_factory.mktemp("stretched") / "fleet")


def size_of(path):
    """(width, height) of a file."""
    with PIL.Image.open(path) as file:
        return file.size


def test_the_member_is_that_of_the_image_and_its_pyramid_is_stretched(fleet, image):
    (member,) = fleet.members
    assert (member.shape, member.digest) == ((*SIZE, 1), image.digest)
    assert fleet.bucket(member).pyramid.sizes[-1] == (16, 24)
    assert fleet.scales(0)[-1].rec.shape == (1, 1, 16, 24, 1)


@pytest.mark.parametrize(("scale_v", "scale_h"), [(1.0, 1.0), (1.5, 2.0)])
def test_samples_are_shrunk_back_to_the_image(fleet, scale_v, scale_h):
    (member,) = fleet.members
    (drawn,) = fleet.sample(3, KEY, scale_v=scale_v, scale_h=scale_h)
    height, width = int(20 * scale_v), int(21 * scale_h)
    assert drawn.pixels.shape == (3, height, width, 1)
    scales, bucket = fleet.scales(0), fleet.bucket(member)
    plan = SamplePlan(CONFIG, bucket.pyramid, 1, len(scales), scale_v=scale_v, scale_h=scale_h)
    keys = sampling_key(KEY, member)[None]
    wide = sample_all(plan, [scale.frozen for scale in scales], keys, 3)[0, ..., 0]
    assert wide.shape[1:] == (int(16 * scale_v), int(24 * scale_h))
    for pixels, one in zip(drawn.pixels[..., 0], wide, strict=True):
        back = PIL.Image.fromarray(one).resize((width, height), PIL.Image.Resampling.BILINEAR)
        expected = from_float(np.asarray(back), 8).astype(int)
        assert np.abs(pixels.astype(int) - expected).max() <= 1
        assert (pixels != expected).mean() < 0.01


def test_a_study_takes_the_samples_as_patches(fleet, tmp_path):
    singan_jax.write_samples(fleet, tmp_path, 2, quiet=True)
    assert size_of(tmp_path / "patch/0.png") == (21, 20)
    records = [types.SimpleNamespace(patch_id="patch", patient_id="p1_F01")]
    found = synthetic.read(tmp_path, {"patch": 2}, records, 20)
    assert {key: pixels.shape for key, pixels in found.items()} == {
        ("patch", n): (20, 20, 1) for n in range(2)
    }


def test_samples_are_measured_beside_what_the_member_saw(fleet, image, tmp_path):
    singan_jax.write_samples(fleet, tmp_path, 3, quiet=True)
    files = sample_folder.find_samples(tmp_path)
    (found,) = measures.measure_fleet(fleet, {"patch": image}, files, quiet=True)
    finest = np.asarray(build_pyramid(image.to_float(), Pyramid.of(SIZE, CONFIG))[-1][0, ..., 0])
    seen = PIL.Image.fromarray(finest).resize((21, 20), PIL.Image.Resampling.BILINEAR)
    samples = [np.asarray(PIL.Image.open(path)) / 255 for path in files["patch"]]
    deviation = np.std(samples, axis=0, ddof=1).mean()
    expected = deviation / ((np.asarray(seen, np.float64) + 1) / 2).std()
    assert found.of_all["diversity"] == pytest.approx(expected, rel=1e-4)


def test_manipulations_start_from_the_stretched_image_and_come_back(fleet, image, tmp_path):
    (batch,) = batches.batches(fleet, fleet.members, KEY)
    finest = build_pyramid(image.to_float(), Pyramid.of(SIZE, CONFIG))[-1]
    np.testing.assert_allclose(batch.reals(len(batch.finished) - 1)[0], finest, rtol=0, atol=1e-6)

    def written(name, task):
        count = output_files.write_manipulations(
            fleet, tmp_path / name, task, 1, settings={"task": name}, start_scale=1, quiet=True
        )
        line = json.loads((tmp_path / name / "manifest.jsonl").read_text())
        assert count == 1
        return size_of(tmp_path / name / line["file"])

    inputs = {"patch": tiny.image(2, (30, 30), channels=1)}
    assert written("paint", manipulations.Injection(inputs)) == (21, 20)
    assert written("same", manipulations.Retargeting()) == (21, 20)
    assert written("wide", manipulations.Retargeting(width=43)) == (43, 20)
    assert written("moving", manipulations.Animation()) == (21, 20)


def test_the_page_shows_the_stretched_scales(fleet, image, tmp_path):
    write_page(tmp_path / "page.html", fleet, [image], title="x", num_samples=1)
    assert "24&times;16" in (tmp_path / "page.html").read_text()
