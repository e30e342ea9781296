"""A table measured on a device is used on it, and on no other."""

import json
import types

import pytest

from launch.benchmarks import conv as suite
from singan_jax import InputError, backend, conv
from singan_jax.conv import choice

CARD = "NVIDIA A100-SXM4-40GB"
WIDE = "convolve:wide->wide"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder, and no table read before; the one of this process is read again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choice._measured.cache_clear()
    yield tmp_path
    choice._measured.cache_clear()


@pytest.fixture
def device(monkeypatch):
    """Has the process run on a device of some name."""
    return lambda name: monkeypatch.setattr(choice, "_device", lambda: name)


def write(content):
    path = choice.measured_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_was_measured_is_used_and_the_rest_is_the_packages(device, cache):
    before = choice.table()
    assert before[WIDE] != "im2col"
    device(CARD)
    path = choice.keep({WIDE: "im2col"})
    assert path == cache / "singan-jax/convolutions/NVIDIA_A100_SXM4_40GB.json"
    assert choice.table() == {**before, WIDE: "im2col"}
    assert conv.choose("convolve", 64, 64) == "im2col"
    assert conv.choose("convolve", 64, 64, device="tpu") == "direct"  # of the package's table


def test_it_is_not_used_on_another_device_nor_for_a_described_one(device):
    before = choice.table()
    device(CARD)
    choice.keep({WIDE: "im2col"})
    with backend.described([types.SimpleNamespace(platform="tpu")]):
        assert choice.table()[WIDE] == "direct"
    device("cpu")
    assert choice.table() == before


def test_one_copied_from_another_device_is_one_line(device):
    device(CARD)
    path = write({"device": "NVIDIA H100", "rows": {}})
    with pytest.raises(InputError) as error:
        choice.table()
    line = str(error.value)
    assert line.startswith(f"{path}: was measured on NVIDIA H100, and this is {CARD}; measure")
    assert line.endswith("again with `write_table` of the benchmark, or remove the file")
    assert "\n" not in line


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        {"device": CARD},
        {"device": CARD, "rows": {WIDE: "fft"}},
        {"device": CARD, "rows": {"convolve:wide": "direct"}},
        {"device": CARD, "rows": {WIDE: ["direct"]}},
        {"device": CARD, "rows": 3},
    ],
    ids=str,
)
def test_what_is_no_table_is_one_line(device, content):
    device(CARD)
    path = write(content)
    with pytest.raises(InputError, match=f"^{path}: is no table of implementations; measure again"):
        choice.table()


def test_the_fastest_is_that_of_the_best_mean_over_layers():
    def rows(row, implementation, *rates):
        return [{"row": row, "implementation": implementation, "gflops": rate} for rate in rates]

    found = suite.fastest(
        [
            {"map": "matrix product 1024", "gflops": 99.0},
            *rows(WIDE, "direct", 10.0, 10.0),
            *rows(WIDE, "winograd", 2.0, 30.0),  # a higher sum, a lower product
            *rows("weight_gradient:narrow->wide", "direct", 1.0),
            *rows("weight_gradient:narrow->wide", "im2col", 2.0),
            {"map": "gradients", "implementation": "ours", "gflops": 50.0},
        ]
    )
    assert found == {WIDE: "direct", "weight_gradient:narrow->wide": "im2col"}


def test_every_layer_of_the_suite_has_its_row():
    named = {
        choice.row_of(name, *channels)
        for _, _, *channels in suite.LAYERS
        for name in ("convolve", "weight_gradient")
    }
    assert named == {row for row in choice.table() if "narrow->narrow" not in row}
