"""Fréchet distance: the original SIFID's number, closed forms, and what a distance must obey."""

import goldens_io
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from singan_jax.evaluate.frechet import frechet_distance, single_image_distance

numbers = st.floats(-10, 10)
deviations = st.floats(0, 10)
seeds = st.integers(0, 2**32)


def covariance(rng, channels, rank):
    factor = rng.normal(size=(channels, rank))
    return factor @ factor.T


def test_equals_the_originals_sifid():
    arrays = goldens_io.load("inception_stem.npz")
    maps = [goldens_io.hwc(arrays[name]) for name in ("features_a", "features_b")]
    assert single_image_distance(*maps) == pytest.approx(float(arrays["frechet"]), rel=1e-5)


@given(numbers, deviations, numbers, deviations)
def test_one_dimensional_gaussians(mean_a, sd_a, mean_b, sd_b):
    expected = (mean_a - mean_b) ** 2 + (sd_a - sd_b) ** 2
    found = frechet_distance([mean_a], [[sd_a**2]], [mean_b], [[sd_b**2]])
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seeds, st.integers(1, 6))
def test_commuting_covariances(seed, channels):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(channels, channels)))
    sd_a, sd_b = rng.uniform(0, 2, (2, channels))
    mean_a, mean_b = rng.normal(size=(2, channels))
    expected = ((mean_a - mean_b) ** 2).sum() + ((sd_a - sd_b) ** 2).sum()
    cov_a, cov_b = (turn * sd**2 @ turn.T for sd in (sd_a, sd_b))
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, abs=1e-9)


@given(seeds, st.integers(2, 6))
def test_any_covariances_as_by_the_general_square_root(seed, channels):
    rng = np.random.default_rng(seed)
    cov_a, cov_b = (covariance(rng, channels, channels + 3) for _ in range(2))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = np.trace(cov_a + cov_b - 2 * root.real)
    zero = np.zeros(channels)
    assert frechet_distance(zero, cov_a, zero, cov_b) == pytest.approx(expected, rel=1e-6)


@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_singular_covariances_are_no_trouble(seed, rank_a, rank_b):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(2, 5))
    covariances = covariance(rng, 5, rank_a), covariance(rng, 5, rank_b)
    there = frechet_distance(means[0], covariances[0], means[1], covariances[1])
    back = frechet_distance(means[1], covariances[1], means[0], covariances[0])
    assert there == pytest.approx(back, rel=1e-6)
    assert there >= ((means[0] - means[1]) ** 2).sum() - 1e-6
    assert frechet_distance(means[0], covariances[0], means[0], covariances[0]) == pytest.approx(
        0, abs=1e-6
    )


@given(seeds, st.integers(2, 5), st.integers(2, 5), st.integers(1, 4))
def test_of_feature_maps(seed, height, width, channels):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(height, width, channels)).astype(np.float32)
    # Shifting all features changes the means only, whatever the order of the places.
    shift = rng.normal(size=channels)
    other = rng.permutation(np.float64(one).reshape(-1, 1, channels)) + shift
    assert single_image_distance(one, other) == pytest.approx((shift**2).sum(), abs=1e-6)
    # Scaling by 2 around the mean doubles the deviations: what remains is the variance, ddof 1.
    mean = np.float64(one).mean(axis=(0, 1))
    variance = np.float64(one).var(axis=(0, 1), ddof=0) * height * width / (height * width - 1)
    scaled = mean + 2 * (one - mean)
    assert single_image_distance(one, scaled) == pytest.approx(variance.sum(), rel=1e-6)
