r"""Finds out whether SinGAN patches improve a diagnosis; repeat the command to resume.

    python -m launch.study --data_dir=data --workdir=study --config=quick --patch_size=64
    python -m launch.study --data_dir=data --workdir=study --study=study.yaml --plan_only
    python -m launch.study --data_dir=data --workdir=study --samples=samples --fill_zooms=1,3 \
        --train_zooms=1,3 --test_zooms=1,2,3

Trains a SinGAN on every malignant training patch that a regime needs, draws samples, extracts the
features of all patches once, trains classifiers for regimes x train zooms x fill zooms x folds x
seeds x draws on them, and writes report.html. Before it starts it shows what will run and roughly
how long that takes; --plan_only stops there. The classifiers stay in <workdir>/models, for
launch.test_classifier. More regimes, zooms, seeds or draws in the same work folder train only what
is new. With --samples, what launch.sample_fleet drew from a fleet trained on the dataset takes the
place of generators.

A file has two sections; flags override it:

    study: {regimes: [weighted, oversample-4, singan-4], train_zooms: ["1", "2"], seeds: 5}
    singan: {preset: quick, steps_per_scale: 500}

How long: generators take nearly all of it (see launch.train_fleet); on 2 CPU cores the features of
1500 patches of 224 pixels take 15 seconds with alexnet and 90 with resnet50, and 100 classifiers on
them 10 to 30 seconds. On the phantom of launch.build_dataset expect an AUC of about 0.97 at zoom 1.
"""

import pathlib

from absl import flags

import singan_jax
from classify import study
from classify.plan.config import StudyConfig
from classify.report import study_report
from launch import cli, path_flags, settings

DATA_DIR = path_flags.DEFINE_path(
    "data_dir", None, "folder that launch.build_dataset wrote to", required=True
)
WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the study", required=True)
SAMPLES = path_flags.DEFINE_path("samples", None, "folder that launch.sample_fleet wrote to")
STUDY = path_flags.DEFINE_path("study", None, "YAML file of settings, see above")
settings.define(StudyConfig)
settings.define_config()
PLAN_ONLY = flags.DEFINE_bool("plan_only", False, "show what would run, and stop")


def main() -> None:
    """Plans, shows the plan, runs it, and writes the report."""
    sections = {"study": StudyConfig, "singan": singan_jax.Config}
    stated = settings.read_yaml(pathlib.Path(STUDY.value), sections) if STUDY.value else {}
    config = StudyConfig(**{**stated.get("study", {}), **settings.from_flags(StudyConfig)})
    singan = settings.config_from_flags(stated.get("singan"))
    singan_jax.configure_jax()
    folder, data_dir = pathlib.Path(WORKDIR.value), pathlib.Path(DATA_DIR.value)
    samples = pathlib.Path(SAMPLES.value) if SAMPLES.value else None
    plan, backbone = study.prepare(config, singan, data_dir, samples, folder)
    print(study.describe(plan, backbone, train_generators=samples is None), flush=True)
    if PLAN_ONLY.value:
        return
    finished = study.run(plan, backbone, folder, samples)
    page = folder / "report.html"
    study_report.write(page, finished, folder)
    print(f"See {page.resolve()}")


if __name__ == "__main__":
    cli.run(main)
