"""Measures of samples against closed forms, scikit-image, SciPy and plain NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal
from skimage import feature, metrics

from singan_jax.evaluate import diversity, filters, memorisation, summary, texture
from singan_jax.evaluate.frechet import moments


def draw(seed, *shape):
    """Smooth random images in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (0,) * (len(shape) - 3) + (1.5, 1.5, 0))
    return np.float32((smooth - smooth.min()) / np.ptp(smooth))


def power_law_noise(seed, size, slope):
    """A (height, width) map whose power goes with 1 / frequency^slope."""
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    frequency[0, 0] = np.inf
    white = np.fft.fft2(np.random.default_rng(seed).normal(size=size))
    return np.fft.ifft2(white * frequency ** (-slope / 2)).real.astype(np.float32)


# --- diversity ---------------------------------------------------------------------------------


def test_diversity():
    samples, real = draw(0, 5, 12, 14, 3), draw(1, 12, 14, 3)
    expected = np.float64(samples).std(axis=0, ddof=1).mean() / np.float64(real).std()
    assert diversity.diversity(real, samples) == pytest.approx(expected, rel=1e-5)


def test_diversity_of_fresh_noise_is_1_however_few_samples():
    real, samples = (np.random.default_rng(n).normal(size=s) for n, s in enumerate(
        [(64, 64, 1), (12, 64, 64, 1)]
    ))  # fmt: skip
    bias = 1 - 1 / (4 * 12)  # of a standard deviation of 12 values
    assert diversity.diversity(real, samples) == pytest.approx(bias, abs=0.02)


def ssim_terms(a, b):
    """Luminance and contrast-structure maps of one channel, by SciPy."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_a, mean_b, aa, bb, ab = (
        signal.convolve2d(x, window, "valid") for x in (a, b, a * a, b * b, a * b)
    )
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    variances = aa - mean_a**2 + bb - mean_b**2
    return luminance, (2 * (ab - mean_a * mean_b) + 9e-4) / (variances + 9e-4)


def reference_ms_ssim(a, b, weights):
    found = []
    for channel in range(a.shape[-1]):
        x, y = (np.float64(image[..., channel]) for image in (a, b))
        value = 1.0
        for scale, weight in enumerate(weights):
            luminance, structure = ssim_terms(x, y)
            last = scale == len(weights) - 1
            value *= max((luminance * structure if last else structure).mean(), 0) ** weight
            x, y = (
                sum(z[i : z.shape[0] // 2 * 2 : 2, j : z.shape[1] // 2 * 2 : 2] / 4
                    for i in (0, 1) for j in (0, 1))
                for z in (x, y)
            )  # fmt: skip
        found.append(value)
    return np.mean(found)


PUBLISHED = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


@pytest.mark.parametrize(
    ("size", "scales"),
    [((11, 15), 1), ((22, 30), 2), ((64, 47), 3), ((90, 101), 4), ((176, 180), 5)],
)
def test_ms_ssim(size, scales):
    a, noise = draw(0, *size, 3), draw(1, *size, 3)
    b = 0.6 * a + 0.4 * noise
    assert diversity.num_scales(size) == scales
    weights = PUBLISHED[:scales] / PUBLISHED[:scales].sum()
    expected = reference_ms_ssim(a, b, weights)
    assert 0.1 < expected < 0.99
    ms_ssim = jax.jit(diversity.ms_ssim)
    assert ms_ssim(a, b) == pytest.approx(expected, rel=1e-4)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-5)


def test_ms_ssim_at_one_scale_is_skimages_ssim():
    a, noise = draw(2, 21, 19, 3), draw(3, 21, 19, 3)
    b = 0.6 * a + 0.4 * noise
    options = {"gaussian_weights": True, "use_sample_covariance": False, "channel_axis": -1}
    expected = metrics.structural_similarity(a, b, data_range=1.0, **options)
    assert diversity.ms_ssim(a, b) == pytest.approx(expected, rel=1e-4)


def test_pairs():
    assert diversity.pairs(4).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    many = diversity.pairs(60)
    assert many.shape == (300, 2)
    assert (many[:, 0] != many[:, 1]).all()
    assert np.bincount(many.ravel(), minlength=60).min() > 0
    samples = jnp.asarray(draw(4, 4, 12, 13, 1))
    each = [float(diversity.ms_ssim(samples[i], samples[j])) for i, j in diversity.pairs(4)]
    assert diversity.mean_ms_ssim(samples) == pytest.approx(np.mean(each), rel=1e-5)


# --- memorisation ------------------------------------------------------------------------------


def reference_patch_distances(sample, image):
    size = memorisation.PATCH
    windows = np.lib.stride_tricks.sliding_window_view(np.float64(image), (size, size), (0, 1))
    patches = windows.transpose(0, 1, 3, 4, 2).reshape(-1, size * size * image.shape[2])
    found = []
    for top in range(0, sample.shape[0] - size + 1, size):
        for left in range(0, sample.shape[1] - size + 1, size):
            tile = np.float64(sample[top : top + size, left : left + size]).ravel()
            found.append(np.sqrt(((patches - tile) ** 2).mean(axis=1).min()))
    return 255 * np.array(found)


def test_of_a_large_sample_some_tiles_are_taken(monkeypatch):
    sample, image = draw(0, 23, 30, 1), draw(1, 19, 26, 1)
    of_all = memorisation.patch_distances(sample, image)
    monkeypatch.setattr(memorisation, "MAX_TILES", 4)
    chosen = memorisation.patch_distances(sample, image)
    np.testing.assert_array_equal(chosen, of_all[np.array([0, 4, 7, 11])])


@pytest.mark.parametrize("channels", [1, 3])
def test_patch_distances(channels):
    sample, image = draw(0, 23, 30, channels), draw(1, 19, 26, channels)
    found = memorisation.patch_distances(sample, image)
    np.testing.assert_allclose(found, reference_patch_distances(sample, image), rtol=1e-4)


def test_patches_moved_about_are_0_away():
    image = draw(2, 30, 40, 3)
    assert not memorisation.patch_distances(image[5:, 3:], image).any()


@pytest.mark.parametrize("size", [(20, 33), (33, 20)])
def test_own_patch_distance_is_between_halves_of_the_longer_side(size):
    image = draw(3, *size, 1)
    halves = np.split(image, [16], axis=int(np.argmax(size)))
    found = [reference_patch_distances(*halves), reference_patch_distances(*halves[::-1])]
    expected = np.sqrt((np.concatenate(found) ** 2).mean())
    assert memorisation.own_patch_distance(image) == pytest.approx(expected, rel=1e-4)


def test_copy_distance():
    image, other = draw(4, 2, 40, 50, 3)
    s = memorisation.SHIFT
    for down, across in ((0, 0), (s, -s), (-2, 1)):
        moved = np.roll(image, (down, across), (0, 1))
        assert memorisation.copy_distance(moved, image) == 0
        offset = moved + 0.1 * image.std()
        assert memorisation.copy_distance(offset, image) == pytest.approx(0.1, rel=1e-4)
    assert memorisation.copy_distance(np.roll(image, s + 2, 1), image) > memorisation.NEAR_COPY
    centre = np.float64(other[s:-s, s:-s])
    squares = [
        ((centre - image[y : y + 40 - 2 * s, x : x + 50 - 2 * s]) ** 2).mean()
        for y in range(2 * s + 1)
        for x in range(2 * s + 1)
    ]
    expected = np.sqrt(min(squares)) / np.float64(image).std()
    assert memorisation.copy_distance(other, image) == pytest.approx(expected, rel=1e-4)


# --- texture -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("size", [(64, 64), (96, 61)])
def test_spectrum_slope_of_power_law_noise(slope, size):
    found = [texture.spectrum_slope(power_law_noise(n, size, slope) + 5) for n in range(12)]
    assert np.mean(found) == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.2, 0.7)])
def test_co_occurrence_is_skimages(bounds):
    image = draw(5, 25, 31, 1)[..., 0]
    levels = np.digitize(image, np.linspace(*bounds, texture.GRAY_LEVELS + 1)[1:-1])
    angles = np.arange(4) * np.pi / 4
    counts = feature.graycomatrix(
        levels.astype(np.uint8), [1], angles, texture.GRAY_LEVELS, symmetric=True, normed=True
    )
    found = texture.co_occurrence(image, *bounds)
    for name, value in found.items():
        expected = feature.graycoprops(counts, name).mean()
        assert value == pytest.approx(expected, rel=1e-4), name
    assert set(texture.MEASURES) == {"spectrum_slope", *found}


def test_texture_is_of_the_channels_mean():
    image = draw(6, 24, 26, 3)
    gray = image.mean(axis=-1, keepdims=True)
    of_gray = texture.texture(gray, 0.1, 0.9)
    for name, value in texture.texture(image, 0.1, 0.9).items():
        assert value == pytest.approx(float(of_gray[name]), rel=1e-4), name


# --- filter bank -------------------------------------------------------------------------------


def test_filter_responses():
    image = np.float64(draw(7, 26, 31, 3))
    gray = image.mean(axis=-1)
    expected = []
    for sigma in filters.SIGMAS:
        expected += [ndimage.gaussian_filter(image[..., c], sigma) for c in range(3)]
        first = [sigma * ndimage.gaussian_filter(gray, sigma, order) for order in ((0, 1), (1, 0))]
        second = [
            sigma**2 * ndimage.gaussian_filter(gray, sigma, order)
            for order in ((0, 2), (1, 1), (2, 0))
        ]
        expected += [*first, *second, np.hypot(*first)]
    found = filters.responses(np.float32(image))
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=2e-6)


def test_moments_of_responses_are_in_units_of_the_real_ones():
    real, samples = draw(8, 26, 31, 1), draw(9, 2, 26, 31, 1)
    (_, covariance), (means, covariances) = filters.response_moments(real, samples)
    np.testing.assert_allclose(np.diag(covariance), 26 * 31 / (26 * 31 - 1), rtol=1e-3)
    spread = np.asarray(filters.responses(real), np.float64).std(axis=(0, 1))
    for n in range(2):
        theirs = moments(np.asarray(filters.responses(samples[n]), np.float64) / spread)
        np.testing.assert_allclose(means[n], theirs[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(covariances[n], theirs[1], rtol=1e-3, atol=1e-4)
    # An image that varies along one axis only has derivatives of 0, which must not be divided by.
    stripes = np.broadcast_to(real[:1], real.shape)
    for tree in filters.response_moments(stripes, samples):
        assert all(np.isfinite(x).all() and np.abs(x).max() < 1e6 for x in jax.tree.leaves(tree))


def test_what_has_no_gray_levels_has_no_texture():
    levels = draw(3, 20, 24, 1)[..., 0]
    flat = np.stack([levels, 0.9 - levels, np.zeros_like(levels)], -1).astype(np.float32)
    found = texture.texture(jnp.asarray(flat), flat.mean(-1).min(), flat.mean(-1).max())
    assert set(found) == set(texture.MEASURES)
    assert all(np.isnan(value) for value in found.values())
    dim = levels[..., None] * 2e-5  # two levels of 16 bits are levels
    shown = texture.texture(jnp.float32(dim), dim.min(), dim.max())
    assert all(np.isfinite(value) for value in shown.values())


def test_the_fleets_mean_is_over_members_that_have_a_value():
    rows = [
        {"member": name, "samples": 2, "contrast": value}
        for name, value in (("a", 1.0), ("b", np.nan), ("c", 4.0))
    ]
    mean, deviation = summary.over_fleet(rows)
    assert (mean["contrast"], deviation["contrast"]) == (2.5, np.std([1, 4], ddof=1))
    mean, deviation = summary.over_fleet(rows[1:2])
    assert np.isnan(mean["contrast"])
    assert np.isnan(deviation["contrast"])
