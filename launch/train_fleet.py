r"""Trains one SinGAN for each image, all of them side by side; repeat the command to resume.

    python -m launch.train_fleet --images=photos/ --workdir=fleet
    python -m launch.train_fleet --images='lesions/*.tif' --workdir=fleet --config=thesis
    python -m launch.train_fleet --images=a.png --images=b.png --workdir=fleet --config=quick \
        --config.steps_per_scale=500
    python -m launch.train_fleet --data_dir=data --workdir=fleet \
        --images='bcdr_patches/g1:train[classification=Malign,Format=Film]'
    python -m launch.train_fleet --together=breasts/ --workdir=fleet
    python -m launch.train_fleet --images=lesions/ --masks=outlines/ --workdir=fleet
    python -m launch.train_fleet --images=a.png --workdir=fleet --sweep=alpha_rec=5,10,50

Reads PNG, JPEG, JFIF, TIFF, PGM, PPM, PBM, BMP, WebP, GIF of one frame, and DICOM (which takes
pip install 'singan-jax[dicom]'), gray or RGB, 8 or 16 bits. Files of 16 bits that use few of their
levels, such as 12 bits, train dark, and are told of; --config.stretch_levels spreads them. Members
are named after their files; what is left out or doubtful is said in a line each.

The work folder then holds pictures/ (reconstructions and samples after each scale), metrics.jsonl,
tensorboard/ and the trained members; draw from them with `python -m launch.sample_fleet`. Images
train side by side, as many as there are CPU cores, whatever their sizes; each size is compiled for
by itself, which takes minutes of a core. A GPU or TPU trains one size at a time, as one batch.

SIGTERM, which schedulers send before they take a machine away, saves and exits with status 143; the
same command then goes on. Many machines train one fleet together (--coordinator, or detected under
Slurm, GKE and Cloud TPU) or each for itself (--shard, then `python -m launch.merge`); see
docs/clusters.md, and launch/cluster/ for files to start from.

How long: an image of 64 pixels at 2000 steps a scale takes 35 minutes on one CPU core, and as
many images at once as there are cores. Healthy runs end each scale with a rec_loss well below 1
and a critic_loss within about +-1.
"""

import pathlib

from absl import flags

import singan_jax
from launch import cli, image_source, path_flags, settings
from singan_jax.config import HYPERPARAMETERS
from singan_jax.devices import hosts, sharding
from singan_jax.devices.preemption import Watch
from singan_jax.fleet.train import Images
from singan_jax.images.compose import Sweep
from singan_jax.workdir.merge import Shard, refuse_unmerged

IMAGES = path_flags.DEFINE_multi_path(
    "images",
    None,
    "file, folder, (quoted) glob, or query of a dataset that launch.build_dataset wrote; may be "
    "repeated, and is not split at commas",
    images=True,
)
TOGETHER = path_flags.DEFINE_multi_path(
    "together",
    [],
    "as --images, but all images named, which must be of one size, train one model together; may "
    "be repeated; the member is named after the folder",
    images=True,
)
MASKS = path_flags.DEFINE_path(
    "masks",
    None,
    "folder or (quoted) glob of masks, <image>.png or <image>_mask.png for each image: trained as "
    "a further channel, so that samples come with a mask",
)
SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "train every image with each of these values, as lr_g=1e-4,5e-4; if repeated, with each "
    f"combination; for {', '.join(HYPERPARAMETERS)}",
)
DATA_DIR = path_flags.DEFINE_path("data_dir", None, "folder of the datasets, for queries")
WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the fleet", required=True)
settings.define_config()
STRICT = flags.DEFINE_bool("strict", False, "train nothing if any image cannot be used")
RETRY = flags.DEFINE_bool("retry", False, "restart members that went wrong, from a new seed")
CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 60.0, "least time between two checkpoints inside a scale", lower_bound=0.0
)


SHARD = flags.DEFINE_string(
    "shard",
    None,
    "i/n: train every n-th image only, from the i-th on (i from 0), in a folder inside --workdir; "
    "launch.merge makes one fleet of all shards",
)
DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    hosts.MODES,
    "whether this is one of several processes that train one fleet: auto if --coordinator is given "
    "or Slurm, Kubernetes or GKE TPU say so, on (JAX finds the others), off",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port where process 0 listens")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes train together")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this is, from 0")


def main() -> int:
    """Joins the other processes, if there are any, and trains until done or asked to stop."""
    config = settings.config_from_flags()
    if not (IMAGES.value or TOGETHER.value):
        raise singan_jax.InputError("name the images to train on, with `images` or `together`")
    sweep = Sweep.parse(SWEEP.value, config)
    source = image_source.Source(
        IMAGES.value or (), config, DATA_DIR.value, TOGETHER.value, MASKS.value, sweep
    )
    folder = pathlib.Path(WORKDIR.value)
    shard = Shard.parse(SHARD.value) if SHARD.value else None
    if shard:
        if COORDINATOR.value or DISTRIBUTED.value == "on":
            raise singan_jax.InputError("`shard` trains by itself; leave out `coordinator`")
        folder = shard.folder(folder)
    else:
        refuse_unmerged(folder)
    singan_jax.configure_jax()
    hosts.join(
        "off" if shard else DISTRIBUTED.value,
        COORDINATOR.value,
        NUM_PROCESSES.value,
        PROCESS_ID.value,
    )
    with Watch() as watch:
        if sharding.process() == 0:
            return _train(source, folder, shard, watch)
        return cli.FAILED if _run(source.read_members, config, folder, watch) else 0


def _train(
    source: image_source.Source,
    folder: pathlib.Path,
    shard: Shard | None,
    watch: Watch,
) -> int:
    """Reads the images, trains, and says what became of them."""
    images, errors = source.read()
    for error in errors:
        cli.complain(error)
    if not images or (errors and STRICT.value):
        raise singan_jax.InputError(
            f"{len(errors)} of {len(errors) + len(images)} images refused; none trained"
        )
    if shard:
        images = shard.part(images)
    wrong = _run(images, source.config, folder, watch)
    print(f"{folder}: {len(images) - len(wrong)} of {len(images)} members are trained")
    if wrong:
        names = ", ".join(member.name for member in wrong[:5]) + (", ..." if wrong[5:] else "")
        cli.complain(f"{len(wrong)} went wrong ({names}); add `retry` to restart them")
    if errors:
        cli.complain(f"{len(errors)} images were refused, see above")
    return cli.BAD_INPUT if errors else cli.FAILED if wrong else 0


def _run(
    images: Images, config: singan_jax.Config, folder: pathlib.Path, watch: Watch
) -> list[singan_jax.Member]:
    fleet = singan_jax.train_fleet(
        images,
        config,
        folder,
        retry=RETRY.value,
        pace=singan_jax.Pace(checkpoint_seconds=CHECKPOINT_SECONDS.value),
        monitor=singan_jax.Monitor(folder),
        watch=watch,
    )
    return fleet.failed


if __name__ == "__main__":
    cli.run(main)
