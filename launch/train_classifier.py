r"""Trains and tests one kind of classifier, over all folds; repeat the command to resume.

    python -m launch.train_classifier --data_dir=data --workdir=weighted --regime=weighted
    python -m launch.train_classifier --data_dir=data --workdir=filled --regime=singan-4 \
        --samples=samples
    python -m launch.train_classifier --data_dir=data --workdir=scratch --train=all \
        --backbone=resnet_small --lr=1e-3 --epochs=30 --input_size=64

Prints how well it does on the test patches, with intervals over patients, and writes the same to
summary.csv and the confusion matrix to confusion.csv; the classifiers are kept in models/, for
launch.test_classifier. For a regime that needs synthetic patches,
name samples that launch.sample_fleet drew from a fleet trained on the dataset; without --samples
the generators are trained first.

How long: 15 seconds for the features of 1500 patches on 2 CPU cores, seconds for the heads; with
--train=all each epoch takes about three times as long as the features. On the phantom expect an
AUC of about 0.97 for the class Malign.
"""

import dataclasses
import pathlib

import pandas as pd
from absl import flags

import singan_jax
from classify import study
from classify.plan.config import StudyConfig
from classify.statistics import statistics
from data_pipeline.files.writing import write_atomically
from launch import cli, path_flags, settings

DATA_DIR = path_flags.DEFINE_path(
    "data_dir", None, "folder that launch.build_dataset wrote to", required=True
)
WORKDIR = path_flags.DEFINE_path("workdir", None, "folder for the results", required=True)
REGIME = flags.DEFINE_string(
    "regime", "weighted", "none, weighted, oversample-<k> or singan-<k>; see launch.study --help"
)
SAMPLES = path_flags.DEFINE_path("samples", None, "folder that launch.sample_fleet wrote to")
settings.define(StudyConfig, leave_out=("regimes", "baseline"))
settings.define_config()


def main() -> None:
    """Trains, tests, and prints the measures."""
    config = dataclasses.replace(
        StudyConfig(**settings.from_flags(StudyConfig)),
        regimes=(REGIME.value,),
        baseline=REGIME.value,
    )
    singan_jax.configure_jax()
    samples = pathlib.Path(SAMPLES.value) if SAMPLES.value else None
    data_dir, folder = pathlib.Path(DATA_DIR.value), pathlib.Path(WORKDIR.value)
    plan, backbone = study.prepare(config, settings.config_from_flags(), data_dir, samples, folder)
    print(study.describe(plan, backbone, train_generators=samples is None), flush=True)
    finished = study.run(plan, backbone, folder, samples)
    shown = finished.summary[finished.summary["variant"] == "plain"]
    columns = ["train_zoom", "fill_zoom", "test_zoom", "class", "metric", "mean", "sd", "sd_folds"]
    spreads = {"sd": "sd, n-1", "sd_folds": "sd over folds, n"}
    table = shown[[*columns, "low", "high", "patients"]].rename(columns=spreads)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    zooms = finished.results.zooms[0]
    matrix = statistics.confusions(finished.results, REGIME.value, *zooms)
    classes = finished.results.classes
    table = pd.DataFrame(matrix, index=pd.Index(classes, name="true"), columns=classes)
    fill = f", filled up at {zooms.fill}" if zooms.fill not in ("", zooms.train) else ""
    print(
        "\nConfusion, shares of the true class; "
        f"trained on zoom {zooms.train}{fill}, tested on {zooms.test}"
    )
    print(table.to_string(float_format="{:.3f}".format))
    write_atomically(folder / "confusion.csv", table.to_csv())


if __name__ == "__main__":
    cli.run(main)
