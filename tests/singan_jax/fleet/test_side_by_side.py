"""Images of several sizes train beside each other, to the bits of one size after another.

The iterations are stand-ins that take little to compile; those of `test_fleet` are true ones.
"""

import json
import signal
import threading
import time

import jax
import numpy as np
import pytest
import tiny
import tiny_hosts

import singan_jax
from singan_jax import backend
from singan_jax.devices import programs
from singan_jax.devices.preemption import Watch
from singan_jax.fleet import schedule
from singan_jax.scale import train_scale
from singan_jax.scale.pyramid import Pyramid
from singan_jax.scale.train_step import METRICS

STEPS = 12
CHANGES = {"min_size": 9, "steps_per_scale": STEPS, "lr_decay_step": 8}  # two scales
CONFIG = singan_jax.Config(**{**tiny_hosts.CHANGES, **CHANGES})
IMAGES = [tiny.image(0, (9, 10)), tiny.image(1, (10, 9))]
STEPWISE = singan_jax.Pace(chunk_seconds=0.0)  # one iteration a chunk

pytestmark = pytest.mark.skipif(
    jax.local_device_count() < len(IMAGES), reason="a device for each group"
)


def drift(config, scale, state, task, draws, iteration, layout):
    """An iteration that learns nothing, but depends on all that it is given."""
    by = 1e-3 * (draws.noise.mean() + draws.prev.mean() + task.real.mean() + iteration)
    variables = jax.tree.map(lambda x: x + by, state.generator.variables)
    state = state._replace(generator=state.generator._replace(variables=variables))
    return state, dict.fromkeys(METRICS, by)


@pytest.fixture(scope="module", autouse=True)
def _little_to_compile():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_scale, "iterate", drift)
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Weights of members whose groups were trained one after another."""
    folder, plan = tmp_path_factory.mktemp("after"), schedule.plan

    def after_another(loads, devices):
        (stage,) = plan(loads, devices)
        pairs = zip(stage.teams, stage.queues, strict=True)
        return [schedule.Stage([team], [queue]) for team, queue in pairs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "plan", after_another)
        singan_jax.train_fleet(IMAGES, CONFIG, folder)
    return tiny.weights(folder)


def assert_same(folder, expected):
    found = tiny.weights(folder)
    assert found.keys() == expected.keys()
    for name, arrays in found.items():
        for path, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name][path], err_msg=f"{name} {path}")


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Meeting(singan_jax.Monitor):
    """Waits until all groups are at a step of the last scale, then does something in one."""

    def __init__(self, folder, does):
        super().__init__(folder, quiet=True)
        self.does, self.together = does, threading.Barrier(len(IMAGES))

    def chunk(self, scale, members, start, stop, metrics, seconds):
        super().chunk(scale, members, start, stop, metrics, seconds)
        if (scale, stop) == (1, 3) and self.together.wait(60) == 0:
            self.does()


def test_sizes_train_beside_each_other_to_the_same_bits(tmp_path, expected, monkeypatch):
    where, compiled = {}, programs.Compiler.programs

    def seen(compiler, scale, members):
        where.setdefault(compiler.bucket, set()).add(backend.devices())
        return compiled(compiler, scale, members)

    monkeypatch.setattr(programs.Compiler, "programs", seen)
    met = []
    monitor = Meeting(tmp_path, lambda: met.append(True))
    singan_jax.train_fleet(IMAGES, CONFIG, tmp_path, pace=STEPWISE, monitor=monitor)
    assert met  # both were in training at once
    assert_same(tmp_path, expected)
    devices = [team for (team,) in where.values()]
    assert sorted(devices, key=str) == [(d,) for d in jax.local_devices()[: len(IMAGES)]]
    told = lines(tmp_path)
    for number, image in enumerate(IMAGES):
        own = [row for row in told if row.get("member") == image.name]
        steps = [(row["scale"], row["step"]) for row in own if "step" in row]
        assert steps == [(scale, n + 1) for scale in range(2) for n in range(STEPS)]
        assert [row["scale"] for row in own if "finished" in row] == [0, 1]
        assert all(row.keys() >= set(METRICS) for row in own if "step" in row)
        waits = [row for row in told if "compile_wait_s" in row and row["group"] == number]
        assert [row["scale"] for row in waits] == [0, 1]


def stopped(folder, does, error):
    """Trains until all groups meet, then `does` something that is to raise `error`."""
    monitor = Meeting(folder, does)
    with pytest.raises(error):
        singan_jax.train_fleet(IMAGES, CONFIG, folder, pace=STEPWISE, monitor=monitor)
    states = folder.glob("groups/*/*_step_??????")
    return {int(path.parent.name): int(path.name[-6:]) for path in states}


def test_a_signal_stops_all_groups_and_the_same_call_goes_on(tmp_path, expected, monkeypatch):
    watches, entered = [], Watch.__enter__
    monkeypatch.setattr(Watch, "__enter__", lambda w: watches.append(w) or entered(w))
    saved = stopped(tmp_path, lambda: watches[0]._ask(), singan_jax.Stopped)
    assert saved.keys() == {0, 1}
    assert all(3 <= step <= 4 for step in saved.values())
    singan_jax.train_fleet(IMAGES, CONFIG, tmp_path, pace=STEPWISE)
    assert_same(tmp_path, expected)
    steps = [(r["member"], r["scale"], r["step"]) for r in lines(tmp_path) if "step" in r]
    assert len(steps) == len(set(steps)) == 2 * STEPS * len(IMAGES)  # none was done twice


def test_an_error_in_one_group_is_raised_once_the_others_have_saved(tmp_path, expected):
    def fails():
        raise OSError("the disk is gone")

    saved = stopped(tmp_path, fails, OSError)
    assert len(saved) == 1
    singan_jax.train_fleet(IMAGES, CONFIG, tmp_path)
    assert_same(tmp_path, expected)


def test_the_bar_and_the_metrics_hold_what_all_groups_told(tmp_path, capsys):
    """Each group tells from a thread of its own, as fast as it can."""
    monitor, groups = singan_jax.Monitor(tmp_path), []
    for number in range(4):
        member = singan_jax.Member(f"m{number}", "", "", (10, 10, 3), 8, {}, number, 0)
        groups.append((Pyramid.of((9, 10), CONFIG), [member]))
    monitor.start(CONFIG, groups)

    def tell(members):
        monitor.start_group(members, 0)
        for scale in range(2):
            monitor.compiled(members, scale, 0.1)
            for step in range(STEPS):
                row = dict.fromkeys(METRICS, np.ones(1))
                monitor.chunk(scale, members, step, step + 1, row, 0.5)
        monitor.end_group(members)

    threads = [threading.Thread(target=tell, args=(members,)) for _, members in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor._bar.n == pytest.approx(monitor._bar.total)
    monitor.close()
    told = [row for row in lines(tmp_path) if "step" in row]
    assert len(told) == 2 * 4 * STEPS
    bar = capsys.readouterr().err.split("\r")
    assert "2.0 steps/s" in bar[-1] or "100%" in bar[-1]
    assert all(line.count("passed") <= 1 for line in bar)


def trained_by(folder, devices):
    """Statuses of processes, of so many devices each, that train a fleet of four sizes."""
    return tiny_hosts.start(folder, ["1:10x10", "2:9x10", "3:10x9", "4:10x8"], devices)


def in_training(folder):
    return set(folder.glob("groups/*/*_step_??????"))


@pytest.mark.slow
def test_processes_killed_or_stopped_anywhere_make_the_fleet_of_one_device(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "parts"
    assert [status for status, _ in tiny_hosts.ends(trained_by(whole, [1]))] == [0]
    for devices, signals in (([2], [signal.SIGKILL]), ([2, 2], [signal.SIGTERM])):
        processes = trained_by(folder, devices)
        before = in_training(folder)
        while len(in_training(folder) - before) < 2:
            assert [process.poll() for process in processes] == [None] * len(devices)
            time.sleep(0.005)
        for process, number in zip(processes, signals, strict=False):
            process.send_signal(number)
        for status, said in tiny_hosts.ends(processes):
            assert status == (-9 if signals == [signal.SIGKILL] else 1)
            assert ("Stopped: stopped on request" in said) == (status == 1), said
    ends = tiny_hosts.ends(trained_by(folder, [3, 1]))
    assert [status for status, _ in ends] == [0, 0], ends
    assert_same(folder, tiny.weights(whole))
    assert not in_training(folder)
    assert not list(folder.glob("groups/*/*tmp*"))
