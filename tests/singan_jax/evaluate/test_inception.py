"""Inception's first layers and SIFID against the original's vectors and PyTorch's operations."""

import json

import goldens_io as goldens
import numpy as np
import pytest

from singan_jax import InputError, torch_files
from singan_jax.evaluate import inception
from singan_jax.evaluate.frechet import single_image_distance

# What the vectors' shapes leave out: the layers between the two max-pools.
BEYOND = {
    "Conv2d_3b_1x1.conv.weight": (80, 64, 1, 1),
    "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
    **{
        f"{name}.bn.{entry}": (width,)
        for name, width in (("Conv2d_3b_1x1", 80), ("Conv2d_4a_3x3", 192))
        for entry in ("weight", "bias", "running_mean", "running_var")
    },
}


@pytest.fixture(scope="module")
def vectors():
    return goldens.load("inception_stem.npz")


@pytest.fixture(scope="module")
def state(vectors):
    shapes = json.loads((goldens.FOLDER / "inception_stem_shapes.json").read_text())
    found = {key: goldens.drawn(key, shape, int(vectors["seed"])) for key, shape in shapes.items()}
    found |= {key: goldens.drawn(key, shape, 1) for key, shape in BEYOND.items()}
    return found | {"fc.weight": np.zeros((1000, 2048), np.float32)}


@pytest.fixture
def weights(state, monkeypatch, tmp_path):
    monkeypatch.setattr(torch_files, "state_dict", lambda path: state)
    return inception.load(tmp_path)


def test_features_and_distance_equal_the_originals(weights, vectors):
    images = goldens.nhwc(np.concatenate([vectors["image_a"], vectors["image_b"]]))
    ours = np.asarray(inception.features(weights, images)[0])
    theirs = goldens.nhwc(np.concatenate([vectors["features_a"], vectors["features_b"]]))
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert single_image_distance(*ours) == pytest.approx(float(vectors["frechet"]), rel=1e-5)


def test_gray_images_are_repeated(weights):
    gray = np.random.default_rng(0).uniform(size=(1, 24, 25, 1)).astype(np.float32)
    colour = np.repeat(gray, 3, axis=-1)
    for ours, same in zip(
        inception.features(weights, gray), inception.features(weights, colour), strict=True
    ):
        np.testing.assert_array_equal(ours, same)


@pytest.mark.parametrize("size", [(23, 23), (40, 31)])
def test_sizes_of_the_maps(weights, size):
    maps = inception.features(weights, np.zeros((1, *size, 1), np.float32))
    assert [x.shape[-1] for x in maps] == list(inception.FEATURES)
    assert min(maps[1].shape[1:3]) >= 2


@pytest.mark.torch
def test_features_before_the_second_pool_equal_pytorchs(state, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}
    torch.save(tensors, tmp_path / "inception.pth")
    images = np.random.default_rng(3).uniform(size=(2, 45, 38, 3)).astype(np.float32)
    x = 2 * torch.from_numpy(images.transpose(0, 3, 1, 2)) - 1
    layers = [("1a_3x3", 2, 0), ("2a_3x3", 1, 0), ("2b_3x3", 1, 1), ("3b_1x1", 1, 0)]
    for name, stride, padding in [*layers, ("4a_3x3", 1, 0)]:
        name = f"Conv2d_{name}"
        if "3b" in name:
            x = torch.nn.functional.max_pool2d(x, 3, 2)
        x = torch.nn.functional.conv2d(x, tensors[f"{name}.conv.weight"], None, stride, padding)
        entries = ("running_mean", "running_var", "weight", "bias")
        norm = [tensors[f"{name}.bn.{entry}"] for entry in entries]
        x = torch.relu(torch.nn.functional.batch_norm(x, *norm, eps=1e-3))
    theirs = goldens.nhwc(x.numpy())
    ours = np.asarray(inception.features(inception.load(tmp_path / "inception.pth"), images)[1])
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Conv2d_4a_3x3.bn.bias": None}, "Conv2d_4a_3x3.bn.bias is missing"),
        ({"Conv2d_1a_3x3.conv.weight": np.zeros((64, 3, 7, 7))}, r"shape \(64, 3, 7, 7\)"),
        ({"Conv2d_2b_3x3.bn.running_var": np.full(64, np.nan)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit(change, problem, state, monkeypatch, tmp_path):
    changed = {key: value for key, value in (state | change).items() if value is not None}
    monkeypatch.setattr(torch_files, "state_dict", lambda path: changed)
    with pytest.raises(InputError, match=f"weights.pth: does not fit Inception-v3: .*{problem}"):
        inception.load(tmp_path / "weights.pth")
