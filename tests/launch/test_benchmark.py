"""The benchmark: what its numbers mean, what it writes; not how fast anything is."""

import inspect
import json
import operator
import pathlib
import re
import resource
import sys
import time

import jax
import numpy as np
import PIL.Image
import pytest
from absl import flags
from absl.testing import flagsaver

import singan_jax
from launch import benchmark
from launch.benchmarks import memory, pipeline, plot
from launch.benchmarks.timing import Timing, fresh_processes, measure
from singan_jax.config import Config


def run(monkeypatch, available, **arguments):
    """Runs the launcher in this process with other suites than its own.

    Only its own flags are parsed: whatever else was imported may have flags that are required.
    """
    monkeypatch.setattr(benchmark, "SUITES", available)
    monkeypatch.setattr(singan_jax, "configure_jax", lambda: None)  # done by conftest
    flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(**arguments):
        benchmark.main()


def test_timing_is_of_runs():
    timing = Timing.of([8.0, 1.0, 2.0, 4.0])
    assert timing == (3.0, 1.0, 8.0)
    assert timing.times(2) == (6.0, 2.0, 16.0)
    assert timing.rate(10) == (10 / 3, 10.0, 1.25)  # the fastest run has the highest rate
    assert Timing.total([timing, Timing(1.0, 0.5, 2.0)]) == (4.0, 1.5, 10.0)
    assert timing.row("ms") == {"ms": 3.0, "ms_fastest": 1.0, "ms_slowest": 8.0}


def test_measures_all_runs_but_the_first():
    naps = iter([0.5, 0.01, 0.02, 0.06])
    timing = measure(lambda: time.sleep(next(naps)), repeats=3)
    assert 0.01 <= timing.fastest < 0.02 <= timing.median < 0.06 <= timing.slowest < 0.5
    assert next(naps, None) is None


def test_processes_are_new_and_answer_in_order():
    assert fresh_processes(operator.add, [(1, 2), (3, 4)]) == [3, 7]
    ballast = np.ones(2**27)  # 1 GiB
    (child,) = fresh_processes(memory.peak_resident, [()])
    assert 2**25 < child < ballast.nbytes


def test_peak_resident_is_what_the_system_says():
    untouched = np.empty(2**29)  # 4 GiB, which no page stands for
    peak = memory.peak_resident()
    now = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert now <= peak * 1.01
    assert peak <= 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.05
    del untouched


def test_every_suite_has_one_signature_and_a_panel():
    for function in benchmark.SUITES.values():
        assert list(inspect.signature(function).parameters) == ["repeats", "peer"]
    assert benchmark.SUITES.keys() == plot.PANELS.keys()
    for suite in benchmark.SUITES:
        assert re.search(rf"^    {suite} ", benchmark.__doc__, re.MULTILINE)


def bars(axes):
    """(place, start, length) of each bar."""
    return [(b.get_y() + b.get_height() / 2, b.get_x(), b.get_width()) for b in axes.patches]


def test_plot_shows_what_rows_hold_from_zero():
    rows = [
        {"size": "one", "ms": 20.0, "ms_fastest": 18.0, "ms_slowest": 27.0, "compile_s": 900.0},
        {"size": "two", "members": 3, "ms": 5.0, "torch_threads_ms": 7.0},
    ]
    stacked = {"cache": "cold", "seconds": 6.0, "seconds_slowest": 9.0}
    stacked |= {"start_s": 1.0, "compile_s": 2.0, "train_s": 3.0}
    figure = plot.draw({"step": rows, "pipeline": [stacked]}, "a note")
    step, parts = figure.axes
    (one, two, peer) = bars(step)
    assert [bar[1:] for bar in (one, two, peer)] == [(0, 20), (0, 5), (0, 7)]
    assert one[0] < two[0] < peer[0]
    assert step.get_xlim()[0] == 0
    assert step.get_xlim()[1] > 27
    assert step.get_xscale() == "linear"
    (spread,) = step.collections
    np.testing.assert_array_equal(spread.get_segments()[0][:, 0], [18, 27])
    assert [label.get_text() for label in step.get_yticklabels()] == ["one", "two, members 3"]
    np.testing.assert_allclose(step.get_yticks(), [one[0], (two[0] + peer[0]) / 2])
    legend = [text.get_text() for text in step.get_legend().get_texts()]
    assert legend == ["ms", "torch_threads_ms"]
    assert [bar[1:] for bar in bars(parts)] == [(0, 1), (1, 2), (3, 3)]
    assert len({bar[0] for bar in bars(parts)}) == 1
    assert parts.get_xlim()[1] > 9


def test_writes_table_json_and_plot(monkeypatch, tmp_path, capsys):
    def some(repeats, peer):
        yield {"size": "small", "ms": 12.5, "ms_fastest": 12.0, "ms_slowest": 14.25}
        yield {"size": "large", "ms": 100.0, "repeats": repeats, "peer": peer}

    def never(repeats, peer):
        raise AssertionError

    monkeypatch.setenv("JAX_SOME_SETTING", "7")
    results, picture = tmp_path / "results.json", tmp_path / "results.png"
    monkeypatch.setattr(sys, "argv", ["benchmark", "--repeats=3"])
    files = {"json": str(results), "plot": str(picture)}
    run(monkeypatch, {"step": some, "fleet": never}, suites=["step"], repeats="3", **files)
    text = capsys.readouterr().out
    assert "# step" in text
    assert re.search(r"small +12.5 \(12 to 14.25\)", text)
    assert re.search(r"large +100 +3 +False", text)
    written = json.loads(results.read_text())
    assert written["suites"] == {"step": list(some(3, False))}
    assert written["command"] == ["benchmark", "--repeats=3"]
    assert written["environment"]["JAX_SOME_SETTING"] == "7"
    assert written["versions"]["jax"] == jax.__version__
    assert len(written["devices"]) == jax.device_count()
    assert {"system", "cpu", "cpus", "memory_gib", "python"} <= written.keys()
    with PIL.Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100


def test_a_folder_that_is_not_there_is_told_before_measuring(monkeypatch, tmp_path):
    def never(repeats, peer):
        raise AssertionError

    for flag in ("json", "plot"):
        with pytest.raises(singan_jax.InputError, match="nowhere/x: its folder does not exist"):
            run(monkeypatch, {"step": never}, **{flag: f"{tmp_path}/nowhere/x"})


def test_parts_of_training_come_from_its_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rng = np.random.default_rng(0)
    waits, seconds, lines = rng.uniform(0, 9, 2), rng.uniform(1, 9, (2, 3)), []
    for scale in range(2):
        lines.append({"scale": scale, "compile_wait_s": waits[scale]})
        steps = [0, 1, 5, 20]
        for n, taken in enumerate(seconds[scale]):
            rate = (steps[n + 1] - steps[n]) / taken
            for member in "ab":
                line = {"member": member, "scale": scale, "step": steps[n + 1]}
                lines.append({**line, "steps_per_s": rate, "rec_loss": 1.0})
        lines.append({"member": "a", "scale": scale, "finished": True})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.testing.assert_allclose(pipeline.of_training(path), (waits.sum(), seconds.sum()))


TINY = Config(
    **{"min_size": 16, "max_size": 16, "base_channels": 4, "max_channels": 4, "num_layers": 3},
    **{"steps_per_scale": 2, "lr_decay_step": 1, "d_steps": 1, "g_steps": 1},
)


def test_bytes_by_scale_are_those_of_the_arrays(monkeypatch):
    monkeypatch.setattr(singan_jax, "configure_jax", lambda: None)
    members = jax.device_count()
    rows = memory.by_scale(TINY, members)
    assert [row["what"] for row in rows] == [f"16x16, scale {n}: 16x16" for n in range(2)]
    norms = 2 * 2 * 4  # two norms' weights and biases; their statistics are as many
    generator = 9 * (3 * 4 + 4 * 4 + 4 * 3) + 3 + norms
    critic = 9 * (3 * 4 + 4 * 4 + 4) + 1 + norms
    frozen = generator + norms + 16**2
    for row, noise, chain in zip(rows, (1, 3), (0, frozen), strict=True):
        # Weights with Adam's two moments; statistics; the image, its reconstruction, the noise.
        floats = 3 * (generator + critic) + 2 * norms + (3 + 3 + noise) * 16**2 + chain
        assert row["members"] == members
        assert row["arguments_mib"] * 2**20 == pytest.approx(4 * floats, rel=0.05)
        assert row["member_mib"] > row["arguments_mib"]


def test_peak_of_a_fleet(monkeypatch):
    monkeypatch.setattr(singan_jax, "configure_jax", lambda: None)
    monkeypatch.setattr(memory, "TINY", TINY)
    row = memory.peak(jax.device_count())
    assert (row["what"], row["members"]) == ("whole process", jax.device_count())
    assert row["peak_mib"] == pytest.approx(memory.peak_resident() / 2**20, rel=0.01)


@pytest.mark.slow
def test_pipeline_tells_cold_from_warm(monkeypatch):
    cold, warm = pipeline.run(1, False)
    assert (cold["cache"], warm["cache"]) == ("cold", "warm")
    for row in (cold, warm):
        parts = [row[name] for name in plot.PANELS["pipeline"].bars]
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(row["seconds"])
    assert cold["compile_s"] > 2 * warm["compile_s"]
    assert cold["seconds"] > warm["seconds"]
