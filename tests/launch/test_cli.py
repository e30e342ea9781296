"""What all command lines share: spelling, warnings in lines, exit statuses."""

import errno
import importlib.util
import warnings

import jax
import jax.numpy as jnp
import pytest
from commands import refused

import singan_jax
from data_pipeline.errors import DataError, InputWarning
from data_pipeline.files import limits
from launch import cli, workers
from singan_jax import runtime
from singan_jax.devices.preemption import Stopped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lower `config.min_size`", "lower --config.min_size"),
        ("`num_samples`=0: must be", "--num_samples=0: must be"),
        ("run `build_dataset` `source`=mias", "run python -m launch.build_dataset --source=mias"),
        ("with `merge`, or choose another `workdir`", None),
        ("a file called `Odd name`.png", "a file called `Odd name`.png"),
        ("nothing to spell -- here", "nothing to spell -- here"),
    ],
)
def test_settings_become_flags_and_functions_commands(text, expected):
    merged = "with python -m launch.merge, or choose another --workdir"
    assert cli.spelled(text) == (expected or merged)


def test_complaints_are_one_line(capsys):
    cli.complain("one `seed`\n  and  another")
    assert capsys.readouterr().err == "one --seed and another\n"


def test_a_warning_of_input_is_one_line_and_said_once(capsys):
    with cli._warnings_in_lines():
        for name in ("a", "b", "a"):
            warnings.warn(f"{name}.png: dark; add\n `config.stretch_levels`", InputWarning, 2)
        with pytest.warns(UserWarning, match="of another"):
            warnings.warn("of another library", UserWarning, 2)
    lines = [f"{name}.png: dark; add --config.stretch_levels" for name in "ab"]
    assert capsys.readouterr().err.splitlines() == lines
    with pytest.warns(InputWarning):  # who uses the library has it as any other
        warnings.warn("a.png: dark", InputWarning, 2)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (singan_jax.InputError("`seed`=x"), 2, "--seed=x"),
        (DataError("a.csv: no\ntable"), 2, "a.csv: no table"),
        (OSError(errno.ENOSPC, "No space left"), 1, "[Errno 28] No space left"),
        (MemoryError("too much"), 1, "too much"),
        (Stopped("asked to"), 143, "asked to"),
    ],
)
def test_statuses(error, status, line, capsys):
    assert cli._status(error) == status
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("error", [RuntimeError("x"), AssertionError(), ValueError("x")])
def test_a_bug_is_not_hidden(error, capsys):
    assert cli._status(error) is None
    assert capsys.readouterr().err == ""


def test_a_device_without_memory_is_one_line(capsys):
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros(2**46, jnp.uint8).block_until_ready()
    assert cli._status(caught.value) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a device has too little memory (Out of memory")
    for word in ("fewer images", "--config.max_size", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        assert word in line


@pytest.mark.parametrize(
    ("platform", "reason"),
    [
        pytest.param(
            "cuda",
            "",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("jax_cuda13_plugin") is not None, reason="has CUDA"
            ),
        ),
        ("abacus", "Backend 'abacus' is not in the list of known backends"),
    ],
)
def test_devices_that_are_not_there_are_one_line(platform, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    line = refused("train_fleet", "--images=a.png", f"--workdir={tmp_path / 'fleet'}")
    assert line.startswith(f"JAX_PLATFORMS={platform}: no such device can be used here ({reason}")
    assert "unset JAX_PLATFORMS" in line
    assert "pip install 'singan-jax[cuda]'" in line
    assert not (tmp_path / "fleet").exists()


def test_a_container_decides_how_many_devices_and_workers_there_are(monkeypatch):
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    monkeypatch.setattr(limits, "cpus", lambda: 3)
    runtime.configure_jax()
    assert set_to["jax_num_cpu_devices"] == 3
    for memory, count in ((64e9, 3), (1.3e9, 2), (1e9, 1), (1e8, 1)):
        monkeypatch.setattr(limits, "memory_bytes", lambda memory=memory: memory)
        assert workers.affordable() == count
