"""Features are computed once, kept, and depend on the patch alone."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from classify.backbones.backbone import load_backbone
from classify.cells import StudyError
from classify.classifiers import features
from classify.classifiers.features import FeatureCache


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("resnet_small", input_size=32)


def patches(count, side=24, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, side, side, 1), np.uint8))


def names(pixels):
    return [f"patch {n}" for n in range(len(pixels))]


class Counted:
    """Counts the blocks that a cache computes."""

    def __init__(self, cache, monkeypatch):
        self.blocks = 0
        extract = cache._extract

        def counting(blocks, variables):
            self.blocks += len(blocks)
            return extract(blocks, variables)

        monkeypatch.setattr(cache, "_extract", counting)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 2)


def test_equal_to_the_backbone_whatever_is_beside_a_patch(backbone, tmp_path):
    pixels = [*patches(5), *patches(3, side=40, seed=1)]
    expected = np.concatenate(
        [backbone.features(backbone.variables, patch[None]) for patch in pixels]
    )
    together = FeatureCache(tmp_path / "a", backbone).get(pixels, names(pixels), progress=False)
    assert together.shape == (8, backbone.num_features)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-5)
    shuffled = [6, 2, 0]
    alone = FeatureCache(tmp_path / "b", backbone).get(
        [pixels[n] for n in shuffled], names(shuffled), progress=True
    )
    np.testing.assert_allclose(alone, together[shuffled], rtol=1e-5, atol=1e-5)


def test_each_patch_is_computed_once_and_kept(backbone, tmp_path, monkeypatch):
    width = 2 * jax.device_count()  # patches in one call
    pixels = patches(width + 1)
    cache = FeatureCache(tmp_path, backbone)
    counted = Counted(cache, monkeypatch)
    first = cache.get([*pixels, pixels[0]], names([*pixels, 0]), progress=False)
    assert counted.blocks == 2 * jax.device_count()
    np.testing.assert_array_equal(first[0], first[-1])
    np.testing.assert_array_equal(cache.get(pixels, names(pixels), progress=False), first[:-1])
    assert counted.blocks == 2 * jax.device_count()

    again = FeatureCache(tmp_path, backbone)
    monkeypatch.setattr(again, "_extract", None)
    np.testing.assert_array_equal(
        again.get(pixels[::-1], names(pixels), progress=False), first[:-1][::-1]
    )


def test_what_others_left_among_the_parts_is_no_part(backbone, tmp_path, monkeypatch):
    pixels = patches(2)
    expected = FeatureCache(tmp_path, backbone).get(pixels, names(pixels), progress=False)
    (part,) = tmp_path.rglob("*.npz")
    strays = [part.with_name(name) for name in (f"._{part.name}", f"copy of {part.name}", "x.npz")]
    for path in strays:
        path.write_text("stray")
    again = FeatureCache(tmp_path, backbone)
    monkeypatch.setattr(again, "_extract", None)
    found = again.get(pixels, names(pixels), progress=False)
    np.testing.assert_array_equal(found, expected)
    assert all(path.exists() for path in strays)


def test_an_interruption_loses_one_part(backbone, tmp_path, monkeypatch):
    pixels = patches(3 * 2 * jax.device_count())
    cache = FeatureCache(tmp_path, backbone)
    extract, calls = cache._extract, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(*arguments)

    monkeypatch.setattr(cache, "_extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.get(pixels, names(pixels), progress=False)
    again = FeatureCache(tmp_path, backbone)
    counted = Counted(again, monkeypatch)
    again.get(pixels, names(pixels), progress=False)
    assert counted.blocks == jax.device_count()


def test_other_weights_have_other_features(backbone, tmp_path):
    pixels = patches(2)
    other = load_backbone("resnet_small", input_size=32, seed=1)
    both = [
        FeatureCache(tmp_path, one).get(pixels, names(pixels), progress=False)
        for one in (backbone, other)
    ]
    assert np.abs(both[0] - both[1]).max() > 1e-2
    assert len(list(tmp_path.iterdir())) == 2


def test_features_that_are_not_finite_are_refused_and_not_kept(backbone, tmp_path):
    stem = {**backbone.variables["params"]["conv1"], "bias": np.full(16, np.nan, np.float32)}
    variables = {**backbone.variables, "params": {**backbone.variables["params"], "conv1": stem}}
    cache = FeatureCache(tmp_path, dataclasses.replace(backbone, variables=variables))
    with pytest.raises(StudyError, match=r"^patch one: its features from resnet_small, random"):
        cache.get(patches(2), ["one", "two"], progress=False)
    assert list(tmp_path.glob("*/*")) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "pickle", "narrow"])
def test_a_damaged_part_is_named(backbone, damage, tmp_path):
    pixels = patches(2)
    FeatureCache(tmp_path, backbone).get(pixels, names(pixels), progress=False)
    (path,) = tmp_path.glob("*/*.npz")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "pickle":
        np.savez(path, keys=np.array([print], object), features=np.zeros((1, 128)))
    else:
        np.savez(path, keys=np.array(["a"]), features=np.zeros((1, 3), np.float32))
    with pytest.raises(StudyError, match=rf"{re.escape(str(path))}: damaged .* delete it"):
        FeatureCache(tmp_path, backbone)
