"""The whole pipeline in minutes, on mammograms of no real patient: do SinGAN patches help?

    python -m launch.demo

Draws a phantom (80 patients), cuts its patches, trains SinGANs on malignant ones, draws samples,
trains classifiers with and without them on features of AlexNet, and writes a report with pictures
and intervals. Run it again to go on after an interruption; --out names another folder.

How long: about 5 minutes on 2 CPU cores. Everything is small (64-pixel patches, narrow SinGANs,
few iterations), so do not expect the SinGANs to help.
"""

import dataclasses
import pathlib

from data_pipeline import bcdr_patches, builders, phantom
from launch import path_flags, workers

OUT = path_flags.DEFINE_path("out", "demo", "folder to write to")

_SIZE = 64  # of the patches, pixels
_STEPS = 150  # a scale
_SETTINGS = {
    "patch_size": _SIZE,
    "backbone": "alexnet",  # whatever else is there, so that everybody sees the same
    "input_size": 128,
    "protocol": "cross-validation",
    "regimes": ("weighted", "none", "oversample-4", "singan-1", "singan-4"),
    "test_zooms": ("1", "2"),
    "seeds": 5,
}


def main() -> None:
    """Builds, plans, runs, and writes the report."""
    # Imported here, for the processes that cut patches import this module too.
    import singan_jax
    from classify import study
    from classify.plan.config import StudyConfig
    from classify.report import study_report

    out = pathlib.Path(OUT.value)
    raw, count = out / "phantom", workers.affordable()
    phantom.write(raw, phantom.PhantomSettings(), progress=True, workers=count)
    builders.prepare(bcdr_patches.Builder, raw, out / "data", _SIZE, workers=count, progress=True)
    singan_jax.configure_jax()
    singan = dataclasses.replace(
        singan_jax.preset("quick"),
        scale_factor=0.55,  # four scales instead of six: more iterations each in the same time
        base_channels=16,
        steps_per_scale=_STEPS,
        lr_decay_step=_STEPS * 4 // 5,
    )
    plan, backbone = study.prepare(StudyConfig(**_SETTINGS), singan, out / "data")  # type: ignore[arg-type]
    print(study.describe(plan, backbone, train_generators=True), flush=True)
    finished = study.run(plan, backbone, out / "study")
    page = out / "report.html"
    study_report.write(page, finished, out / "study")
    print(f"See {page.resolve()}")


if __name__ == "__main__":
    from launch import cli

    cli.run(main)
