"""The suites that show a compiler's estimates: what they refuse, on any machine."""

import importlib.metadata
import importlib.util
import types

import jax
import pytest
from jax.experimental import topologies

import singan_jax
from launch import benchmark
from launch.benchmarks import chips, estimates, plot, tpu
from launch.benchmarks.estimates import Case
from singan_jax import runtime


def test_peaks_are_those_of_the_data_sheets():
    peaks = {name: chip.flop_per_cycle * chip.ghz / 1e3 for name, chip in chips.CHIPS.items()}
    assert peaks == pytest.approx({"v4": 275, "v5e": 197, "v5p": 459, "v6e": 918}, rel=0.005)


@pytest.fixture
def installed(monkeypatch):
    """Pretends that a version of libtpu is installed, or None, and that JAX needs 0.0.42.*."""

    def install(version):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: version and name)
        monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
        needed = ["numpy>=2.0", 'libtpu==0.0.42.*; extra == "tpu"', "scipy"]
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)

    return install


def never(*arguments, **settings):
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("v5e:2x2", None, "libtpu, the compiler for TPUs, is not installed"),
        ("v5e:2x2", "0.0.41", "libtpu 0.0.41 does not fit JAX .* pip install 'libtpu==0.0.42"),
        ("v5e:2x2", "0.0.420", "libtpu 0.0.420 does not fit"),
        ("v2:2x2", "0.0.42.1", "`tpu`=v2:2x2: no TPU that is known here; choose v5e:2x2, v6e:2x2"),
        ("", "0.0.42.1", "`tpu`=: no TPU"),
        ("v5e", "0.0.42.1", "`tpu`=v5e: no TPU"),
        ("v5e:square", "0.0.42.1", "`tpu`=v5e:square: no TPU"),
    ],
)
def test_a_tpu_that_cannot_be_compiled_for(name, version, words, installed, monkeypatch):
    installed(version)
    monkeypatch.setattr(topologies, "get_topology_desc", never)
    with pytest.raises(singan_jax.InputError, match=words):
        chips.tpu_slice(name)


@pytest.mark.parametrize("version", ["0.0.42", "0.0.42.7"])
def test_a_slice_that_libtpu_does_not_know(version, installed, monkeypatch):
    def refuse(**settings):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: 3x5 is not divisible\n  at a place")

    installed(version)
    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    for name in chips._QUIET:
        monkeypatch.setenv(name, "")
    with pytest.raises(singan_jax.InputError) as caught:
        chips.tpu_slice("v5e:3x5")
    assert str(caught.value).startswith("`tpu`=v5e:3x5: 3x5 is not divisible; choose v5e:2x2,")


def test_images_that_are_too_small():
    with pytest.raises(singan_jax.InputError, match="`sizes`=24: SinGANs need images of 25 pixels"):
        tpu.config_of(24)
    assert tpu.config_of(25).max_size == 25


def test_no_cuda_plugin(monkeypatch):
    def refuse(*arguments, **settings):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(singan_jax.InputError, match=r"no CUDA plugin of JAX .* jax-cuda12-p"):
        chips.h100()


def case(make):
    return Case({"what": "training", "size": 64, "scale": 2, "members": 100}, 100, 1, make)


def test_members_that_do_not_fit_are_told_before_anything_runs():
    needs = types.SimpleNamespace(
        argument_size_in_bytes=12 * 2**30,
        output_size_in_bytes=10 * 2**30,
        temp_size_in_bytes=8 * 2**30,
        alias_size_in_bytes=10 * 2**30,
    )
    program = types.SimpleNamespace(memory_analysis=lambda: needs)
    words = (
        "`members_per_chip`=100: training scale 2 of 64 pixels takes 20.0 GiB of the 16.0 GiB that "
        "a chip has; about 80 members fit"
    )
    with pytest.raises(singan_jax.InputError, match=words):
        estimates.compiled(case(lambda: program), 16 * 2**30)
    assert estimates.compiled(case(lambda: program), 20 * 2**30).program is program


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        (
            "the total memory required for HLO temporaries (31.5G) exceeds available HBM (15.75G)",
            50,
        ),
        ("Ran out of memory in memory space hbm. Used 1.0T of 512.0G hbm. Exceeded by 512G", 50),
    ],
)
def test_programs_for_which_the_compiler_itself_finds_no_memory(text, fit):
    def refuse():
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {text}")

    with pytest.raises(singan_jax.InputError, match=f"about {fit} members fit"):
        estimates.compiled(case(refuse), 2**50)


def test_other_errors_of_the_compiler_are_not_called_input():
    def refuse():
        raise jax.errors.JaxRuntimeError("INTERNAL: 3.0G of 2.0G")

    with pytest.raises(jax.errors.JaxRuntimeError):
        estimates.compiled(case(refuse), 2**50)


def test_estimates_are_called_estimates():
    for suite in benchmark._ESTIMATES:
        assert chips.NOTE in plot.PANELS[suite].unit
    assert " ".join(benchmark.__doc__.split()).count(chips.NOTE) == len(benchmark._ESTIMATES)


@pytest.mark.parametrize(
    ("chosen", "there", "wanted"),
    [(None, [], "cpu"), ("", [], "cpu"), (None, ["nvidia0"], None), ("tpu,cpu", [], None)],
)
def test_jax_looks_for_no_devices_where_there_are_none(
    chosen, there, wanted, tmp_path, monkeypatch
):
    for name in there:
        (tmp_path / name).touch()
    set_to, before = {}, jax.config.values["jax_platforms"]
    monkeypatch.setattr(runtime, "_DEVICES", tmp_path)
    jax.config.update("jax_platforms", chosen)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(jax.config, "update", set_to.__setitem__)
            runtime.configure_jax()
    finally:
        jax.config.update("jax_platforms", before)
    assert set_to.get("jax_platforms") == wanted
