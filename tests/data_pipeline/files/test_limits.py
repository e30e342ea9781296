"""What a container grants, as both versions of control groups tell it."""

import os

import pytest

from data_pipeline.files import limits

MACHINE_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
UNLIMITED = 9223372036854771712  # as version 1 writes it


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 8 processors; call it with /proc/self/cgroup and {file: content}."""
    monkeypatch.setattr(limits, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_MOUNT", tmp_path / "fs")
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: set(range(8)))

    def make(groups, files):
        (tmp_path / "cgroup").write_text(groups)
        for name, content in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    return make


V1 = "12:cpu,cpuacct:/docker/ab\n5:memory:/docker/ab\n1:name=systemd:/docker/ab\n"
V2 = "0::/slurm/job_1/step_0\n"


@pytest.mark.parametrize(
    ("groups", "files", "cpus", "memory"),
    [
        (V2, {}, 8, None),
        (V2, {"slurm/job_1/step_0/cpu.max": "max 100000"}, 8, None),
        (V2, {"slurm/job_1/step_0/cpu.max": "200000 100000"}, 2, None),
        (V2, {"slurm/job_1/step_0/cpu.max": "250000 100000"}, 3, None),
        (V2, {"slurm/job_1/step_0/cpu.max": "50000 100000"}, 1, None),
        (V2, {"slurm/job_1/cpu.max": "100000 100000", "slurm/cpu.max": "400000 100000"}, 1, None),
        (V2, {"slurm/job_1/step_0/cpu.max": "9900000 100000"}, 8, None),
        (V2, {"slurm/job_1/step_0/memory.max": "max", "slurm/job_1/memory.max": 2**20}, 8, 2**20),
        (V2, {"slurm/job_1/step_0/memory.max": 2**21, "slurm/memory.max": 2**22}, 8, 2**21),
        (V2, {"slurm/job_1/step_0/memory.max": MACHINE_MEMORY * 2}, 8, None),
        # Inside a container the kernel may tell the host's path, and the mount is the group's.
        (V2, {"cpu.max": "300000 100000", "memory.max": 2**23}, 3, 2**23),
        ("0::/\n", {"cpu.max": "300000 100000", "memory.max": 2**23}, 3, 2**23),
        ("0::/../other\n", {"cpu.max": "300000 100000"}, 3, None),
        (V1, {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": -1}, 8, None),
        (
            V1,
            {
                "cpu,cpuacct/docker/ab/cpu.cfs_quota_us": 150000,
                "cpu,cpuacct/docker/ab/cpu.cfs_period_us": 100000,
                "memory/docker/ab/memory.limit_in_bytes": 2**24,
            },
            2,
            2**24,
        ),
        (
            V1,
            {
                "cpu/cpu.cfs_quota_us": 400000,
                "cpu/cpu.cfs_period_us": 100000,
                "memory/memory.limit_in_bytes": UNLIMITED,
            },
            4,
            None,
        ),
        (f"{V1}0::/\n", {"memory/docker/ab/memory.limit_in_bytes": 2**24}, 8, 2**24),  # both
        ("", {}, 8, None),
        ("nonsense\n\n::\n", {"cpu.max": "garbage", "memory.max": ""}, 8, None),
    ],
)
def test_limits(machine, groups, files, cpus, memory):
    machine(groups, files)
    assert limits.cpus() == cpus
    assert limits.memory_bytes() == (memory or MACHINE_MEMORY)


def test_without_control_groups(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_GROUPS", tmp_path / "none")
    assert limits.cpus() == len(os.sched_getaffinity(0))
    assert limits.memory_bytes() == MACHINE_MEMORY
    monkeypatch.setattr(limits.sys, "platform", "darwin")
    assert limits.cpus() == os.cpu_count()


def test_processors_it_is_bound_to(machine, monkeypatch):
    machine(V2, {"slurm/job_1/step_0/cpu.max": "600000 100000"})
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: {0, 5})
    assert limits.cpus() == 2
