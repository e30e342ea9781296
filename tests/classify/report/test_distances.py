"""Distances of each generator, against the closed form for features of one channel."""

import re

import numpy as np
import pytest
from make_record import record
from report_data import draw_patch, grey_values

from classify.report import distances


def closed_form(one, other):
    """Squared distance of two normal distributions on the line."""
    a, b = np.float64(one) / 255, np.float64(other) / 255
    return (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(5)
    sources = [(record(f"{name}<b>", 1), draw_patch(rng)) for name in "abc"]
    samples = {
        entry.patch_id: [draw_patch(rng) for _ in range(count)]
        for (entry, _), count in zip(sources[:2], (5, 20), strict=True)
    }
    return sources, samples


def test_distances_are_those_of_the_closed_form(drawn):
    sources, samples = drawn
    found = distances.measure(sources, samples, grey_values, seed=3)
    assert [one.record for one in found] == [entry for entry, _ in sources[:2]]  # c has no samples
    for one, (entry, real) in zip(found, sources, strict=False):
        expected = [closed_form(real, sample) for sample in samples[entry.patch_id][:16]]
        assert one.samples == pytest.approx(expected, rel=1e-6, abs=1e-12)
        # Uniform noise has mean 1/2 and variance (256^2 - 1) / 12 of grey levels.
        mean, sd = 0.5, np.sqrt((256**2 - 1) / 12) / 255
        a = np.float64(real) / 255
        bound = (a.mean() - mean) ** 2 + (a.std(ddof=1) - sd) ** 2
        assert one.noise == pytest.approx(bound, abs=0.005)
        assert len(set(one.noise)) == 4
    again = distances.measure(sources, samples, grey_values, seed=3)
    assert all(np.array_equal(a.noise, b.noise) for a, b in zip(found, again, strict=True))


def test_the_table_has_mean_sd_and_bound_of_each_generator(drawn):
    found = distances.measure(*drawn, grey_values)
    html = distances.html(found, "distance <on> grey values")
    assert "distance &lt;on&gt; grey values" in html
    assert "<b>_1" not in html
    overall, *rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    for one, (name, cells) in zip(found, rows, strict=True):
        assert name == one.record.patch_id.replace("<b>", "&lt;b&gt;")
        numbers = [float(x) for x in re.findall(r"<td>([\d.]+)</td>", cells)]
        expected = [one.samples.mean(), one.samples.std(ddof=1), one.noise.mean()]
        expected += [one.samples.mean() / one.noise.mean()]
        assert numbers == pytest.approx([len(one.samples), *expected], abs=5.001e-4)
    means = [one.samples.mean() for one in found]
    numbers = [float(x) for x in re.findall(r"<td>([\d.]+)</td>", overall[1])]
    assert numbers[:3] == pytest.approx([21, np.mean(means), np.std(means, ddof=1)], abs=5.001e-4)
    assert distances.html((), "distance") == ""
