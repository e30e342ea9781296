r"""Trains one SinGAN for each image, all of them side by side; the same command again resumes.

    python -m launch.train_fleet --images=photos/ --workdir=fleet
    python -m launch.train_fleet --images='lesions/*.tif' --workdir=fleet --config=thesis
    python -m launch.train_fleet --images=a.png --images=b.png --workdir=fleet --config=quick \
        --config.steps_per_scale=500
    python -m launch.train_fleet --data_dir=data --workdir=fleet \
        --images='bcdr_patches/g1:train[classification=Malign,Format=Film]'

Reads PNG, JPEG, TIFF, PGM, PPM and BMP, gray or RGB, 8 or 16 bits. The work folder then holds
pictures/ (reconstructions and samples after each scale), metrics.jsonl, tensorboard/ and the
trained members; draw from them with `python -m launch.sample_fleet`.

How long: an image of 64 pixels at 2000 steps a scale takes 50 minutes on one CPU core, and as
many images at once as there are cores. Healthy runs end each scale with a rec_loss well below 1
and a critic_loss within about +-1.
"""

from absl import flags

import singan_jax
from launch import cli, image_source, settings

IMAGES = flags.DEFINE_multi_string(
    "images",
    None,
    "file, folder, (quoted) glob, or query of a dataset that launch.build_dataset wrote; may be "
    "repeated",
    required=True,
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of the datasets, for queries")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the fleet", required=True)
settings.define_config()
STRICT = flags.DEFINE_bool("strict", False, "train nothing if any image cannot be used")
RETRY = flags.DEFINE_bool("retry", False, "start members that went wrong afresh, from a new seed")
CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 60.0, "least time between two checkpoints inside a scale", lower_bound=0.0
)


def main() -> int:
    """Reads the images, trains, and says what became of them."""
    config = settings.chosen()
    singan_jax.configure_jax()
    images, errors = image_source.read(IMAGES.value, DATA_DIR.value, config)
    for error in errors:
        cli.complain(error)
    if not images or (errors and STRICT.value):
        cli.complain(f"{len(errors)} of {len(errors) + len(images)} images refused; none trained")
        return cli.BAD_INPUT
    pace = singan_jax.Pace(checkpoint_seconds=CHECKPOINT_SECONDS.value)
    monitor = singan_jax.Monitor(WORKDIR.value)
    wrong = singan_jax.train_fleet(
        images, config, WORKDIR.value, retry=RETRY.value, pace=pace, monitor=monitor
    )
    print(f"{WORKDIR.value}: {len(images) - len(wrong)} of {len(images)} members are trained")
    if wrong:
        names = ", ".join(member.name for member in wrong[:5]) + (", ..." if wrong[5:] else "")
        cli.complain(f"{len(wrong)} went wrong ({names}); add --retry to start them afresh")
    if errors:
        cli.complain(f"{len(errors)} images were refused, see above")
    return cli.BAD_INPUT if errors else cli.FAILED if wrong else 0


if __name__ == "__main__":
    cli.run(main)
