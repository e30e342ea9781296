"""A study: generators, samples, features, classifiers, statistics; each stage resumes.

study.json        settings and what else decides the results; other settings need another folder
runs.jsonl        one line a run: command, versions, seconds of each stage
fleet/ samples/   the generators and what was drawn from them
features/ cells/  features of patches, predictions of classifiers
models/           the classifiers
plan.csv splits.csv   what is trained, and the patches and patients of each split, as tables
summary.csv comparisons.csv subgroups.csv misclassified.csv   results as tables
report.html misclassified.html   results as pages
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import pandas as pd

import singan_jax
from classify import costs
from classify.backbones import choice
from classify.backbones.backbone import Backbone, load_backbone
from classify.cells import Results, StudyError
from classify.classifiers import predict
from classify.plan import protocol, synthetic
from classify.plan.config import GRID, StudyConfig
from classify.plan.plan import Plan, make, table
from classify.statistics import mistakes, split_counts, statistics, subgroups
from data_pipeline.files.writing import differences, to_json, write_atomically
from singan_jax import runtime
from singan_jax.workdir.record import locked

_FORMAT = 2  # of study.json; in 1 the paper's protocol is called thesis


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      plan: what was done.
      backbone: the network that the classifiers are built on.
      samples: the synthetic patches, by source and number.
      results: all predictions.
      summary: see `statistics.summarize`.
      comparisons: see `statistics.compare`.
      subgroups: see `subgroups.subgroups`.
      splits: see `split_counts.split_counts`.
      misclassified: see `mistakes.misclassified`.
    """

    plan: Plan
    backbone: Backbone
    samples: synthetic.Samples
    results: Results
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    subgroups: pd.DataFrame
    splits: pd.DataFrame
    misclassified: pd.DataFrame


class Stages:
    """Announces the stages of a study and times them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Runs one stage."""
        print(f"* {name}", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)


def prepare(
    config: StudyConfig,
    singan: singan_jax.Config,
    data_dir: pathlib.Path,
    samples_dir: pathlib.Path | None = None,
    folder: pathlib.Path | None = None,
) -> tuple[Plan, Backbone]:
    """Plans a study and loads its backbone; all that can be wrong with either shows here.

    Args:
      config: of the study.
      singan: of the generators.
      data_dir: where the dataset was prepared.
      samples_dir: samples to use instead of training generators, with their manifests.
      folder: the work folder, if there is one yet: with backbone auto it goes on with its own.

    Raises:
      InputError: see `plan.make`, `choice.choose`, `backbone.load_backbone` and `synthetic.rows`.
    """
    begun = _decides(folder / "study.json").get("study.backbone") if folder else None
    name, weights, reason = choice.choose(config.backbone, config.weights, begun)
    backbone = load_backbone(name, weights, config.input_size, config.seed, config.crop_from)
    backbone = dataclasses.replace(backbone, reason=reason)
    usable = None
    if samples_dir is not None:
        usable = {str(row["member"]) for _, row in synthetic.rows(samples_dir)}
    return make(config, singan, data_dir, usable), backbone


def describe(plan: Plan, backbone: Backbone, train_generators: bool) -> str:
    """The backbone, the plan and its cost as text."""
    tables = [table(plan), costs.table(plan, backbone, train_generators)]
    lines = [table.to_string(index=False, float_format="{:.1f}".format) for table in tables]
    if plan.config.keep_models and plan.config.train != "head":
        megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves(backbone.variables)) / 1e6
        lines.append(f"Networks are kept in models/, {len(plan.sets)} files of {megabytes:.0f} MB")
    name = plan.config.protocol
    lines.append(f"Protocol: {name}, {len(plan.folds)} folds: {protocol.MEANINGS[name]}")
    return "\n\n".join([f"Backbone: {backbone.origin} ({backbone.reason})", *lines])


def run(
    plan: Plan, backbone: Backbone, folder: pathlib.Path, samples_dir: pathlib.Path | None = None
) -> Study:
    """Runs a study, or goes on with it.

    Args:
      plan: of the study.
      backbone: the one loaded for it.
      folder: its work folder; created if missing.
      samples_dir: as for `prepare`.

    Returns:
      The results; they are also in the folder, as tables.

    Raises:
      StudyError: the folder holds another study, or what `synthetic` and `predict` raise.
      InputError: the folder cannot be written, or another process works in it.
      OSError: a file cannot be written.
    """
    with locked(folder):
        return _run(plan, backbone, folder, samples_dir)


def _run(
    plan: Plan, backbone: Backbone, folder: pathlib.Path, samples_dir: pathlib.Path | None
) -> Study:
    _claim(folder, plan, backbone, samples_dir)
    stages = Stages()
    samples: synthetic.Samples = {}
    if plan.wanted:
        if samples_dir is None:
            with stages.stage("training generators"):
                synthetic.train(plan.sources(), plan.singan, folder / "fleet")
            samples_dir = folder / "samples"
            with stages.stage("drawing samples"):
                fleet = singan_jax.load_fleet(folder / "fleet")
                synthetic.draw(fleet, plan.wanted, samples_dir, plan.config.seed)
        samples = synthetic.read(samples_dir, plan.wanted, plan.records, plan.config.patch_size)
    with stages.stage("features and classifiers"):
        pool = predict.make_pool(plan, samples)
        predictions = predict.train_and_predict(plan, pool, backbone, folder)
        if plan.config.keep_models and (count := predict.without_model(plan, folder)):
            print(
                f"{count} classifiers have predictions but no file in models/, as the run that "
                "trained them kept none; delete their files in cells/ to train them again"
            )
    test = plan.test_rows
    results = Results(
        task=plan.config.task,
        shared_test=plan.config.shared_test,
        records=tuple(plan.records[row] for row in test),
        labels=plan.labels[test],
        baseline=plan.config.baseline,
        regimes=plan.config.regimes,
        train_zooms=plan.config.train_zooms,
        test_zooms=plan.config.test_zooms,
        predictions=predictions,
        redrawn_test=plan.config.redrawn_test,
        fill_zooms=plan.config.fill_zooms,
    )
    with stages.stage("statistics"):
        draws, seed = plan.config.bootstrap, plan.config.seed
        tables = {
            "summary": statistics.summarize(results, draws, seed),
            "comparisons": statistics.compare(results, draws, seed),
            "subgroups": subgroups.subgroups(results, draws, seed),
            "splits": _split_counts(plan),
            "misclassified": mistakes.misclassified(results),
        }
    for name, frame in ({"plan": table(plan)} | tables).items():
        write_atomically(folder / f"{name}.csv", frame.to_csv(index=False))
    _log(folder, stages)
    return Study(plan, backbone, samples, results, **tables)


def _split_counts(plan: Plan) -> pd.DataFrame:
    folds = [
        {"train": fold.train, "validation": fold.validation, "test": fold.test}
        for fold in plan.folds
    ]
    zooms = plan.config.train_zooms + plan.config.test_zooms
    return split_counts.split_counts(plan.records, plan.config.task, folds, zooms)


def _claim(
    folder: pathlib.Path, plan: Plan, backbone: Backbone, samples_dir: pathlib.Path | None
) -> None:
    """Claims the folder for this study; refuses it if settings outside the grid differ."""
    digest = hashlib.sha256()
    for record in plan.records:
        digest.update(f"{record.patch_id} {record.pixels_sha256}\n".encode())
    stated = {
        **_settings(plan.config, plan.singan, backbone.name),
        "patches": digest.hexdigest(),
        "backbone": backbone.digest,
        "samples": str(samples_dir) if samples_dir else None,
    }
    path = folder / "study.json"
    if old := _decides(path):
        if stated["study.protocol"] == "thesis" and old["study.protocol"] == "paper":
            raise StudyError(
                f"{folder}: its test patients are the same in all folds, which is `protocol`=paper "
                "(in earlier versions thesis, which now draws them anew for each fold); go on with "
                "`protocol`=paper, or choose another `workdir`"
            )
        # What a study from before there was a setting did is what the setting's default does.
        defaults = _settings(StudyConfig(), singan_jax.Config(), StudyConfig().backbone)
        if changes := differences(defaults | old, stated):
            raise StudyError(f"{folder}: holds another study ({changes}); choose another `workdir`")
    content = {"format": _FORMAT, "decides": stated, "study": plan.config.to_dict()}
    write_atomically(path, to_json(content, indent=1) + "\n")


def _settings(config: StudyConfig, singan: singan_jax.Config, backbone: str) -> dict[str, Any]:
    """The settings that decide the results of cells, as study.json has them."""
    values = {**config.to_dict(), "backbone": backbone, "sources": ",".join(config.sources)}
    values["folds"] = config.num_folds
    left_out = {*GRID, "weights"}  # the backbone's digest says more than the path of a file
    if config.protocol != "cross-validation":  # where a fold depends on how many there are
        left_out.add("folds")
    return {
        **{f"study.{name}": value for name, value in values.items() if name not in left_out},
        **{f"config.{name}": value for name, value in singan.to_dict().items()},
    }


def _decides(path: pathlib.Path) -> dict[str, Any]:
    """What decides the results of the study that a folder holds; empty where it holds none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        decides = dict(content["decides"])
        if content.get("format", 1) == 1 and decides["study.protocol"] == "thesis":
            decides["study.protocol"] = "paper"
        return decides
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: damaged ({error!r}); choose another `workdir`") from error


def versions() -> dict[str, str]:
    """Versions of what the results depend on."""
    names = ("singan-jax", "scikit-learn", "scipy", "pandas")
    own = {name: importlib.metadata.version(name) for name in names}
    return {
        "python": str(runtime.provenance()["python"]),
        **runtime.provenance()["versions"],
        **own,
    }


def runs(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The runs that made a work folder, oldest first."""
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def _log(folder: pathlib.Path, stages: Stages) -> None:
    line = to_json({**runtime.provenance(), "seconds": stages.seconds}) + "\n"
    with (folder / "runs.jsonl").open("a") as file:
        file.write(line)
