"""What the TPU's compiler makes of small programs; nothing here needs a TPU.

Cycles are bounded by what they were when a bound was recorded: the compiler's estimates, which
differ a little from one libtpu to the next. Lower a bound where a change makes programs faster.
"""

import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from absl.testing import flagsaver

import singan_jax
from launch import benchmark
from launch.benchmarks import chips, estimates, gpu_estimate, hlo, tpu
from singan_jax.config import Config

pytestmark = pytest.mark.tpu

CONFIG = Config(
    **{"min_size": 16, "max_size": 16, "num_layers": 3, "base_channels": 32, "max_channels": 32}
)
MEMBERS = 4  # on each chip
# Cycles an iteration and member of scales 0 and 1, then a sample; a patch, then a head.
BOUNDS = (635_000, 657_000, 10_400, 3_260, 1_383_000)
KEYS = {
    *("chip", "chips", "what", "members", "cycles_per_member", "ms_per_member", "share_of_peak"),
    *("matrix_unit_share", "temp_mib", "compile_s", "collectives"),
}
OF_SCALE = {"size", "scale", "height", "width", "channels"}


@pytest.fixture(scope="module")
def v5e():
    return chips.tpu_slice("v5e:2x2")


@pytest.fixture(scope="module")
def rows(v5e):
    """Those of the small config, on four chips."""
    chip, devices = v5e
    cases = [
        *estimates.of_members(CONFIG, 16, MEMBERS, len(devices)),
        *estimates.of_classifiers([("resnet_small", 32)], epochs=2),
    ]
    return list(tpu.rows(chip, "v5e", devices, cases))


def test_rows_say_what_they_are_of(rows):
    whats = ["training", "training", "sampling", "features of resnet_small", "heads, 2 epochs"]
    assert [row["what"] for row in rows] == whats
    for scale, row in enumerate(rows[:2]):
        assert row.keys() == KEYS | OF_SCALE
        assert [row[name] for name in ("size", "scale", "height", "width")] == [16, scale, 16, 16]
        assert (row["channels"], row["members"]) == (32, MEMBERS)
    for row in rows:
        assert row.keys() >= KEYS
        assert (row["chip"], row["chips"]) == ("v5e", 4)
        assert row["ms_per_member"] == pytest.approx(row["cycles_per_member"] / 1.5e6)
        assert 0 < row["share_of_peak"] < row["matrix_unit_share"] < 1
        assert row["temp_mib"] >= 0
        assert row["compile_s"] > 0


def test_chips_of_a_slice_do_not_wait_for_each_other(rows):
    assert [row["collectives"] for row in rows] == [0] * len(rows)


def test_cycles_stay_within_their_bounds(rows):
    cycles = [row["cycles_per_member"] for row in rows]
    assert all(found <= 1.1 * bound for found, bound in zip(cycles, BOUNDS, strict=True)), cycles


def test_one_chip_takes_what_each_of_a_slice_takes(v5e, rows):
    chip, devices = v5e
    cases = list(estimates.of_members(CONFIG, 16, MEMBERS, 1))
    (row,) = tpu.rows(chip, "v5e", devices[:1], cases[:1])
    assert row["chips"] == 1
    assert row["cycles_per_member"] == pytest.approx(rows[0]["cycles_per_member"], rel=0.05)
    assert row["temp_mib"] == pytest.approx(rows[0]["temp_mib"], rel=0.1)


def test_members_beyond_the_memory_of_a_chip(v5e):
    chip, devices = v5e
    cases = estimates.of_members(CONFIG, 16, 10**6, 1)
    with pytest.raises(singan_jax.InputError, match=r"`members_per_chip`=1000000: .* members fit"):
        next(tpu.rows(chip, "v5e", devices[:1], cases))


def test_trip_counts_of_a_real_program(v5e):
    _, devices = v5e

    def function(x, stop):
        def body(_, y):
            return jax.lax.scan(lambda z, _: (jnp.sin(z @ z), None), y, length=5)[0]

        return jax.lax.fori_loop(0, stop, body, x)

    place = jax.sharding.SingleDeviceSharding(devices[0])
    shapes = [
        jax.ShapeDtypeStruct(*one, sharding=place) for one in (((256, 256), "f4"), ((), "i4"))
    ]
    with estimates.made_for(devices[:1], 2**34):
        compiled = jax.jit(function).trace(*shapes).lower(lowering_platforms=("tpu",)).compile()
    program = hlo.Program(compiled.as_text())
    products = [r for r in program.runs(lambda r: r.instruction.cycles) if program.is_product(r)]
    assert [run.times for run in products] == [5]
    assert products[0].instruction.cycles > 2 * 256**3 / chips.CHIPS["v5e"].flop_per_cycle


def test_every_kind_of_chip_is_known_to_the_compiler():
    for name in ("v6e:2x2", "v4:2x2x1", "v5p:2x2x1"):
        chip, devices = chips.tpu_slice(name)
        assert len(devices) == 4
        assert chip is chips.CHIPS[name[: name.index(":")]]


@pytest.mark.parametrize("name", ["v5e:3x5", "v5e:square", "v5e"])
def test_slices_that_there_are_not(name):
    with pytest.raises(singan_jax.InputError, match=f"`tpu`={name}: .*; choose v5e:2x2, "):
        chips.tpu_slice(name)


def test_the_command_writes_rows_and_says_that_they_are_estimates(
    v5e, tmp_path, monkeypatch, capsys
):
    chip, devices = v5e
    monkeypatch.setattr(singan_jax, "configure_jax", lambda: None)  # done by conftest
    cases = list(estimates.of_classifiers([], epochs=2))
    monkeypatch.setattr(tpu, "run", lambda *_: tpu.rows(chip, "v5e", devices[:1], cases))
    flags.FLAGS.mark_as_parsed()
    files = {"json": f"{tmp_path}/estimates.json", "plot": f"{tmp_path}/estimates.png"}
    with flagsaver.as_parsed(suites=["tpu"], **files):
        benchmark.main()
    assert f"# tpu: {chips.NOTE}\n" in capsys.readouterr().out
    written = json.loads((tmp_path / "estimates.json").read_text())
    assert written["notes"] == {"tpu": chips.NOTE}
    assert [row["what"] for row in written["suites"]["tpu"]] == ["heads, 2 epochs"]
    assert (tmp_path / "estimates.png").exists()


@pytest.mark.skipif(
    not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)),
    reason="no CUDA plugin",
)
def test_kernels_and_bytes_of_an_h100():
    cases = list(estimates.of_members(CONFIG, 16, MEMBERS, 1))
    (row,) = gpu_estimate.rows(chips.h100(), cases[:1])
    assert row["chip"] == "H100"
    assert row.keys() >= OF_SCALE | {"members", "temp_mib", "compile_s"}
    assert row["kernels"] > 100
    assert row["least_ms"] == pytest.approx(row["gb_per_member"] / 3350 * 1e3)
    # The weights of both networks and Adam's moments are read and written in each step, at least.
    weights = 4 * 9 * (2 * 32 * 32 + 6 * 32 + 32)
    assert row["gb_per_member"] * 1e9 > 6 * weights
