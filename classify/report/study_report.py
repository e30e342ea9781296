"""From a finished study to its report: verdict, gallery, and how it was run."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from classify import study
from classify.backbones.backbone import Backbone
from classify.cells import TARGET_WORDS
from classify.plan import protocol
from classify.plan.plan import table
from classify.report import distances, gallery, mistakes_page, report
from classify.statistics import verdict
from classify.study import Study
from data_pipeline.patch_records import PatchRecord

_DISTANCE = "single-image Fréchet distance on the first layer of {}"


def write(path: pathlib.Path, finished: Study, folder: pathlib.Path) -> None:
    """Writes the report of a study, and the page of all its mistakes beside it.

    Args:
      path: the HTML file to write; the other is `mistakes_page.NAME` in the same folder.
      finished: the study.
      folder: its work folder.
    """
    results, plan = finished.results, finished.plan
    sources, samples = _samples(finished)
    features = _first_layer(finished.backbone)
    data = report.ReportData(
        title=f"Do SinGAN patches help to recognise {TARGET_WORDS[plan.config.task]}?",
        results=results,
        summary=finished.summary,
        comparisons=finished.comparisons,
        subgroups=finished.subgroups,
        verdict=verdict.verdict(finished.summary, finished.comparisons, results),
        pixels={plan.records[row].patch_id: plan.pixels[row] for row in plan.test_rows},
        gallery=gallery.make_gallery(sources, samples, features),
        distance_name=_DISTANCE.format(finished.backbone.name),
        setup=_setup(finished, folder),
        plan_table=table(plan),
        splits=finished.splits,
        distances=distances.measure(sources, samples, features),
        mistakes_page=mistakes_page.NAME,
    )
    page = path.with_name(mistakes_page.NAME)
    wrong, shown = finished.misclassified, tuple(data.shown)
    mistakes_page.write(page, wrong, results, shown, data.zooms, data.pixels)
    report.write_report(path, data)


def _samples(
    finished: Study,
) -> tuple[list[tuple[PatchRecord, np.ndarray]], dict[str, list[np.ndarray]]]:
    """The source patches of all generators, and by patch id what was drawn from each."""
    plan = finished.plan
    place = {record.patch_id: n for n, record in enumerate(plan.records)}
    samples: dict[str, list[np.ndarray]] = {}
    for (source, _), pixels in finished.samples.items():
        samples.setdefault(source, []).append(pixels)
    return [(plan.records[place[name]], plan.pixels[place[name]]) for name in samples], samples


def _first_layer(backbone: Backbone) -> Callable[[np.ndarray], np.ndarray]:
    """Maps patches, (n, H, W, 1) uint8, to the first layer's output, (n, h, w, channels)."""

    @jax.jit
    def features(variables: Any, pixels: jax.Array) -> jax.Array:
        _, captured = backbone.module.apply(
            variables,
            backbone.prepare(pixels),
            train=False,
            capture_intermediates=lambda module, _: module.name == "conv1",
        )
        first: jax.Array = captured["intermediates"]["conv1"]["__call__"][0]
        return first

    return lambda pixels: np.asarray(features(backbone.variables, pixels))


def _setup(finished: Study, folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """How it was run, as sections of names and values."""
    plan, runs = finished.plan, study.runs(folder)
    seconds: dict[str, float] = {}
    for run in runs:
        for stage, time in run["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + time
    patients = {record.patient_id for record in plan.records}
    tested = {record.patient_id for record in finished.results.records}
    return {
        "Data": {
            "dataset": "/".join(plan.dataset),
            "patches": str(len(plan.records)),
            "patients": str(len(patients)),
            "patients tested on": str(len(tested)),
            "generators": str(len(plan.wanted)),
            "synthetic patches": str(len(finished.samples)),
            "classifiers": str(len(plan.sets)),
            "backbone": f"{finished.backbone.origin} ({finished.backbone.reason})",
        },
        "Protocol": {plan.config.protocol: protocol.MEANINGS[plan.config.protocol]},
        "Study": {name: _text(value) for name, value in plan.config.to_dict().items()},
        "SinGAN": {name: _text(value) for name, value in plan.singan.to_dict().items()},
        "Seconds": {stage: f"{value:.1f}" for stage, value in seconds.items()},
        "Versions": study.versions(),
        "Machine": {
            "devices": ", ".join(runs[-1]["devices"]),
            "command": " ".join(runs[-1]["command"]),
        },
    }


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
