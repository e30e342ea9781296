"""What the machine around a process says: of other processes, of memory, of devices."""

import os

import jax
import pytest

from data_pipeline.files import limits
from singan_jax.devices import hosts, sharding
from singan_jax.fleet import division
from singan_jax.workdir.record import Member

SLURM = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")  # all of which JAX asks for


@pytest.mark.parametrize(
    ("values", "left"),
    [
        (("7", "node1", "2", "0", "0"), set(SLURM)),
        (("", "", "", "", ""), {"STEP_NODELIST"}),
        (("7", "node1", "2", "0", "none"), {"JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID"}),
    ],
)
def test_numbers_of_slurm_that_are_none_are_hidden_from_jax(values, left, monkeypatch):
    seen = []

    def joined(*_):
        seen.append({name for name in SLURM if f"SLURM_{name}" in os.environ})

    monkeypatch.setattr(hosts.sharding, "join", joined)
    for name, value in zip(SLURM, values, strict=True):
        monkeypatch.setenv(f"SLURM_{name}", value)
    hosts.join("auto", "node1:1234", 2, 0)
    assert seen == [left]
    assert [os.environ[f"SLURM_{name}"] for name in SLURM] == list(values)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="devices have memory of their own")
def test_the_memory_of_cpus_is_what_the_container_grants(monkeypatch):
    monkeypatch.setattr(limits, "memory_bytes", lambda: 12345)
    assert sharding.memory() == 12345


@pytest.mark.parametrize(
    ("sizes", "of_each", "devices", "told"),
    [
        (8, 1, 1, True),
        (4, 2, 1, True),
        (3, 1, 1, False),
        (1, 300, 1, False),
        (4, 16, 1, False),
        (8, 1, 8, False),
        (9, 1, 8, True),
    ],
)
def test_images_of_many_sizes_are_told_of(sizes, of_each, devices, told):
    groups = [
        [Member(f"{side}{n}", "", "", (20 + side, 20, 3), 8, {}, side, n) for n in range(of_each)]
        for side in range(sizes)
    ]
    line = division.about_sizes(groups, devices)
    assert line.startswith(f"{sizes * of_each} images of {sizes} sizes: ") is told
    assert bool(line) is told
