"""Runs of the official code as members of a fleet: what they generate, and what is refused."""

import dataclasses
import functools
import json
import pathlib
import shutil
import subprocess
import sys

import goldens_io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pickles import Creates

import singan_jax
from singan_jax import InputError, torch_files
from singan_jax.conv import choice
from singan_jax.images.read import from_float, read_image
from singan_jax.official import run as official
from singan_jax.official import settings
from singan_jax.official.importing import import_runs
from singan_jax.scale import generate
from singan_jax.scale.networks import Discriminator
from singan_jax.scale.pyramid import Pyramid, build_pyramid

RUN = goldens_io.FOLDER / "official_run"


@pytest.fixture(scope="module")
def toolbox():
    return goldens_io.load("toolbox.npz")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run(torch):
    return official.read_run(RUN)


@pytest.fixture(scope="module")
def fleet_folder(torch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "fleet"
    import_runs([RUN], folder)
    return folder


@pytest.fixture
def copied(torch, tmp_path):
    """A copy of the run, to be damaged."""
    return shutil.copytree(RUN, tmp_path / "copied")


def change(torch, path, alter):
    """Rewrites a file with what `alter` makes of its content."""
    torch.save(alter(torch.load(path, weights_only=True)), path)


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def replayed(config, plan, scales, noises, scale_h):
    image = None
    for n, (frozen, noise) in enumerate(zip(scales, noises, strict=True)):
        height, width = plan.sizes[n]
        if n == 0:
            channels = frozen.generator["params"]["stack"]["bias"].size
            prev = jnp.zeros((1, *generate.image_size(config, noise), channels))
        else:
            prev = generate.enlarge(config, plan, image, (height, round(scale_h * width)))
        image = generate.run_scale(config, n, frozen, prev, noise)
    return image


def replay(run, noises, scale_h=1.0):
    """The run's image from the noise of each scale, (1, h, w, 1 or C) each."""
    return np.asarray(replayed(run.config, run.pyramid, run.scales, noises, scale_h))


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def assert_replayed(image, expected, flipped=0.05):
    """Equal to 1e-4, but for pixels whose level the truncation to 8 bits flips."""
    difference = np.abs(image - expected)
    assert (difference > 1e-4).mean() < flipped
    assert 127.5 * difference.max() < 2
    assert 127.5 * difference.mean() < 0.05


@pytest.mark.torch
@pytest.mark.parametrize(
    ("case", "start", "scale_h"),
    [
        ("sample_start0", 0, 1.0),
        ("sample_start2", 2, 1.0),
        ("sample_wide", 0, 1.5),
        ("reconstruction", 6, 1.0),
    ],
)
def test_recorded_noise_gives_the_recorded_image(run, toolbox, case, start, scale_h, monkeypatch):
    drawn = [goldens_io.nhwc(toolbox[f"{case}/draw/{n:03d}"]) for n in range(6)]
    noises = [s.z_rec for s in run.scales[:start]] + drawn[start:]
    expected = goldens_io.nhwc(toolbox[f"{case}/out"])
    # In one of the images a level may flip and spread over its finer scales: with Winograd's form,
    # and with the plain one on some processors.
    assert_replayed(replay(run, noises, scale_h), expected)
    monkeypatch.setattr(choice, "_WINOGRAD_MIN_CHANNELS", 2**20)
    jax.clear_caches()
    assert_replayed(replay(run, noises, scale_h), expected)
    monkeypatch.undo()
    jax.clear_caches()
    # No level flips where ours has no rounding errors, so all of the image must be equal.
    with jax.enable_x64(True):
        precise = dataclasses.replace(run, scales=float64(run.scales))
        exact = replay(precise, float64(noises), scale_h)
        assert exact.dtype == np.float64
        np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-5)


@pytest.mark.torch
def test_settings_and_image(run, toolbox):
    assert run.pyramid.sizes == tuple(map(tuple, toolbox["shapes"]))
    assert run.pyramid.ratio == pytest.approx(float(toolbox["scale_factor"]), abs=1e-15)
    widths = [run.config.width(n) for n in range(6)]
    assert widths == toolbox["nfc"].tolist()
    np.testing.assert_allclose([s.noise_amp for s in run.scales], toolbox["noise_amp"], rtol=1e-6)
    np.testing.assert_array_equal(run.image.pixels, toolbox["image"])
    assert (run.config.min_size, run.config.num_layers) == (20, 5)
    assert run.config.uint8_resize
    assert run.config.redraw_z_rec
    assert run.image.name == "official_run"


@pytest.mark.torch
def test_critic_scores_as_pytorch_does(run, torch):
    """In evaluation mode, where the running means take part."""
    state = torch_files.state_dict(RUN / "4/netD.pth")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 19, 21, 3)).astype(np.float32)
    x = torch.from_numpy(np.moveaxis(images, -1, 1))
    for name in ("head", "body.block1", "body.block2", "body.block3"):
        layer = {k.removeprefix(f"{name}."): torch.from_numpy(v) for k, v in state.items()}
        x = torch.nn.functional.conv2d(x, layer["conv.weight"], layer["conv.bias"])
        statistics = layer["norm.running_mean"], layer["norm.running_var"]
        x = torch.nn.functional.batch_norm(x, *statistics, layer["norm.weight"], layer["norm.bias"])
        x = torch.nn.functional.leaky_relu(x, 0.2)
    tail = torch.from_numpy(state["tail.weight"]), torch.from_numpy(state["tail.bias"])
    expected = torch.nn.functional.conv2d(x, *tail).numpy()
    critic = Discriminator(16, 5)
    scores = critic.apply(run.discriminators[4], images, train=False)
    np.testing.assert_allclose(np.moveaxis(scores, -1, 1), expected, atol=1e-5)


@pytest.mark.torch
def test_a_run_becomes_a_finished_fleet(fleet_folder, toolbox, tmp_path):
    fleet = singan_jax.load_fleet(fleet_folder)
    (member,) = fleet.members
    assert fleet.num_scales(member) == 6
    assert not fleet.failed
    expected = goldens_io.hwc(toolbox["reconstruction/out"])
    finest = fleet.scales(0)[-1]
    assert_replayed(finest.rec[0], expected)
    assert finest.rec_next.shape == finest.rec.shape

    image = read_image(member.source, fleet.config)
    assert image.digest == member.digest
    (close,) = fleet.sample(3, jax.random.key(0), start_scale=5)
    (far,) = fleet.sample(3, jax.random.key(0))
    assert far.pixels.shape == (3, 48, 60, 3)
    # Fresh noise at the finest scale alone changes details, and from the coarsest on the layout.
    reconstruction = from_float(expected, 8).astype(float)
    errors = [np.abs(s.pixels - reconstruction).mean((1, 2, 3)) for s in (close, far)]
    assert (errors[0] > 0).all()
    assert errors[0].max() < errors[1].min()


@pytest.mark.torch
def test_training_goes_on_with_nothing(fleet_folder):
    config = singan_jax.load_fleet(fleet_folder).config
    images, errors = singan_jax.read_images([str(fleet_folder / "images")], config)
    assert not errors
    before = {path: path.stat().st_mtime_ns for path in fleet_folder.glob("groups/*/*")}
    assert len(before) == 6
    assert singan_jax.train_fleet(images, config, fleet_folder).failed == []
    after = {path: path.stat().st_mtime_ns for path in fleet_folder.glob("groups/*/*")}
    assert after == before


@pytest.mark.torch
def test_several_runs_in_one_fleet(copied, tmp_path):
    models = tmp_path / "TrainedModels"
    first = models / "first" / "scale_factor=0.750000,alpha=10"
    second = models / "second" / "scale_factor=0.750000,alpha=10"
    other = models / "third" / "scale_factor=0.750000,alpha=100"
    for folder in (first, second, other):
        shutil.copytree(copied, folder)
    import_runs([first], tmp_path / "fleet")
    members = import_runs([first, second], tmp_path / "fleet")
    assert [(m.name, m.group) for m in members] == [("first", 0), ("second", 1)]
    together = import_runs([first, second], tmp_path / "together")
    assert [(m.name, m.group, m.index) for m in together] == [("first", 0, 0), ("second", 0, 1)]
    for folder, groups in ((tmp_path / "fleet", (0, 1)), (tmp_path / "together", (0, 0))):
        fleet = singan_jax.load_fleet(folder)
        places = [
            (fleet.scales(group), m.index) for group, m in zip(groups, fleet.members, strict=True)
        ]
        first_model, second_model = (
            jax.tree.map(lambda x, n=n: x[n], scales) for scales, n in places
        )
        jax.tree.map(np.testing.assert_array_equal, first_model, second_model)

    with pytest.raises(InputError, match=r"alpha=100: has other settings than .*alpha_rec 10\.0 t"):
        import_runs([first, other], tmp_path / "fleet")
    with pytest.raises(InputError, match=r"fleet: holds a fleet with other settings \(alpha_rec"):
        import_runs([other], tmp_path / "fleet")
    with pytest.raises(InputError, match=r"has the same name, 'first', as .*; rename one"):
        import_runs([first, first], tmp_path / "fleet")


@pytest.mark.torch
def test_an_interrupted_import_goes_on(fleet_folder, tmp_path):
    folder = shutil.copytree(fleet_folder, tmp_path / "fleet")
    shutil.rmtree(folder / "groups/0000/scale_04_members_0000-0000")
    shutil.rmtree(folder / "groups/0000/scale_05_members_0000-0000")
    import_runs([RUN], folder)
    fleet, whole = singan_jax.load_fleet(folder), singan_jax.load_fleet(fleet_folder)
    assert fleet.num_scales(fleet.members[0]) == 6
    jax.tree.map(np.testing.assert_array_equal, fleet.scales(0), whole.scales(0))


@pytest.mark.torch
def test_one_channel(torch, copied):
    """As a model of a gray image has it: the first channel of the run's."""
    for n in range(6):
        for network, tail in (("G", "tail.0"), ("D", "tail")):

            def alter(state, tail=tail, network=network):
                state["head.conv.weight"] = state["head.conv.weight"][:, :1]
                if network == "G":
                    state[f"{tail}.weight"] = state[f"{tail}.weight"][:1]
                    state[f"{tail}.bias"] = state[f"{tail}.bias"][:1]
                return state

            change(torch, copied / f"{n}/net{network}.pth", alter)
    for name in ("reals", "Zs"):
        change(torch, copied / f"{name}.pth", lambda arrays: [a[:, :1] for a in arrays])
    gray, colour = official.read_run(copied), official.read_run(RUN)
    assert gray.channels == 1
    np.testing.assert_array_equal(gray.image.pixels[..., 0], colour.image.pixels[..., 0])
    assert replay(gray, [s.z_rec for s in gray.scales]).shape == (1, 48, 60, 1)


def test_settings_follow_from_the_sizes():
    cases = json.loads((goldens_io.FOLDER / "pyramid_shapes.json").read_text())
    for case in cases:
        folder = pathlib.Path(f"x/scale_factor={case['scale_factor']:f},alpha=7")
        reals = [np.zeros((*size, 1)) for size in case["shapes"]]
        if len(reals) == 2:
            with pytest.raises(InputError, match="of 3 or more scales"):
                settings.config_of(folder, reals, 32, 5)
            continue
        config = settings.config_of(folder, reals, 32, 5)
        plan = Pyramid.of(reals[-1].shape[:2], config)
        assert [list(size) for size in plan.sizes] == case["shapes"]
        assert plan.ratio == pytest.approx(case["adjusted_factor"], abs=1e-12)
        assert (config.min_size, config.alpha_rec) == (case["min_size"], 7.0)


def test_the_image_is_found_behind_the_roundings():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    image = singan_jax.Image("x", "x.png", pixels)
    config = singan_jax.Config(uint8_resize=True)
    plan = Pyramid.of((40, 50), config)
    *_, (finest,) = build_pyramid(image.to_float(), plan, uint8=True)
    found = settings.image_of(pathlib.Path("x/scale_factor=0.75,alpha=10"), finest)
    assert found.name == "x"
    lost = pixels <= 2  # all become 0
    np.testing.assert_array_equal(found.pixels[~lost], pixels[~lost])
    assert (found.pixels[lost] == 0).all()


# Bad input.


def test_not_a_run(tmp_path):
    with pytest.raises(InputError, match=r"is no run of the official SinGAN .*; name the folder"):
        official.read_run(tmp_path)
    with pytest.raises(InputError, match="nowhere: is no run of the official SinGAN"):
        official.read_run(tmp_path / "nowhere")


def test_the_command_line_says_it_in_one_line(tmp_path):
    flags = [f"--run={tmp_path}", f"--workdir={tmp_path / 'fleet'}"]
    command = [sys.executable, "-m", "launch.import_official", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "is no run of the official SinGAN" in line


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"reals\.pth: .* pip install 'singan-jax\[torch\]'"):
        official.read_run(RUN)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("3", r"copied: has no 3/netG\.pth, but reals\.pth has 6 scales; give the whole folder"),
        ("5/netG.pth", r"copied: has no 5/netG\.pth, but reals\.pth has 6 scales"),
        ("2/netD.pth", r"2/netD\.pth: no such file"),
        ("Zs.pth", r"Zs\.pth: no such file"),
    ],
)
def test_missing_files(copied, missing, message):
    path = copied / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=message):
        official.read_run(copied)


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["reals.pth", "Zs.pth", "NoiseAmp.pth", "1/netG.pth", "1/netD.pth"]
)
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run(torch, copied, tmp_path, name, legacy):
    attack = [Creates(tmp_path / "created")]
    torch.save(attack, copied / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=f"{name}: damaged, or holds more than weights") as caught:
        import_runs([copied], tmp_path / "fleet")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "created").exists()
    assert not (tmp_path / "fleet").exists()


@pytest.mark.torch
def test_pickled_modules_are_not_read(copied, tmp_path):
    (copied / "Gs.pth").write_bytes(b"anything")
    assert len(official.read_run(copied).scales) == 6


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["reals.pth", "Zs.pth", "NoiseAmp.pth", "0/netG.pth", "4/netD.pth"]
)
def test_truncated_files(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{name}: damaged") as caught:
        official.read_run(copied)
    assert "\n" not in str(caught.value)


def without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


def altered(key, alter):
    return lambda state: {**state, key: alter(state[key])}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "alter", "message"),
    [
        ("0/netG.pth", without("head.conv.weight"), r"\(head\.conv\.weight is missing\)"),
        ("2/netG.pth", without("tail.0.bias"), r"\(tail\.0\.bias is missing\)"),
        ("2/netD.pth", without("body.block2.norm.running_mean"), "running_mean is missing"),
        ("2/netD.pth", lambda s: {**s, "extra": s["tail.bias"]}, r"\(extra is unknown\)"),
        ("4/netG.pth", altered("head.conv.weight", lambda w: w[:, :2]), r"shape \(16, 2, 3, 3\) i"),
        ("4/netG.pth", altered("head.conv.bias", lambda b: b * float("nan")), "not finite"),
        ("4/netG.pth", lambda s: [], r"not a state dict \(it holds list\)"),
        ("Zs.pth", lambda zs: zs[:5], r"Zs\.pth: holds 5 entries, but reals\.pth has 6 scales"),
        ("Zs.pth", lambda zs: [*zs[:5], zs[4]], r"noise of scale 5 is not of shape \(1, 3, 58, 7"),
        ("Zs.pth", lambda zs: [*zs[:5], zs[5] + 1], "noise of scale 5 reaches into the padding"),
        ("Zs.pth", lambda zs: [zs[0].cumsum(1), *zs[1:]], "differs between channels"),
        ("NoiseAmp.pth", lambda amps: {"a": 1}, r"NoiseAmp\.pth: holds dict, but"),
        ("NoiseAmp.pth", lambda amps: ["1", *amps[1:]], "the entry of scale 0 is no number"),
        ("reals.pth", lambda reals: {}, r"reals\.pth: holds no list of"),
        ("reals.pth", lambda reals: [r * 2 for r in reals], r"images in \[-1, 1\]"),
        ("reals.pth", lambda reals: [r * 0.9 for r in reals], "its finest scale is no 8-bit image"),
        ("reals.pth", lambda reals: reals[::-1], r"its scales \(60x48, .* of the last one's size"),
        ("reals.pth", lambda reals: [*reals[:2], reals[2][..., 1:], *reals[3:]], "36x29|35x29"),
    ],
)
def test_files_of_another_kind(torch, copied, name, alter, message):
    change(torch, copied / name, alter)
    with pytest.raises(InputError, match=message) as caught:
        official.read_run(copied)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.torch
def test_noise_in_the_padding_is_a_run_for_animation(torch, copied):
    def fill(zs):
        noise = torch.randn(1, 1, *zs[0].shape[2:], generator=torch.Generator().manual_seed(0))
        return [noise.repeat(1, 3, 1, 1), *zs[1:]]

    change(torch, copied / "Zs.pth", fill)
    run = official.read_run(copied)
    assert run.config.noise_padding
    assert [s.z_rec.shape[1:3] for s in run.scales] == [
        (height + 10, width + 10) for height, width in run.pyramid.sizes
    ]
    noises = [np.asarray(s.z_rec) for s in run.scales]
    assert replay(run, noises).shape == (1, *run.pyramid.sizes[-1], 3)


@pytest.mark.torch
def test_another_number_of_layers_than_the_noise_was_padded_for(torch, copied):
    for n in range(6):
        for network in "GD":
            change(
                torch,
                copied / f"{n}/net{network}.pth",
                lambda state: {k: v for k, v in state.items() if "block3" not in k},
            )
    with pytest.raises(InputError, match=r"noise of scale 0 is not of shape \(1, 3, 28, 33\)"):
        official.read_run(copied)
