"""Several processes train one fleet, to the same result as one, and end together."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
import tiny_hosts

import singan_jax
from launch import image_source
from singan_jax.devices import hosts, sharding
from singan_jax.devices.preemption import Watch, _Status
from singan_jax.fleet import division
from singan_jax.images import read as read_module
from singan_jax.images.read import read_image, write_png
from singan_jax.workdir.checkpoint import CheckpointName, _outdated
from singan_jax.workdir.record import Member, WorkdirError

SEEDS = [1, 2, 3, 4, 5]


def assert_same(folder, expected, atol=1e-5):
    found = tiny.weights(folder)
    assert found.keys() == expected.keys()
    for name, arrays in found.items():
        for path, array in arrays.items():
            np.testing.assert_allclose(array, expected[name][path], atol=atol, err_msg=path)


def in_training(folder):
    """Members, by "first-last", of which an unfinished state is there."""
    found = [path.name.split("_") for path in folder.glob("groups/*/*_step_??????")]
    return {words[3] for words in found}


def wait_for(condition, processes, timeout=150):
    deadline = time.monotonic() + timeout
    while not condition():
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, tiny_hosts.ends(processes)
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights of five members that one process trained in one go, a device per core."""
    folder = tmp_path_factory.mktemp("whole")
    cores = len(os.sched_getaffinity(0))
    ends = tiny_hosts.ends(tiny_hosts.start(folder, SEEDS, [cores]))
    assert ends[0][0] == 0, ends
    return tiny.weights(folder)


def test_two_processes_make_the_fleet_of_one(tmp_path, whole):
    ends = tiny_hosts.ends(tiny_hosts.start(tmp_path, SEEDS, [2, 2]))
    assert [status for status, _ in ends] == [0, 0], ends
    assert_same(tmp_path, whole)
    parts = [path.name[9:] for path in sorted(tmp_path.glob("groups/0000/scale_01*"))]
    assert parts == ["members_0000-0001", "members_0002-0004"]
    of_each = [
        {json.loads(line).get("member") for line in (tmp_path / name).read_text().splitlines()}
        for name in ("metrics.jsonl", "metrics_0001.jsonl")
    ]
    assert of_each == [{None, "image1", "image2"}, {None, "image3", "image4", "image5"}]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("killed", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_killed_process_ends_the_other_and_another_shape_goes_on(tmp_path, whole, killed):
    processes = tiny_hosts.start(tmp_path, SEEDS, [2, 1])
    wait_for(lambda: in_training(tmp_path) >= {"0000-0001", "0002-0004"}, processes)
    processes[killed].kill()
    started = time.monotonic()
    status, said = tiny_hosts.ends(processes, timeout=60)[1 - killed]
    assert time.monotonic() - started < 30
    assert status != 0
    if killed == 1:  # where the first goes, JAX itself ends the others, with words of its own
        assert status == 1
        assert "ConnectionError: another process of this run is gone" in said
        assert "Check failure" not in said
    assert in_training(tmp_path) >= {"0000-0001", "0002-0004"}
    (end,) = tiny_hosts.ends(tiny_hosts.start(tmp_path, SEEDS, [3]))
    assert end[0] == 0, end
    assert_same(tmp_path, whole)
    assert not in_training(tmp_path)
    assert not list(tmp_path.glob("groups/*/*tmp*"))


@pytest.mark.slow
def test_sigterm_to_one_stops_both_with_everything_saved(tmp_path, whole):
    (process,) = tiny_hosts.start(tmp_path, SEEDS, [2])  # one process begins, two go on
    wait_for(lambda: in_training(tmp_path), [process])
    process.kill()
    process.wait()
    process.stderr.close()
    processes = tiny_hosts.start(tmp_path, SEEDS, [1, 2])
    wait_for(lambda: in_training(tmp_path) >= {"0000-0001", "0002-0004"}, processes)
    processes[1].send_signal(signal.SIGTERM)
    for status, said in tiny_hosts.ends(processes):
        assert status == 1
        assert "Stopped: stopped on request" in said
    assert in_training(tmp_path) >= {"0000-0001", "0002-0004"}
    ends = tiny_hosts.ends(tiny_hosts.start(tmp_path, SEEDS, [1, 1, 1]))
    assert [status for status, _ in ends] == [0, 0, 0], ends
    assert_same(tmp_path, whole)


def test_error_in_one_process_ends_both(tmp_path):
    (tmp_path / "metrics_0001.jsonl").mkdir()  # the second cannot open it
    first, second = tiny_hosts.ends(tiny_hosts.start(tmp_path, SEEDS, [1, 1]), timeout=100)
    assert "IsADirectoryError" in second[1]
    assert "ConnectionError: process 1 of this run failed" in first[1]
    assert first[0] == second[0] == 1


class Others:
    """The other process' part in each round, instead of `sharding.gathered`."""

    def __init__(self, *statuses):
        self.statuses, self.heard = list(statuses), []

    def __call__(self, values):
        self.heard.append(values[0])
        return np.array([values, [self.statuses.pop(0), 0]])


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (_Status.FINISHED, type(None)),
        (_Status.RUNNING, type(None)),
        (_Status.ASKED_TO_STOP, singan_jax.Stopped),
        (_Status.FAILED, ConnectionError),
        (_Status.REFUSED, singan_jax.InputError),
    ],
)
def test_what_another_process_says_decides(monkeypatch, status, reason):
    others = Others(status, *[_Status.FINISHED] * (reason is type(None)))
    monkeypatch.setattr(sharding, "gathered", others)
    with Watch() as watch:
        assert type(watch.reason_to_stop()) is reason
        if reason is type(None):
            watch.finish()
    assert others.statuses == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (singan_jax.InputError, _Status.REFUSED),
        (OSError, _Status.FAILED),
        (KeyboardInterrupt, _Status.FAILED),
    ],
)
def test_a_process_that_fails_says_so(monkeypatch, error, said):
    others = Others(_Status.RUNNING)
    monkeypatch.setattr(sharding, "gathered", others)
    with pytest.raises(error), Watch():
        raise error
    assert others.heard == [said]


def test_sigterm_to_a_process_that_waits_for_others_stops_them(monkeypatch):
    others = Others(_Status.RUNNING, _Status.RUNNING)
    monkeypatch.setattr(sharding, "gathered", others)
    before = signal.getsignal(signal.SIGTERM)
    with Watch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(singan_jax.Stopped):
            watch.finish()
    assert others.heard == [_Status.FINISHED, _Status.ASKED_TO_STOP]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_that_comes_when_all_is_done_is_too_late():
    with Watch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        watch.finish()


def test_folder_that_is_not_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(division, "_PATIENCE", 0.0)
    with Watch() as watch:
        watch.reason_to_stop = lambda word: None
        watch.message = 17  # as if the first process saw something else
        with pytest.raises(WorkdirError, match="a `workdir` that all hosts share"):
            division.agree(tmp_path, tiny_hosts.CONFIG, watch)


def members(sizes_and_counts):
    groups = []
    for group, (size, count) in enumerate(sizes_and_counts):
        one = Member("", "", "", (size, size, 3), 8, {}, group, 0)
        groups.append([one] * count)
    return groups


def cost(member):
    return division.cost(tiny_hosts.CONFIG, member)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("shapes", [[(18, 12)], [(18, 1)] * 20, [(14, 30), (18, 1), (16, 3)]])
def test_shares_are_whole_and_even(shapes, processes):
    groups = members(shapes)
    shares = [
        division.members_of_process(groups, tiny_hosts.CONFIG, n, processes)
        for n in range(processes)
    ]
    counts = {}
    for share in shares:
        for part in share:
            counts[part[0].group] = counts.get(part[0].group, 0) + len(part)
    assert list(counts.values()) == [count for _, count in shapes]
    costs = [sum(cost(member) for part in share for member in part) for share in shares]
    largest = max(cost(group[0]) for group in groups)
    assert max(costs) - min(costs) <= 2 * largest
    parts = sum(len(share) for share in shares)
    assert parts <= len(groups) + processes - 1  # each cut divides one group at most


def test_nothing_to_share():
    assert division.members_of_process([], tiny_hosts.CONFIG, 0, 2) == []


def test_state_is_outdated_once_later_ones_hold_all_its_members():
    def name(scale, first, last, step=None):
        return CheckpointName(scale, range(first, last + 1), step)

    old = name(1, 0, 7, 10)
    assert _outdated([old, name(1, 0, 3, 20)]) == []
    assert _outdated([old, name(1, 0, 3, 20), name(1, 4, 7, 10)]) == []
    assert _outdated([old, name(1, 0, 3, 20), name(1, 4, 7, 15)]) == [old]
    assert _outdated([old, name(1, 0, 7)]) == [old]
    assert _outdated([old, name(0, 0, 7), name(2, 0, 7)]) == []


@pytest.mark.parametrize(
    ("environment", "together"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, False),  # an interactive shell
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"SLURM_STEP_NUM_TASKS": ""}, False),
        ({"SLURM_STEP_NUM_TASKS": "4(x2)"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, True),
    ],
)
def test_environment_tells_whether_there_are_others(monkeypatch, environment, together):
    for name in [name for name in os.environ if name.startswith(("SLURM", "TPU", "KUBERNETES"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hosts.started_together() == together


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("auto", "node1:1", 2, None), "must be given together"),
        (("off", "node1:1", 2, 0), "not with `distributed`=off"),
        (("auto", "node1", 2, 0), "must be host:port"),
        (("auto", "node1:1", 2, 2), "`process_id`=2: must be from 0 to 1"),
        (("on", None, None, None), "cannot be found.*`distributed`=off"),
    ],
)
def test_what_cannot_be_joined_is_refused(arguments, words, monkeypatch):
    def undetected(*_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(hosts.sharding, "join", undetected)
    with pytest.raises(singan_jax.InputError, match=words):
        hosts.join(*arguments)


def test_sigterm_saves_and_exits_and_the_command_goes_on(tmp_path, whole):
    """The launcher, stopped once, makes the fleet of an undisturbed run, to the bit."""
    images, folder = tmp_path / "images", tmp_path / "fleet"
    images.mkdir()
    for seed in SEEDS:
        write_png(images / f"image{seed}.png", tiny.image(seed).pixels)
    settings = [f"--config.{name}={value}" for name, value in tiny_hosts.CHANGES.items()]
    command = [
        *(sys.executable, "-m", "launch.train_fleet", f"--images={images}", *settings),
        f"--workdir={folder}",
    ]
    ends = []
    for _ in range(2):
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=tiny_hosts.ENVIRONMENT
        )
        if not ends:
            wait_for(lambda: "step" in read(folder / "metrics.jsonl"), [process])
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=100)[1].replace("\r", "\n").splitlines()
        ends.append((process.returncode, [x for x in said if x.strip() and "%|" not in x]))
    assert ends == [(143, ["stopped on request; the same command goes on from here"]), (0, [])]
    rows = [json.loads(line) for line in read(folder / "metrics.jsonl").splitlines()]
    done = [(r["scale"], r["step"]) for r in rows if r.get("member") == "image1" and "step" in r]
    assert done == sorted(set(done))  # what was done before the stop is not done again
    assert_same(folder, whole, atol=0)


def read(path):
    return path.read_text() if path.exists() else ""


def test_a_process_reads_the_images_of_its_members(tmp_path, monkeypatch):
    for folder, seeds in (("a", (1, 2)), ("b", (3, 4))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            write_png(tmp_path / folder / f"image{seed}.png", tiny.image(seed).pixels)
    opened = []
    monkeypatch.setattr(
        read_module, "read_image", lambda path, _: opened.append(path) or read_image(path, _)
    )
    members = [
        Member(f"image{n}", "", tiny.image(n).digest, (17, 19, 3), 8, {}, 0, 0) for n in (2, 3)
    ]
    source = image_source.Source([f"{tmp_path}/a", f"{tmp_path}/b/*.png"], tiny_hosts.CONFIG)
    assert [image.name for image in source.read_members(members)] == ["image2", "image3"]
    assert sorted(opened) == [f"{tmp_path}/a/image2.png", f"{tmp_path}/b/image3.png"]
    (tmp_path / "b/image3.png").rename(tmp_path / "b/image2.png")  # now both have other names
    assert [image.name for image in source.read_members(members)] == ["image2", "image3"]
