"""Finds near copies among mammograms: re-saved, brightened, shifted, cropped, mirrored, inverted.

A mammogram is compared by a thumbnail of 64x64 pixels, from which what is coarse is taken away and
whose contrast is evened out: most breasts look alike without that. Two thumbnails are as similar as
their correlation is far from 0, at the best of 81 ways to cut up to 5 % off the sides of one of
them, mirrored or not. That is too much work for every pair, so it is done for those that are most
alike at 16x16 pixels, uncut, where all pairs are a product of matrices, some rows at a time.

On the 322 films of mini-MIAS no two of different patients reach `NEAR`: of 51520 pairs the median
is 0.38, one in a thousand is above 0.896 and the greatest is 0.933. Copies of 41 of them all do:
saved as JPEG of quality 30 (least 0.996), by a gamma of 0.7 or 1.5 (0.947), at half the size
(0.999), shifted by 2 of 1024 pixels (0.984), cut by 3 or 5 % at all sides (0.944); of those cut by
1 %, which is furthest from the ways tried, 19 in 20 do (0.930).
"""

import base64
import functools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from data_pipeline.resizing import resize

NEAR = 0.94  # the least similarity of a near copy
_SIDE, _FINE, _COARSE = 64, 32, 16  # pixels of thumbnails as kept, as compared, as shortlisted
_SIGMA = 2.0  # what is coarser than that, in pixels as compared, does not count
_FLAT = 2.0  # levels; a contrast much below that is not evened out, as it is mostly rounding
_BLANK = 3.0  # levels; a thumbnail whose standard deviation is less shows nothing to compare
_CUTS = (0.0, 0.025, 0.05)  # shares of a side
_CANDIDATES, _LEAST = 32, 0.5  # of each mammogram: how many at most, and how similar they must be
_BLOCK = 256  # rows at a time, so that 10,000 mammograms need some 10 MB for their pairs


def thumbnail(pixels: np.ndarray) -> str:
    """What is kept of a mammogram, (H, W) uint8: 64x64 means over areas, as base64 of uint8."""
    return base64.b64encode(resize(pixels, _SIDE, _SIDE).tobytes()).decode()


def is_blank(text: str) -> bool:
    """Whether a thumbnail is of one level only."""
    return len(set(base64.b64decode(text))) == 1


def find(thumbnails: Sequence[str], owners: Sequence[str]) -> list[tuple[int, int, float]]:
    """The near copies among the mammograms of different owners.

    Args:
      thumbnails: of each mammogram, see `thumbnail`.
      owners: of each, such as patients.

    Returns:
      (place of one, place of a later one, similarity from `NEAR` to 1), the most similar first.
    """
    if len(thumbnails) < 2:
        return []
    data = np.frombuffer(b"".join(map(base64.b64decode, thumbnails)), np.uint8)
    images = data.reshape(-1, _SIDE, _SIDE)
    firsts, seconds = _candidates(images, np.unique(owners, return_inverse=True)[1])
    if not len(firsts):
        return []
    whole = _cut(_FINE)[:1]
    mirrored = _features(_resampled(images[:, :, ::-1], whole))
    plain = _features(_resampled(images, whole))
    found: dict[tuple[int, int], float] = {}
    starts = np.flatnonzero(np.diff(firsts, prepend=-1))
    for first, others in zip(firsts[starts], np.split(seconds, starts[1:]), strict=True):
        cut = _features(_resampled(images[first], _cut(_FINE)))  # (81, pixels)
        similarity = np.maximum(
            np.abs(cut @ plain[others].T).max(0), np.abs(cut @ mirrored[others].T).max(0)
        )
        for other in np.flatnonzero(similarity >= NEAR):
            pair = min(first, others[other]), max(first, others[other])
            value = min(float(similarity[other]), 1.0)
            found[pair] = max(value, found.get(pair, 0.0))
    pairs = [(int(a), int(b), round(value, 3)) for (a, b), value in found.items()]
    return sorted(pairs, key=lambda pair: (-pair[2], *pair[:2]))


def _candidates(images: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs to look at closely, both ways round, sorted by the first: two arrays (n,) int."""
    whole = _cut(_COARSE)[:1]
    plain = _features(_resampled(images, whole))
    mirrored = _features(_resampled(images[:, :, ::-1], whole))
    count = min(_CANDIDATES, len(images) - 1)
    found = []
    for start in range(0, len(images), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(images)))
        similarity = np.abs(plain[rows] @ plain.T)
        np.maximum(similarity, np.abs(plain[rows] @ mirrored.T), out=similarity)
        similarity[owners[rows][:, None] == owners] = 0
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        row, column = np.nonzero(np.take_along_axis(similarity, best, 1) >= _LEAST)
        found.append(np.stack([rows[row], best[row, column]], 1))
    pairs = np.concatenate(found)
    both_ways = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return both_ways[:, 0], both_ways[:, 1]


@functools.cache
def _cut(side: int) -> np.ndarray:
    """Means over areas of an axis of a thumbnail with its ends cut: (9, side, 64); first uncut."""
    maps = []
    for before in _CUTS:
        for after in _CUTS:
            edges = np.linspace(before * _SIDE, (1 - after) * _SIDE, side + 1)
            index = np.arange(_SIDE)
            overlap = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
            weights = np.maximum(overlap, 0)
            maps.append(weights / weights.sum(1, keepdims=True))
    return np.array(maps, np.float32)


def _resampled(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """One image under all pairs of maps of its axes, or many under one: (n, side, side)."""
    side = maps.shape[1]
    if images.ndim == 3:
        return np.asarray(maps[0] @ images.astype(np.float32) @ maps[0].T)
    rows = maps @ images.astype(np.float32)  # (9, side, 64)
    return (rows[:, None] @ maps.transpose(0, 2, 1)[None]).reshape(-1, side, side)


@functools.cache
def _smoothing(side: int) -> np.ndarray:
    """The blur of an axis, (side, side)."""
    blurred = ndimage.gaussian_filter1d(np.eye(side), _SIGMA, axis=0, mode="nearest")
    return np.asarray(blurred, np.float32)


def _features(images: np.ndarray) -> np.ndarray:
    """(n, H * W) float32 of mean 0 and norm 1, whose products are correlations; 0 where blank."""
    blur = _smoothing(images.shape[-1])
    detail = images - blur @ images @ blur.T
    contrast = np.sqrt(np.maximum(blur @ (detail * detail) @ blur.T, 0)) + _FLAT
    even = (detail / contrast).reshape(len(images), -1)
    even -= even.mean(1, keepdims=True)
    norm = np.linalg.norm(even, axis=1, keepdims=True)
    shows = images.std((1, 2))[:, None] >= _BLANK
    return np.asarray(np.where(shows, even / np.maximum(norm, 1e-6), 0))
