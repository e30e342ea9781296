"""Weights from files: each fault is named in one line, and no code in a file is run."""

import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from pickles import Creates

from classify.backbones import weights
from classify.backbones.backbone import load_backbone
from classify.backbones.resnet import RESNETS
from classify.cells import StudyError
from singan_jax import InputError


def state_of(name, classes=7):
    """A state dict as torchvision gives it, of a network of basic blocks."""
    rng = np.random.default_rng(0)
    state = {}

    def add(convolution, norm, *shape):
        state[f"{convolution}.weight"] = rng.normal(size=shape)
        for entry in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{entry}"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{norm}.num_batches_tracked"] = np.array(0)

    module = RESNETS[name]
    channels = module.width
    add("conv1", "bn1", channels, 3, 7, 7)
    for stage, depth in enumerate(module.depths):
        width = module.width * 2**stage
        for number in range(depth):
            block = f"layer{stage + 1}.{number}"
            add(f"{block}.conv1", f"{block}.bn1", width, channels, 3, 3)
            add(f"{block}.conv2", f"{block}.bn2", width, width, 3, 3)
            if channels != width:
                add(f"{block}.downsample.0", f"{block}.downsample.1", width, channels, 1, 1)
            channels = width
    state["fc.weight"], state["fc.bias"] = rng.normal(size=(classes, channels)), np.zeros(classes)
    return {
        key: value.astype(np.int64 if value.ndim == 0 else np.float32)
        for key, value in state.items()
    }


@pytest.fixture(scope="module")
def resnet18():
    return state_of("resnet18")


def saved(state, folder):
    path = folder / "weights.safetensors"
    safetensors.numpy.save_file(state, path)
    return path


def check_loaded(variables, state):
    np.testing.assert_array_equal(
        variables["params"]["layer2_0"]["conv1"]["kernel"],
        state["layer2.0.conv1.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        variables["params"]["layer2_0"]["downsample"]["scale"],
        state["layer2.0.downsample.1.weight"],
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["conv1"]["var"], state["bn1.running_var"]
    )
    leaves = jax.tree.leaves(variables)
    read = [v for key, v in state.items() if not key.startswith("fc.") and v.ndim]
    total = sum(float(v.astype(np.float64).sum()) for v in read)
    assert len(leaves) == len(read)
    assert sum(float(v.astype(np.float64).sum()) for v in leaves) == pytest.approx(total)


def test_safetensors(resnet18, tmp_path):
    check_loaded(weights.load(saved(resnet18, tmp_path), "resnet18"), resnet18)


def test_prefix_of_data_parallel_and_missing_last_layer(resnet18, tmp_path):
    state = {f"module.{k}": v for k, v in resnet18.items() if not k.startswith("fc.")}
    check_loaded(weights.load(saved(state, tmp_path), "resnet18"), resnet18)


def without(state):
    del state["layer3.1.bn2.running_mean"]


def with_unknown(state):
    state["layer9.weight"] = np.zeros(3, np.float32)


def reshaped(state):
    state["layer1.0.conv1.weight"] = np.zeros((64, 64, 1, 1), np.float32)


def not_finite(state):
    state["layer1.0.bn1.bias"] = np.full(64, np.nan, np.float32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without, r"resnet18: layer3\.1\.bn2\.running_mean is missing; name a file of torchvis"),
        (with_unknown, r"resnet18: layer9\.weight is unknown; name"),
        (reshaped, r"layer1\.0\.conv1\.weight has shape \(64, 64, 1, 1\) instead of \(64, 64, 3"),
        (not_finite, r"layer1\.0\.bn1\.bias has values that are not finite"),
    ],
)
def test_faults_are_named(resnet18, damage, message, tmp_path):
    state = dict(resnet18)
    damage(state)
    with pytest.raises(StudyError, match=message) as caught:
        weights.load(saved(state, tmp_path), "resnet18")
    assert "weights.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_architecture_is_named(tmp_path):
    path = saved(state_of("resnet34"), tmp_path)
    with pytest.raises(StudyError, match=r"looks like resnet34: choose `backbone`=resnet34"):
        weights.load(path, "resnet18")


def test_damaged_or_strange_files(resnet18, tmp_path):
    path = saved(resnet18, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StudyError, match=r"weights\.safetensors: damaged"):
        weights.load(path, "resnet18")
    with pytest.raises(StudyError, match=r"none\.pth: no such file"):
        weights.load(tmp_path / "none.pth", "resnet18")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(StudyError, match=r"weights\.h5: .* \.pth and \.safetensors files only"):
        weights.load(tmp_path / "weights.h5", "resnet18")


def test_pth_without_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"pip install 'singan-jax\[torch\]'"):
        weights.load(tmp_path / "weights.pth", "resnet18")


@pytest.mark.torch
def test_pth(resnet18, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    torch.save({key: torch.from_numpy(value) for key, value in resnet18.items()}, path)
    check_loaded(weights.load(path, "resnet18"), resnet18)

    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"weights\.pth: damaged") as caught:
        weights.load(path, "resnet18")
    assert "\n" not in str(caught.value)


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pth_is_not_run(legacy, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    attack = {"conv1.weight": Creates(tmp_path / "created")}
    torch.save(attack, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"weights\.pth: damaged, or holds more than weights") as e:
        weights.load(path, "resnet18")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "created").exists()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("held", "named"),
    [({"epoch": 3, "state_dict": {}}, "epoch, state_dict"), ([1], "list"), ({}, "nothing")],
)
def test_a_pth_without_state_dict(held, named, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(held, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=rf"not a state dict \(it holds {named}\)"):
        weights.load(tmp_path / "weights.pth", "resnet18")


def test_backbone_and_weights_must_go_together(tmp_path):
    with pytest.raises(StudyError, match=r"resnet50: needs `weights`=FILE"):
        load_backbone("resnet50")
    for name in ("alexnet", "resnet_small"):
        with pytest.raises(StudyError, match=rf"{name}: takes no weights from files"):
            load_backbone(name, tmp_path / "weights.pth")
    with pytest.raises(StudyError, match="backbone 'vgg': unknown; choose one of alexnet, resnet"):
        load_backbone("vgg")
    with pytest.raises(StudyError, match="input size 31: too small"):
        load_backbone("resnet_small", input_size=31)


def test_digest_tells_backbones_apart():
    digests = {
        load_backbone("resnet_small", seed=seed, input_size=size).digest
        for seed, size in ((0, 64), (1, 64), (0, 96))
    }
    assert len(digests) == 3
    assert load_backbone("resnet_small", input_size=64).digest in digests
    assert len(next(iter(digests))) == 64
