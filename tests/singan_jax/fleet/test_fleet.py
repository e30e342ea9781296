"""A member's result depends on its image, config and seed alone; nothing is lost to a kill."""

import dataclasses
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny

import singan_jax
from singan_jax.devices import programs, sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.scale import train_scale, train_step
from singan_jax.scale.pyramid import build_pyramid
from singan_jax.scale.train_step import METRICS
from singan_jax.workdir.record import WorkdirError

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def train(folder, seeds, **kwargs):
    images = [tiny.image(seed) for seed in seeds]
    config = kwargs.pop("config", tiny.CONFIG)
    fleet = singan_jax.train_fleet(images, config, folder, **kwargs)
    return tiny.weights(folder), fleet.failed


def assert_same(actual, expected, atol=0.0):
    assert actual.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(actual[path], array, rtol=0, atol=atol, err_msg=path)


@pytest.fixture(scope="module")
def fleet_of_five(tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    pace = singan_jax.Pace(chunk_seconds=0.0)  # one iteration a chunk, so that metrics tell each
    return folder, train(folder, [1, 2, 3, 4, 5], pace=pace)[0]


def test_all_scales_train_and_differ(fleet_of_five):
    folder, members = fleet_of_five
    fleet = singan_jax.load_fleet(folder)
    assert [fleet.num_scales(member) for member in fleet.members] == [3] * 5
    for path in next(iter(members.values())):
        if "kernel" in path:
            stack = np.stack([members[name][path] for name in members])
            assert np.ptp(stack, axis=0).max() > 1e-3, path


def test_solo_equals_fleet(fleet_of_five, tmp_path):
    solo, _ = train(tmp_path, [3])
    assert_same(solo["image3"], fleet_of_five[1]["image3"])


def test_order_does_not_matter(fleet_of_five, tmp_path):
    shuffled, _ = train(tmp_path, [4, 2, 5, 1, 3])
    for name, arrays in fleet_of_five[1].items():
        assert_same(shuffled[name], arrays)


def test_number_of_devices_does_not_matter(fleet_of_five, tmp_path):
    run_process(tmp_path, {}, 1, [1, 2, 3, 4, 5]).wait()
    for name, arrays in tiny.weights(tmp_path).items():
        assert_same(arrays, fleet_of_five[1][name], atol=1e-5)


def test_seed_and_image_matter(fleet_of_five, tmp_path):
    config = dataclasses.replace(tiny.CONFIG, seed=1)
    other, _ = train(tmp_path, [3], config=config)
    path = next(path for path in other["image3"] if "kernel" in path)
    assert np.abs(other["image3"][path] - fleet_of_five[1]["image3"][path]).max() > 1e-3


def test_slices_change_nothing(fleet_of_five, tmp_path, monkeypatch):
    """Memory for four members only: the fifth trains in a slice of its own."""
    fits = []

    def at_most_four(compiled, share):
        fits.append(len(fits) % 2 == 1)  # the first try at each scale is for eight
        return fits[-1]

    monkeypatch.setattr(sharding, "fits", at_most_four)
    sliced, _ = train(tmp_path, [1, 2, 3, 4, 5])
    assert len(fits) == 6
    for name, arrays in fleet_of_five[1].items():
        assert_same(sliced[name], arrays)


def test_program_has_no_collective():
    compiler = programs.Compiler(Bucket(tiny.CONFIG, (17, 19, 3)))
    for program in compiler.programs(1, 5)[1:]:
        text = program.as_text()
        assert not [name for name in COLLECTIVES if name in text]
    assert jax.device_count() > 1  # else the check is empty


def test_finished_fleet_does_nothing(fleet_of_five, monkeypatch):
    monkeypatch.setattr(programs.Compiler, "programs", None)  # any training would fail
    assert train(fleet_of_five[0], [1, 2, 3, 4, 5])[1] == []


def test_added_images_join(fleet_of_five, tmp_path):
    train(tmp_path, [3])
    grown, _ = train(tmp_path, [3, 1])
    for name in ("image1", "image3"):
        assert_same(grown[name], fleet_of_five[1][name])


def test_changed_config_or_image_is_refused(fleet_of_five):
    folder, _ = fleet_of_five
    config = dataclasses.replace(tiny.CONFIG, lr_g=1e-3)
    with pytest.raises(WorkdirError, match=r"lr_g 0.0005 there, 0.001 here"):
        train(folder, [1, 2, 3, 4, 5], config=config)
    with pytest.raises(WorkdirError, match=r"image5.png"):
        train(folder, [1, 2, 3, 4])
    images = [dataclasses.replace(tiny.image(n), name=f"image{n % 5 + 1}") for n in range(1, 6)]
    with pytest.raises(WorkdirError, match="differs from the image"):
        singan_jax.train_fleet(images, tiny.CONFIG, folder)


def test_retry_without_failures_changes_nothing(fleet_of_five):
    before = (fleet_of_five[0] / "fleet.json").read_text()
    assert train(fleet_of_five[0], [1, 2, 3, 4, 5], retry=True)[1] == []
    assert (fleet_of_five[0] / "fleet.json").read_text() == before


def test_member_that_goes_wrong_is_frozen_alone(fleet_of_five, tmp_path):
    """The limit lies between the largest losses of two members, so that one exceeds it."""
    losses = dict.fromkeys(fleet_of_five[1], 0.0)
    for line in (fleet_of_five[0] / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "member" in row:
            largest = max(abs(row.get(metric, 0.0)) for metric in METRICS)
            losses[row["member"]] = max(losses[row["member"]], largest)
    worst, second = sorted(losses, key=lambda name: -losses[name])[:2]
    limit = (losses[worst] + losses[second]) / 2
    config = dataclasses.replace(tiny.CONFIG, divergence_limit=limit)
    members, wrong = train(tmp_path, [1, 2, 3, 4, 5], config=config)
    assert [member.name for member in wrong] == [worst]
    for name, arrays in fleet_of_five[1].items():
        if name != worst:
            assert_same(members[name], arrays)
        else:
            assert all(np.isfinite(array).all() for array in members[name].values())
    _, again = train(tmp_path, [1, 2, 3, 4, 5], config=config, retry=True)
    fleet = singan_jax.load_fleet(tmp_path)
    assert {m.name: m.attempt for m in fleet.members if m.attempt} == {worst: 1}
    assert all(member.name == worst for member in again)


def test_nan_leaves_the_state_before_it():
    bucket = Bucket(tiny.CONFIG, (17, 19, 3))
    real = build_pyramid(tiny.image(1).to_float(), bucket.pyramid)[0]
    hyper = train_step.Hyper.of(tiny.CONFIG, {})
    start = train_scale.Start(jax.random.key(0), hyper, real, 0 * real, np.array(True))
    task, state = train_scale.begin(tiny.CONFIG, 0, start)
    draws = train_scale.draw(tiny.CONFIG, bucket.pyramid, 0, (), task, np.int32(3))
    spoilt = draws._replace(noise=draws.noise.at[0, 0].set(np.nan))
    iterate = jax.jit(train_step.iterate, static_argnums=(0, 1))
    after, _ = iterate(tiny.CONFIG, 0, state, task, spoilt, 3)
    assert not after.healthy
    assert after.failed_at == 3
    marks = {"healthy": state.healthy, "failed_at": state.failed_at}
    jax.tree.map(np.testing.assert_array_equal, after._replace(**marks), state)
    assert iterate(tiny.CONFIG, 0, state, task, draws, 3)[0].healthy


def run_process(folder, changes, devices, seeds):
    arguments = [str(folder), json.dumps(changes), str(devices), *map(str, seeds)]
    script = pathlib.Path(tiny.__file__)
    return subprocess.Popen([sys.executable, str(script), *arguments])


@pytest.mark.parametrize("wanted", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_killed_anywhere_same_result(tmp_path, wanted):
    """Kills a real process at drawn moments, once in the midst of a save."""
    changes, seeds = {"steps_per_scale": 40, "max_size": 13}, [1, 2]  # two scales
    assert run_process(tmp_path / "whole", changes, 2, seeds).wait() == 0
    folder, rng, kills = tmp_path / "killed", random.Random(wanted), 0
    while kills < wanted:
        process = run_process(folder, changes, 2, seeds)
        before = records(folder)
        while process.poll() is None and records(folder) == before:
            time.sleep(0.005)
        if kills == 0:  # the next save has begun, but is not complete
            while process.poll() is None and not list(folder.glob("groups/*/*tmp*")):
                time.sleep(0.001)
        else:
            time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break  # finished before it could be killed
        kills += 1
    assert kills >= min(wanted, 3)
    assert run_process(folder, changes, 2, seeds).wait() == 0
    expected = tiny.weights(tmp_path / "whole")
    for name, arrays in tiny.weights(folder).items():
        assert_same(arrays, expected[name])
    assert not list(folder.glob("groups/*/*tmp*"))


def records(folder):
    return sorted(path.name for path in folder.glob("groups/*/scale*") if "tmp" not in path.name)
