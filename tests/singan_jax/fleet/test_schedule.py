"""Which groups train at the same time, and the threads that do so, with trainers that only wait."""

import threading

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singan_jax import backend
from singan_jax.devices import preemption, sharding
from singan_jax.devices.preemption import Stopped, Watch
from singan_jax.fleet import schedule, teams
from singan_jax.fleet.schedule import Load, Stage

LOADS = st.lists(st.builds(Load, st.integers(1, 40), st.floats(0.1, 100.0)), max_size=30)


@given(LOADS, st.integers(1, 17))
def test_every_group_has_its_turn_and_none_takes_longer_than_one_after_another(loads, devices):
    stages = schedule.plan(loads, devices)
    assert stages == schedule.plan(loads, devices)
    assert sorted(n for s in stages for queue in s.queues for n in queue) == [*range(len(loads))]
    for stage in stages:
        assert all(stage.queues)
        used = [device for team in stage.teams for device in team]
        assert len(used) == len(set(used))
        assert set(used) <= set(range(devices))
        assert all(stage.teams)
        whole = Stage([range(devices)], [[n for queue in stage.queues for n in queue]])
        assert schedule.duration(loads, stage) <= schedule.duration(loads, whole) * (1 + 1e-9)
    large = [n for n, load in enumerate(loads) if load.members >= devices]
    if large:
        assert stages[0] == Stage([range(devices)], [large])
    assert len(stages) == bool(large) + (len(large) < len(loads))


@given(st.lists(st.floats(1.0, 2.0), min_size=1, max_size=30), st.integers(1, 17))
def test_single_images_take_a_device_each(costs, devices):
    (stage,) = schedule.plan([Load(1, cost) for cost in costs], devices)
    if devices <= 8:
        assert stage.teams == [range(n, n + 1) for n in range(min(devices, len(costs)))]
    assert len(stage.teams) <= 8
    shares = [sum(costs[n] for n in queue) for queue in stage.queues]
    assert max(shares) <= sum(costs) / len(shares) + max(costs)


@pytest.mark.parametrize(
    ("members", "devices", "sizes"),
    [
        ([3], 4, [4]),  # alone, spread out
        ([2], 4, [2]),
        ([4, 4], 8, [4, 4]),
        ([3, 3, 3, 3], 4, [1, 1, 1, 1]),  # 3 long, rather than 4
        ([15, *[1] * 5], 16, [5, 5, 6]),
    ],
)
def test_groups_of_a_few_images_share_the_devices(members, devices, sizes):
    (stage,) = schedule.plan([Load(count, 1.0) for count in members], devices)
    assert sorted(map(len, stage.teams)) == sorted(sizes)


class Waits:
    """Trains nothing: waits until `count` others wait too, then tells where it ran."""

    def __init__(self, together, told, then=lambda: None):
        self.together, self.told, self.then = together, told, then

    def prepare(self):
        self.told.append(("prepared", self, backend.devices()))

    def run(self, ends_soon):
        self.told.append(("began", self, backend.devices()))
        ends_soon()
        self.together.wait(20)
        self.then()


def singles(count, devices):
    return schedule.plan([Load(1, 1.0)] * count, devices)


def test_each_device_trains_a_group_and_the_next_is_prepared_for_it():
    told, devices = [], jax.local_devices()
    together = threading.Barrier(len(devices))
    trainers = [Waits(together, told) for _ in range(2 * len(devices))]
    with Watch() as watch:
        teams.train(singles(len(trainers), len(devices)), trainers, teams.StopSign(watch))
        watch.finish()
    ran = {trainer: where for what, trainer, where in told if what == "began"}
    assert set(ran) == set(trainers)
    assert set(ran.values()) == {(device,) for device in devices}
    prepared = [(trainer, where) for what, trainer, where in told if what == "prepared"]
    assert len(prepared) == len(devices)
    assert all(ran[trainer] == where for trainer, where in prepared)
    assert backend.devices() == tuple(devices)  # of this thread


def test_large_groups_come_first_and_the_small_ones_are_prepared_meanwhile():
    told, devices = [], jax.local_devices()
    alone = threading.Barrier(1)
    trainers = [Waits(alone, told) for _ in range(3)]
    stages = schedule.plan([Load(1, 1.0), Load(len(devices), 1.0), Load(1, 9.0)], len(devices))
    with Watch() as watch:
        teams.train(stages, trainers, teams.StopSign(watch))
        watch.finish()
    assert told[0] == ("began", trainers[1], tuple(devices))
    assert {what for what, *_ in told[1:3]} == {"prepared"}
    assert {what for what, *_ in told[3:]} == {"began"}


def test_there_may_be_nothing_to_train():
    assert schedule.plan([], 4) == []
    teams.train([], [], teams.StopSign(Watch()))


def test_a_team_without_groups_takes_those_of_another():
    told, together = [], threading.Barrier(2)
    trainers = [Waits(together, told) for _ in range(4)]
    stage = Stage([range(1), range(1, 2)], [[0, 1, 2], [3]])  # as if 3 took as long as the others
    with Watch() as watch:
        teams.train([stage], trainers, teams.StopSign(watch))
        watch.finish()
    assert {where for _, trainer, where in told if trainer in trainers[:3]} == {
        (device,) for device in jax.local_devices()[:2]
    }


@pytest.mark.parametrize("error", [OSError("no space"), MemoryError("too large"), Stopped("now")])
def test_what_ends_one_group_stops_the_others(error):
    told, ends = [], []

    def fails():
        raise error

    def goes_on():
        while (reason := stop.reason_to_stop()) is None:
            pass
        ends.append(type(reason))
        raise reason

    together = threading.Barrier(2)
    trainers = [Waits(together, told, then) for then in (fails, goes_on, fails)]
    stop = teams.StopSign(Watch())
    with pytest.raises(type(error), match=str(error)):
        teams.train(singles(3, 2), trainers, stop)
    assert ends == [Stopped]
    assert len([what for what, *_ in told if what == "began"]) == 2  # the third never does


def test_an_error_while_stopping_is_not_hidden_by_the_stop():
    sign = teams.StopSign(Watch())
    for error in (Stopped("asked to"), OSError("no space"), Stopped("with another")):
        sign.raise_for(error)
    with pytest.raises(OSError, match="no space"):
        sign.check()


def test_an_interrupt_stops_all_groups(monkeypatch):
    ends, together = [], threading.Barrier(3)

    def goes_on():
        while (reason := stop.reason_to_stop()) is None:
            pass
        ends.append(reason)
        raise reason

    def interrupted(*_):
        together.wait(20)
        raise KeyboardInterrupt

    monkeypatch.setattr(teams.concurrent.futures, "wait", interrupted)
    stop = teams.StopSign(Watch())
    with pytest.raises(KeyboardInterrupt):
        teams.train(singles(2, 2), [Waits(together, [], goes_on) for _ in range(2)], stop)
    assert len(ends) == 2


def test_one_team_of_a_process_takes_part_in_the_rounds(monkeypatch):
    """Until it has nothing left to train: then another does, so that rounds never overlap."""
    asking, rounds, long = set(), [], threading.Barrier(2)

    def round_(values):
        asking.add(threading.get_ident())
        assert len(asking) == 1
        rounds.append(backend.devices()[0])
        asking.clear()
        return np.array([values, [preemption._Status.FINISHED, 0]])

    stop, ended = None, threading.Event()

    def short():
        for _ in range(3):
            assert stop.reason_to_stop() is None
        ended.set()

    def longer():
        while not ended.is_set():
            assert stop.reason_to_stop() is None
        while backend.devices()[0] not in rounds:
            assert stop.reason_to_stop() is None

    monkeypatch.setattr(sharding, "gathered", round_)
    monkeypatch.setattr(sharding, "processes", lambda: 2)
    with Watch() as watch:
        stop = teams.StopSign(watch)
        teams.train(singles(2, 2), [Waits(long, [], then) for then in (short, longer)], stop)
        watch.finish()
    first, second = jax.local_devices()[:2]
    assert rounds[:4] == [first] * 3 + [second]
    assert len(rounds) == 5  # the last one where the process has finished
