"""Manipulations: against written-out references, on a tiny fleet, as files and as commands."""

import dataclasses
import functools
import json
import math
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import scipy.spatial
import skimage.morphology
import tiny

import singan_jax
from singan_jax.fleet import group
from singan_jax.images.read import from_float, read_image, write_png
from singan_jax.manipulate import (
    animation,
    batches,
    input_images,
    manipulations,
    operations,
    output_files,
    painting,
)
from singan_jax.samples import blocks, sample
from singan_jax.scale import generate, train_scale, train_step
from singan_jax.scale.pyramid import build_pyramid, resize, resize_matrix, scaled_size

ROOT = pathlib.Path(__file__).resolve().parents[3]
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images on disk, and a fleet trained on two of them: one of 8 bits, one of 16."""
    folder = tmp_path_factory.mktemp("manipulate")
    (folder / "images").mkdir()
    write_png(folder / "images/rgb1.png", tiny.image(1).pixels)
    write_png(folder / "images/rgb2.png", tiny.image(2).pixels.astype(np.uint16) * 257)
    write_png(folder / "gray.png", tiny.image(3, channels=1).pixels)
    images, errors = singan_jax.read_images([str(folder / "images")], tiny.CONFIG)
    assert not errors
    singan_jax.train_fleet(images, tiny.CONFIG, folder / "fleet")
    return folder


@pytest.fixture(scope="module")
def fleet(folder):
    return singan_jax.load_fleet(folder / "fleet")


def batch_of(fleet, *names, key=KEY):
    (batch,) = batches.batches(fleet, fleet.select(names), key)
    return batch


@pytest.fixture(scope="module")
def batch(fleet):
    return batch_of(fleet, "rgb1", "rgb2")


def scales_of(batch, index):
    return jax.tree.map(lambda x: x[index], batch.scales)


def drawn_images(batch, seed=0):
    shape = (len(batch.members), *batch.size, batch.bucket.channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def matrix(old, new, scale):
    return resize_matrix(old, new, scale)


# --- injection --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2])
def test_coarse_input_is_shrunk_below_the_scale_and_enlarged_to_it(batch, scale):
    images, plan = drawn_images(batch), batch.plan(scale)
    sizes, ratio = plan.pyramid.sizes, plan.pyramid.ratio
    down = ratio ** (len(sizes) - 1 - scale + 1)
    expected = images.astype(np.float64)
    for axis in (0, 1):
        shrunk, wanted = sizes[scale - 1][axis], sizes[scale][axis]
        both = matrix(shrunk, wanted, 1 / ratio), matrix(batch.size[axis], shrunk, down)
        # Clamping comes between the two; these draws stay within [-1, 1] once averaged.
        expected = np.moveaxis(
            np.tensordot(both[0] @ both[1], expected, (1, axis + 1)), 0, axis + 1
        )
    coarse = operations.coarse_inputs(plan, images * 0.5)
    np.testing.assert_allclose(coarse, expected * 0.5, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_injection_runs_the_scales_from_the_start_scale_on(batch, scale):
    plan = batch.plan(scale)
    coarse = operations.coarse_inputs(plan, drawn_images(batch))
    made = operations.inject(plan, batch.scales, coarse, batch.keys, 3)
    assert made.shape == (2, 3, *batch.size, 3)
    for member, index in ((0, 0), (1, 2)):
        scales, key = scales_of(batch, member), jax.random.fold_in(batch.keys[member], index)
        image = jnp.asarray(coarse[member : member + 1])
        for n in range(scale, plan.num_scales):
            if n > scale:
                size = plan.pyramid.sizes[n]
                image = generate.enlarge(plan.config, plan.pyramid, image, size)
            shape = generate.noise_shape(plan.config, plan.pyramid.sizes[n], n, 3)
            noise = jax.random.normal(jax.random.fold_in(key, n), (1, *shape))
            image = generate.run_scale(plan.config, n, scales[n], image, noise)
        np.testing.assert_allclose(made[member, index], image[0], rtol=0, atol=1e-5)


def test_neither_count_nor_company_change_a_sample(fleet, batch):
    plan, images = batch.plan(1), drawn_images(batch)
    coarse = operations.coarse_inputs(plan, images)
    together = operations.inject(plan, batch.scales, coarse, batch.keys, 2)
    alone = batch_of(fleet, "rgb2")  # its samples go to several devices
    more = operations.inject(plan, alone.scales, coarse[1:], alone.keys, 7)
    assert more.shape[:2] == (1, 7)
    np.testing.assert_allclose(more[0, :2], together[1], rtol=0, atol=1e-6)
    assert np.abs(more[0, 2] - more[0, 5]).max() > 1e-4


def test_many_images_are_drawn_in_several_calls(batch, monkeypatch):
    plan = batch.plan(0)
    at_once = sample.sample_all(plan, batch.scales, batch.keys, 9)
    monkeypatch.setattr(blocks, "_PIXELS_PER_CALL", 4 * math.prod(batch.size) * 3)
    parts = list(sample.sample_blocks(plan, batch.scales, batch.keys, 9))
    assert [part.shape[1] for part in parts] == [4, 4, 1]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), at_once, rtol=0, atol=1e-6)
    one_by_one = [
        jax.jit(functools.partial(sample.sample_one, plan))(
            jax.tree.map(lambda x: x[1], batch.scales), batch.keys[1], index
        )
        for index in range(9)
    ]
    np.testing.assert_allclose(at_once[1], one_by_one, rtol=0, atol=1e-6)


# --- masks and inputs -------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [7, 20])
def test_masks_grow_by_a_disk_and_are_blurred(radius):
    mask = np.zeros((90, 120), bool)
    mask[40:44, 50:57] = True
    grown = skimage.morphology.dilation(mask, skimage.morphology.disk(radius))
    soft = scipy.ndimage.gaussian_filter(grown.astype(float), 5, mode="nearest")
    expected = (soft - soft.min()) / np.ptp(soft)
    actual = input_images.soft_mask(mask, mask.shape, radius)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_a_mask_that_grows_over_everything_leaves_nothing_of_the_input():
    assert (input_images.soft_mask(np.ones((9, 9), bool), (9, 9), 7) == 1).all()


def published_mask(mask, size, radius):
    """The official mask of a (H, W) bool one, in float64: grown by a disk, blurred, 0 to 1."""
    rows, columns = (matrix(old, new, new / old) for old, new in zip(mask.shape, size, strict=True))
    inside = rows @ mask.astype(np.float64) @ columns.T > 0.5
    reach = np.arange(-radius, radius + 1)
    disk = reach[:, None] ** 2 + reach**2 <= radius**2
    grown = scipy.ndimage.binary_dilation(inside, disk).astype(np.float64)
    tail = np.exp(-(np.arange(-20, 21) ** 2) / (2 * 5.0**2))
    for axis in (0, 1):
        grown = scipy.ndimage.convolve1d(grown, tail / tail.sum(), axis, mode="nearest")
    return (grown - grown.min()) / np.ptp(grown)


@pytest.mark.parametrize("radius", [7, 20])
@pytest.mark.parametrize("size", [(90, 120), (60, 100)])
def test_masks_are_the_published_ones(size, radius):
    mask = np.zeros((90, 120), bool)
    mask[40:47, 50:62] = True
    actual = input_images.soft_mask(mask, size, radius)
    np.testing.assert_allclose(actual, published_mask(mask, size, radius), rtol=0, atol=1e-6)


@pytest.mark.parametrize("blend", ["training", "input"])
def test_outside_the_mask_lies_the_training_image_or_the_input(fleet, blend):
    batch = batch_of(fleet, "rgb1", "rgb2")
    images = {"rgb1": tiny.image(5), "rgb2": tiny.image(6)}
    mask = np.zeros((17, 19), bool)
    mask[:, 0] = True
    masks = {"rgb1": mask, "rgb2": mask[:, ::-1]}
    task = manipulations.Injection(images, masks, radius=1, blend=blend, keep_unblended=True)
    found = task.versions(batch, 1, 2)
    free = manipulations.Injection(images).run(batch, 1, 2)
    np.testing.assert_array_equal(found["unblended"], free)
    np.testing.assert_array_equal(task.run(batch, 1, 2), found[""])
    for n, seed in enumerate((1, 2)):
        # The training image at the finest scale, by matrices of its own resize.
        real = tiny.image(seed).to_float()[0].astype(np.float64)
        rows, columns = (matrix(old, new, 18 / 19) for old, new in ((17, 17), (19, 18)))
        real = np.clip(np.einsum("oh,pw,hwc->opc", rows, columns, real), -1, 1)
        around = real if blend == "training" else batch.fitted(images)[n]
        weight = published_mask(masks[f"rgb{seed}"], batch.size, 1)[..., None]
        expected = (1 - weight) * around + weight * free[n]
        np.testing.assert_allclose(found[""][n], expected, rtol=0, atol=2e-6)


def test_the_training_image_may_be_given_or_lie_where_it_was(fleet):
    inputs, mask = {"rgb1": tiny.image(5)}, np.zeros((17, 19), bool)
    mask[3:6, 3:6] = True
    task = manipulations.Injection(inputs, {"rgb1": mask})
    moved = dataclasses.replace(fleet.select(["rgb1"])[0], source="nowhere.png")
    elsewhere = batch_of(fleet, "rgb1")._replace(members=[moved])
    with pytest.raises(singan_jax.ImageError, match=r"nowhere\.png: cannot be read"):
        task.run(elsewhere, 1, 1)
    given = elsewhere._replace(originals={"rgb1": tiny.image(1)})
    np.testing.assert_array_equal(task.run(given, 1, 1), task.run(batch_of(fleet, "rgb1"), 1, 1))
    several = elsewhere._replace(members=[dataclasses.replace(moved, images=2)])
    with pytest.raises(singan_jax.InputError, match=r"trained on 2 images, so that .* `blend`=in"):
        task.run(several, 1, 1)


def test_settings_of_manipulations_that_mean_nothing_are_refused():
    with pytest.raises(singan_jax.InputError, match="`blend`=real: choose one of training, input"):
        manipulations.Injection(blend="real")
    with pytest.raises(singan_jax.InputError, match="`retrain`=new: choose one of fresh, continue"):
        manipulations.FewColours(retrain="new")


def test_inputs_are_stretched_to_the_members_size():
    image = tiny.image(4, (23, 30)).to_float()[0]
    assert np.array_equal(input_images.fit(image, (23, 30)), image)
    fitted = input_images.fit(image, (46, 15))
    assert fitted.shape == (46, 15, 3)
    flat = np.full((7, 9, 3), 0.25, np.float32)
    np.testing.assert_allclose(input_images.fit(flat, (20, 4)), 0.25, atol=1e-6)
    np.testing.assert_allclose(fitted.mean((0, 1)), image.mean((0, 1)), atol=0.02)


# --- super-resolution -------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "steps"), [(2, 3), (3, 5), (1.1, 1)])
def test_steps_of_super_resolution(batch, factor, steps):
    if factor > 1.2:
        assert steps == round(math.log(1 / factor) / math.log(0.5 ** (1 / 3)))
    bucket = batch.bucket
    plan = operations.Enlargement(bucket.config, bucket.pyramid, bucket.channels, factor)
    assert len(plan.sizes) == steps
    settings = operations.super_resolution_settings(factor, 99)
    assert settings["scale_factor"] ** -steps == pytest.approx(factor, rel=1e-12)
    changed = {name: settings[name] for name in ("scale_factor", "max_size")}
    preset = singan_jax.preset("super_resolution")
    assert dataclasses.replace(preset, **settings) == dataclasses.replace(preset, **changed)
    for_four = operations.super_resolution_settings(4, preset.max_size)
    assert dataclasses.replace(preset, **for_four) == preset
    images = drawn_images(batch)
    made = operations.super_resolve(plan, batch.scales[-1], images, batch.keys, 2)
    assert made.shape == (2, 2, *(int(factor * side) for side in batch.size), 3)
    member, index, image = 1, 1, jnp.asarray(images[1:])
    for n in range(steps):
        size = scaled_size(image.shape[1:3], factor ** (1 / steps))
        image = resize(image, factor ** (1 / steps), size)
        key = jax.random.fold_in(jax.random.fold_in(batch.keys[member], index), n)
        noise = jax.random.normal(key, (1, *size, 1 if n == 0 else 3))
        image = generate.run_scale(plan.config, 2, scales_of(batch, member)[2], image, noise)
    expected = image[0, : made.shape[2], : made.shape[3]]
    np.testing.assert_allclose(made[member, index], expected, rtol=0, atol=1e-4)


# --- animation --------------------------------------------------------------------------------


def animate(batch, walk, num_frames):
    bucket = batch.bucket
    return animation.animate(
        bucket.config, bucket.pyramid, batch.scales, batch.keys, walk, num_frames
    )


def test_the_walk_is_the_formulas():
    rng = np.random.default_rng(0)
    z_rec, *noises = rng.normal(size=(5, 4, 6, 3))
    walk = animation.Walk(0, alpha=0.2, beta=0.7)
    state = animation.start(jnp.asarray(z_rec), noises[0])
    z2, z1 = z_rec, 0.95 * z_rec + 0.05 * noises[0]
    for noise in noises[1:]:
        z2, z1 = z1, 0.2 * z_rec + 0.8 * (z1 + 0.7 * (z1 - z2) + 0.3 * noise)
        state = animation.step(walk, z_rec, state, noise)
        np.testing.assert_allclose(state[0], z1, rtol=0, atol=1e-5)


def test_without_freedom_every_frame_is_the_reconstruction(batch):
    frames = animate(batch, animation.Walk(0, alpha=1.0), 3)
    rec = batch.finished[-1].rec
    np.testing.assert_allclose(frames, np.broadcast_to(rec, frames.shape), atol=1e-5)


def test_scales_below_the_start_scale_stand_still(batch):
    spread = [animate(batch, animation.Walk(scale), 4).std(axis=1).mean() for scale in range(3)]
    assert spread[0] > spread[1] > spread[2] > 0


def test_frames_do_not_depend_on_the_devices_that_make_them(fleet, batch):
    walk = animation.Walk(1)
    alone = batch_of(fleet, "rgb2")  # its frames go to several devices
    frames = animate(alone, walk, 7)
    assert frames.shape[:2] == (1, 7)
    np.testing.assert_allclose(frames[0, :3], animate(batch, walk, 3)[1], rtol=0, atol=1e-5)
    scales = scales_of(alone, 0)
    z_rec = animation.padded_z_rec(tiny.CONFIG, alone.bucket.pyramid, scales)

    def noise(n, k):
        key = jax.random.fold_in(jax.random.fold_in(alone.keys[0], n), k)
        return jax.random.normal(key, z_rec[n].shape)

    state = [animation.start(z, noise(n, 0)) for n, z in enumerate(z_rec)]
    for k in range(1, 8):
        state = [animation.step(walk, z, state[n], noise(n, k)) for n, z in enumerate(z_rec)]
    maps = [z_rec[0], state[1][0], state[2][0]]
    expected = animation.render(tiny.CONFIG, alone.bucket.pyramid, scales, maps)
    np.testing.assert_allclose(frames[0, 6], expected, rtol=0, atol=1e-5)


# --- painting in few colours ------------------------------------------------------------------


def test_quantising_takes_the_nearest_colour():
    rng = np.random.default_rng(1)
    images, colours = rng.uniform(-1, 1, (2, 8, 9, 3)), rng.uniform(-1, 1, (5, 3))
    _, nearest = scipy.spatial.KDTree(colours).query(images)
    actual = painting.quantise(jnp.asarray(images), jnp.asarray(colours))
    np.testing.assert_allclose(actual, colours[nearest], atol=1e-6)


def test_the_palette_of_five_colours_is_these():
    rng = np.random.default_rng(2)
    colours = rng.uniform(-1, 1, (5, 3)).astype(np.float32)
    found = painting.palette(colours[rng.integers(5, size=(20, 30))])
    order = [np.abs(found - colour).sum(-1).argmin() for colour in colours]
    assert sorted(order) == list(range(5))
    np.testing.assert_allclose(found[order], colours, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_an_image_of_few_colours_has_them_as_its_palette(count, recwarn):
    colours = np.linspace(-1, 1, 3 * count).reshape(count, 3).astype(np.float32)
    image = colours[np.arange(12 * 14).reshape(12, 14) % count]
    # What a resize leaves: colours that differ by rounding alone.
    image += np.random.default_rng(0).uniform(-6e-8, 6e-8, image.shape).astype(np.float32)
    palette = painting.palette(image)
    assert palette.shape == (painting.COLOURS, 3)
    np.testing.assert_allclose(
        painting.quantise(jnp.asarray(image), jnp.asarray(palette)), image, rtol=0, atol=1e-6
    )
    assert not recwarn.list


def nearest_colours(images, colours):
    _, nearest = scipy.spatial.KDTree(colours).query(images)
    return colours[nearest]


def test_fresh_retraining_starts_as_training_does_without_a_scale_before(batch):
    colours = np.random.default_rng(4).uniform(-1, 1, (5, 3)).astype(np.float32)
    real, rec = batch.reals(1)[1], batch.finished[0].rec_next[1]
    hyper = jax.tree.map(lambda x: x[1], group.hypers(tiny.CONFIG, batch.members))
    start = train_scale.Start(KEY, hyper, real, rec, jnp.array(True))
    task, state = painting._begin(tiny.CONFIG, 1, start, jnp.asarray(colours))
    key = train_scale.scale_key(KEY, 1, "init")
    drawn = train_scale.initial_networks(tiny.CONFIG, 1, key, real)
    actual = state.generator.variables, state.discriminator.variables
    jax.tree.map(np.testing.assert_array_equal, actual, drawn)
    trained = batch.finished[1].frozen.generator["params"]["stack"]["kernel"][1]
    assert np.abs(drawn[0]["params"]["stack"]["kernel"] - trained).max() > 0.01
    # The amplitude is of the reconstruction as it was; what the networks see has five colours.
    rmse = np.sqrt(np.square(np.float64(real) - rec).mean())
    np.testing.assert_allclose(task.noise_amp, 0.1 * rmse, rtol=1e-5)
    np.testing.assert_allclose(task.rec_prev, nearest_colours(rec, colours), atol=1e-6)


@functools.partial(jax.jit, static_argnums=0)
def retrained_once(plan, coarser, task, state, colours, n):
    """One iteration of scale 1, whose coarse images take the nearest colours."""
    draws = train_scale.draw(plan.config, plan.pyramid, 1, [coarser], task, n)
    draws = draws._replace(prev=painting.quantise(draws.prev, colours))
    return train_step.iterate(plan.config, 1, state, task, draws, n)[0]


@pytest.mark.parametrize("fresh", [True, False])
def test_retraining_sees_the_coarse_images_in_few_colours(batch, fresh):
    plan, reals = batch.plan(1), batch.reals(1)
    expected_real = build_pyramid(tiny.image(2).to_float(), batch.bucket.pyramid)[1]
    np.testing.assert_allclose(reals[1], expected_real, rtol=0, atol=1e-6)
    colours = np.stack([painting.palette(real) for (real,) in reals])
    keys, hypers = jax.random.split(KEY, 2), group.hypers(plan.config, batch.members)
    frozen, healthy = painting.retrain(
        plan, keys, hypers, reals, batch.finished, colours, fresh=fresh, quiet=True
    )
    assert healthy.all()

    mine = jax.tree.map(lambda x: jnp.asarray(x[1]), batch.finished)
    rec_prev = painting.quantise(mine[0].rec_next, colours[1])
    networks = () if fresh else (mine[1].frozen.generator, mine[1].discriminator)
    hyper = jax.tree.map(lambda x: x[1], hypers)
    seen = mine[0].rec_next if fresh else rec_prev
    start = train_scale.Start(keys[1], hyper, reals[1], seen, jnp.array(True), networks)
    task, state = train_scale.begin(plan.config, 1, start)
    task = task._replace(rec_prev=rec_prev)
    for n in range(plan.config.steps_per_scale):
        state = retrained_once(plan, mine[0].frozen, task, state, colours[1], n)
    expected = jax.tree.leaves(state.generator.variables)
    for a, e in zip(jax.tree.leaves(frozen.generator), expected, strict=True):
        np.testing.assert_allclose(a[1], e, rtol=0, atol=1e-4)
    np.testing.assert_allclose(frozen.noise_amp[1], task.noise_amp, rtol=1e-5)


def test_what_a_painting_becomes_before_it_goes_in(batch):
    plan, images = batch.plan(1), drawn_images(batch)
    colours = np.random.default_rng(3).uniform(-0.5, 0.5, (2, 5, 3)).astype(np.float32)
    coarse = painting.coarse_inputs(plan, images, colours)
    _, nearest = scipy.spatial.KDTree(colours[0]).query(images[0])
    factor = plan.pyramid.ratio ** (len(plan.pyramid.sizes) - 2)
    rows, columns = (
        matrix(old, new, factor) for old, new in zip(batch.size, plan.pyramid.sizes[1], strict=True)
    )
    expected = np.einsum("oh,pw,hwc->opc", rows, columns, colours[0][nearest])
    np.testing.assert_allclose(coarse[0], expected, rtol=0, atol=1e-5)


# --- files ------------------------------------------------------------------------------------


def write(fleet, out, task, count, **options):
    return output_files.write_manipulations(
        fleet, out, task, count, settings={"task": "x"}, quiet=True, **options
    )


def test_retargeting_gives_the_pixels_asked_for(fleet, tmp_path):
    task = manipulations.Retargeting(height=31, width=50)
    assert write(fleet, tmp_path / "out", task, 2) == 2 * 3 * 2
    text = (tmp_path / "out/manifest.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        pixels = read_image(tmp_path / "out" / line["file"], tiny.CONFIG).pixels
        assert pixels.shape == (31, 50, 3)
        assert pixels.dtype == {"rgb1": np.uint8, "rgb2": np.uint16}[line["member"]]
    assert [line["start_scale"] for line in lines[:6]] == [0, 0, 1, 1, 2, 2]
    assert {line["task"] for line in lines} == {"x"}
    assert (tmp_path / "out/rgb1/sheet.png").exists()


def test_retargeting_from_a_finer_scale_stretches_the_reconstruction(fleet):
    batch = batch_of(fleet, "rgb1")
    wide = manipulations.Retargeting(width=2 * batch.size[1]).run(batch, 2, 1)[0, 0]
    rec = batch.finished[-1].rec[0, 0]
    expected = input_images.fit(rec, wide.shape[:2])
    assert np.corrcoef(wide.ravel(), expected.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("suffix", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_animations_are_files_that_play(tmp_path, suffix, channels):
    made = np.stack([tiny.image(n, (20, 30), channels).to_float()[0] for n in range(5)])
    task = manipulations.Animation(fps=20, suffix=suffix)
    (file,) = task.save(tmp_path / "scale0", made, 16)
    assert [path.name for path in tmp_path.iterdir()] == [file.name] == [f"scale0.{suffix}"]
    with PIL.Image.open(file) as frames:
        assert frames.n_frames == 5
        for n, image in enumerate(from_float(made, 8)):
            frames.seek(n)
            frames.load()
            assert frames.info["duration"] == 50
            shown = np.asarray(frames.convert("RGB"), float)
            assert np.abs(shown - image).mean() < 10  # compressed; other frames are 42 away


def shown_for(file):
    """The durations that a file of frames states, milliseconds."""
    with PIL.Image.open(file) as frames:
        durations = []
        for n in range(frames.n_frames):
            frames.seek(n)
            frames.load()
            durations.append(frames.info["duration"])
    return durations


@pytest.mark.parametrize("fps", [1, 7, 15, 24, 30, 40, 47, 50])
@pytest.mark.parametrize(("suffix", "unit", "least"), [("gif", 10, 20), ("webp", 1, 20)])
def test_frames_last_as_long_as_asked_for(tmp_path, fps, suffix, unit, least):
    frames = np.random.default_rng(0).uniform(-1, 1, (61, 4, 4, 1))
    (file,) = manipulations.Animation(fps=fps, suffix=suffix).save(tmp_path / "moving", frames, 8)
    durations = shown_for(file)
    assert len(durations) == 61
    assert min(durations) >= least
    assert max(durations) - min(durations) in (0, unit)
    ends = np.cumsum(durations)
    asked = 1000 / fps * np.arange(1, 62)
    assert np.abs(ends - asked).max() <= unit / 2 + 1e-9


def test_an_animation_is_one_file_a_start_scale(fleet, tmp_path):
    task = manipulations.Animation(alpha=0.0)
    assert write(fleet, tmp_path / "out", task, 3, names=["rgb1"]) == 3
    assert len(list((tmp_path / "out/rgb1").glob("scale?.gif"))) == 3
    sheet = read_image(tmp_path / "out/rgb1/sheet.png", tiny.CONFIG).pixels
    assert sheet.shape[1] > 3 * 96  # the three frames


def test_a_painting_in_few_colours_goes_through_the_retrained_scale(batch):
    inputs = {member.name: tiny.image(8) for member in batch.members}
    few = manipulations.FewColours(inputs).run(batch, 1, 1)
    plain = manipulations.Injection(inputs).run(batch, 1, 1)
    assert few.shape == plain.shape
    assert np.isfinite(few).all()
    assert np.abs(few - plain).mean() > 0.02


def test_an_edit_keeps_the_unblended_image_beside_the_blended_one(fleet, tmp_path):
    mask = np.zeros((17, 19), bool)
    mask[3:6, 3:6] = True
    options = {"radius": 1, "keep_unblended": True}
    task = manipulations.Injection({"rgb1": tiny.image(5)}, {"rgb1": mask}, **options)
    assert write(fleet, tmp_path / "out", task, 2, names=["rgb1"]) == 4
    text = (tmp_path / "out/manifest.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    free = manipulations.Injection(task.inputs).run(
        batch_of(fleet, "rgb1", key=jax.random.key(0)), 1, 2
    )
    for line, expected in zip(lines[:2], free[0], strict=True):
        assert line["unblended"] == line["file"].replace(".png", "_unblended.png")
        pixels = read_image(tmp_path / "out" / line["unblended"], tiny.CONFIG).pixels
        assert np.array_equal(pixels, from_float(expected, 8))
    assert len(list((tmp_path / "out/rgb1").iterdir())) == 2 * 2 * 2 + 1  # and the sheet


def test_the_same_command_writes_the_same_and_another_is_refused(fleet, tmp_path):
    inputs = {"rgb1": tiny.image(7, (30, 22))}
    task = manipulations.Injection(inputs)
    assert write(fleet, tmp_path / "out", task, 1, names=["rgb1"]) == 2
    first = (tmp_path / "out/rgb1/scale1_0.png").read_bytes()
    assert write(fleet, tmp_path / "out", task, 2, names=["rgb1"]) == 4
    assert (tmp_path / "out/rgb1/scale1_0.png").read_bytes() == first
    made = task.run(batch_of(fleet, "rgb1", key=jax.random.key(0)), 1, 1)[0, 0]
    pixels = read_image(tmp_path / "out/rgb1/scale1_0.png", tiny.CONFIG).pixels
    assert np.array_equal(pixels, from_float(made, 8))
    with pytest.raises(singan_jax.InputError, match="seed 0 there, 1 here"):
        write(fleet, tmp_path / "out", task, 1, names=["rgb1"], seed=1)


def test_an_unfinished_member_is_refused(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(type(fleet), "num_scales", lambda self, member: 2)
    with pytest.raises(singan_jax.WorkdirError, match=r"has 2 of its 3 scales; go on with"):
        write(fleet, tmp_path, manipulations.Retargeting(), 1)


def test_a_changed_training_image_is_refused(fleet):
    (member,) = fleet.select(["rgb1"])
    changed = dataclasses.replace(member, digest="0" * 64)
    batch = batch_of(fleet, "rgb1")._replace(members=[changed])
    with pytest.raises(singan_jax.WorkdirError, match=r"rgb1\.png: differs from the image"):
        batch.reals(1)


# --- the command line -------------------------------------------------------------------------

_MANY = """
import json, sys
from absl import flags
from launch import cli, manipulate
from singan_jax.errors import InputError
import singan_jax
singan_jax.configure_jax(cpu_devices=1)
singan_jax.configure_jax = lambda: None
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["manipulate", *arguments])
    try:
        manipulate.main()
    except InputError as error:
        print("refused: " + " ".join(cli.spelled(str(error)).split()))
"""


def test_bad_input_is_refused_in_one_line(folder, tmp_path):
    images = folder / "images"
    mask = np.zeros((14, 20, 1), np.uint8)
    mask[3:5] = 255
    write_png(tmp_path / "mask.png", mask)
    write_png(tmp_path / "fits.png", np.pad(mask, ((0, 3), (0, 0), (0, 0)))[:, :19])
    rgb = f"--input={images}/rgb1.png"
    (tmp_path / "twins").mkdir()
    for suffix in ("jpg", "png"):
        PIL.Image.fromarray(tiny.image(4).pixels).save(tmp_path / f"twins/rgb1.{suffix}")
    one = "--members=rgb1"
    cases = {
        ("harmonize", one, rgb): "rgb1.png: has no alpha channel that could be its mask; name one",
        ("edit", one, rgb): "rgb1.png: has no alpha channel that could be its mask; name one",
        ("paint", one, f"--input={tmp_path}/twins"): "twins/rgb1.png: is named 'rgb1' too, as",
        ("edit", one, f"--input={images}", f"--mask={images}"): "rgb1.png: is an input itself, so",
        ("edit", one, rgb, f"--mask={tmp_path}/twins/.."): "holds no mask named 'rgb1'; add it, or",
        ("paint", one): "--task=paint needs --input",
        ("harmonize", one, rgb, f"--mask={tmp_path}/mask.png"): "mask.png: is 20x14 pixels, its",
        ("harmonize", one, rgb, f"--mask={tmp_path}/none.png"): "none.png: does not exist",
        ("paint", f"--input={tmp_path}"): "holds no image named 'rgb1'",
        ("paint", one, rgb, "--start_scale=0"): "start scale 0 is out of range; for 'rgb1' it",
        ("paint", one, rgb, "--start_scale=3"): "it may be 1 to 2",
        ("animate", one, "--start_scale=-1"): "it may be 0 to 2",
        ("animate", one, "--beta=1", "--start_scale=0"): "beta 1.0 is out of range",
        ("retarget", one, "--width=99999999"): "an output of 99999999x17 pixels needs",
        ("super_resolve", one, rgb, "--factor=9e5"): "GB of memory or more, and the device has",
        ("super_resolve", one, rgb, "--factor=0.5"): "factor 0.5 of super-resolution must be",
        ("retarget", "--members=nobody"): "has no member 'nobody'; its 2 members are",
        ("paint", one, rgb, "--quantize"): "--quantize trains the start scale further; choose",
        ("paint", one, rgb, "--retrain=continue"): "--retrain is for --quantize; give both, or",
        ("harmonize", one, rgb, f"--mask={tmp_path}/fits.png", f"--images={folder}/gray.png"): (
            "the image of 'rgb1' is not there, or has changed since training; name it by --images"
        ),
        ("animate", "--width=40"): "--width is not for --task=animate",
        ("animate", "--images=x.png"): "--images is not for --task=animate",
    }
    common = [f"--workdir={folder}/fleet", f"--out={tmp_path}/out"]
    arguments = [[f"--task={task}", *rest, *common] for task, *rest in cases]
    nowhere = ["--task=super_resolve", f"--workdir={tmp_path}/no", f"--out={tmp_path}/out"]
    write_png(tmp_path / "photo.png", tiny.image(1, (30, 42)).pixels)
    for factor in (4, 3):
        arguments.append([*nowhere, f"--input={tmp_path}/photo.png", f"--factor={factor}"])
    done = subprocess.run(
        [sys.executable, "-c", _MANY],
        input=json.dumps(arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, fourfold, tripled = done.stdout.splitlines()
    for line, (case, expected) in zip(lines, cases.items(), strict=True):
        assert line.startswith("refused: "), (case, line)
        assert expected in line, (case, line)
    assert fourfold.endswith("--config=super_resolution --config.max_size=42")
    ratio = f"--config.scale_factor={1 / 3 ** (1 / 5)}"
    assert tripled.endswith(f"--config=super_resolution {ratio} --config.max_size=42")
    assert not (tmp_path / "out").exists()


def test_the_command(folder, tmp_path):
    command = [sys.executable, "-m", "launch.manipulate", f"--workdir={folder}/fleet"]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    paint = ["--task=paint", f"--input={folder}/images", f"--out={tmp_path}/out"]
    done = subprocess.run([*command, *paint, "--start_scale=2"], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out: 2 files, listed in manifest.jsonl\n"
    assert len(list((tmp_path / "out").glob("*/scale2_0.png"))) == 2
    record = json.loads((tmp_path / "out/run.json").read_text())["settings"]
    assert record["task"] == "paint"
    assert record["start_scale"] == 2
    done = subprocess.run([*command, "--task=edit", f"--out={tmp_path}/no"], **options)
    assert done.returncode == 2
    assert done.stderr == "--task=edit needs --input; see --help\n"
