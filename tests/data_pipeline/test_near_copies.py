"""Near copies of drawn mammograms are found, and what are none are not."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tifffile
import tiny_bcdr
from scipy import ndimage

from data_pipeline import bcdr, near_copies


@functools.cache
def breast(seed, side=320):
    """A breast at the left edge, of its own outline and tissue, as (side, side) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    wide, high, middle = rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.48), rng.uniform(0.45, 0.55)
    inside = (x / wide) ** 2 + ((y - middle) / high) ** 2 < 1
    tissue = sum(
        ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma) * sigma
        for sigma in (2, 6, 15, 30)
    )
    level = 90 + 40 * tissue / tissue.std()
    grain = rng.normal(0, 3, (side, side))
    return np.clip(np.where(inside, level, 8) + grain, 0, 230).astype(np.uint8)


def resaved(pixels):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=40)
    with PIL.Image.open(file) as image:
        return np.array(image)


CHANGES = {
    "as it is": lambda p: p,
    "re-saved": resaved,
    "brighter": lambda p: p + 25,
    "darker": lambda p: (p * 0.7).astype(np.uint8),
    "gamma": lambda p: (255 * (p / 255) ** 0.8).astype(np.uint8),
    "shifted": lambda p: np.roll(p, (2, 1), (0, 1)),
    "cut": lambda p: p[8:-9, :-10],
    "cut at a side": lambda p: p[:, 14:],
    "smaller": lambda p: p.reshape(160, 2, 160, 2).mean((1, 3)).astype(np.uint8),
    "mirrored": lambda p: p[:, ::-1],
    "inverted": lambda p: 255 - p,
    "all of it": lambda p: resaved(np.ascontiguousarray(255 - p[5:, ::-1])),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("copy_first", [False, True])
def test_a_copy_is_found_among_others(change, copy_first):
    images = [breast(n) for n in range(12)]
    changed = CHANGES[change](images[5])
    images = [changed, *images] if copy_first else [*images, changed]
    wanted = (0, 6) if copy_first else (5, 12)
    found = near_copies.find(
        [near_copies.thumbnail(p) for p in images], [str(n) for n in range(13)]
    )
    assert [pair[:2] for pair in found] == [wanted]
    assert near_copies.NEAR <= found[0][2] <= 1


def test_mammograms_of_one_owner_are_not_compared():
    texts = [near_copies.thumbnail(breast(0))] * 3
    assert [pair[:2] for pair in near_copies.find(texts, ["a", "b", "a"])] == [(0, 1), (1, 2)]
    assert near_copies.find(texts, ["a", "a", "a"]) == []
    assert near_copies.find(texts[:1], ["a"]) == near_copies.find([], []) == []


def test_what_shows_nothing_is_no_copy():
    rng = np.random.default_rng(0)
    for pixels in (np.full((90, 70), 9, np.uint8), rng.integers(8, 11, (90, 70), np.uint8)):
        texts = [near_copies.thumbnail(pixels)] * 2
        assert near_copies.find(texts, ["a", "b"]) == []
    assert near_copies.is_blank(near_copies.thumbnail(np.full((90, 70), 9, np.uint8)))
    assert not near_copies.is_blank(near_copies.thumbnail(breast(0)))


def test_blocks_of_rows_change_nothing(monkeypatch):
    texts = [near_copies.thumbnail(breast(n // 2)) for n in range(14)]
    owners = [str(n) for n in range(14)]
    whole = near_copies.find(texts, owners)
    assert [pair[:2] for pair in whole] == [(2 * n, 2 * n + 1) for n in range(7)]
    monkeypatch.setattr(near_copies, "_BLOCK", 3)
    assert near_copies.find(texts, owners) == whole


def test_similarity_is_the_correlation_of_evened_thumbnails():
    """Of uncut thumbnails, in float64, by another library's filters."""
    images = [breast(n) for n in range(2)]
    shrunk = [p.reshape(64, 5, 64, 5).mean((1, 3)).round() for p in images]
    found = near_copies._features(
        near_copies._resampled(np.array(shrunk), near_copies._cut(32)[:1])
    )
    wanted = []
    for small in shrunk:
        small = small.reshape(32, 2, 32, 2).mean((1, 3))
        detail = small - ndimage.gaussian_filter(small, 2, mode="nearest")
        contrast = np.sqrt(ndimage.gaussian_filter(detail**2, 2, mode="nearest"))
        wanted.append((detail / (contrast + 2)).ravel())
    assert found[0] @ found[1] == pytest.approx(np.corrcoef(wanted)[0, 1], abs=1e-5)


def test_the_phantom_has_none(tmp_path):
    mammograms = bcdr.read(tiny_bcdr.write(tmp_path / "bcdr")).mammograms
    texts = [near_copies.thumbnail(tifffile.imread(m.file)) for m in mammograms]
    assert near_copies.find(texts, [m.patient_id for m in mammograms]) == []
