r"""Draws new images from the members of a trained fleet.

    python -m launch.sample_fleet --workdir=fleet --num_samples=50 --out=samples
    python -m launch.sample_fleet --workdir=fleet --num_samples=8 --out=close --start_scale=2
    python -m launch.sample_fleet --workdir=fleet --num_samples=8 --out=wide --scale_h=2
    python -m launch.sample_fleet --workdir=fleet --num_samples=50 --out=varied --like=0.3

Writes <out>/<member>/<k>.png, gray or RGB, of 8 or 16 bits, like the member's image, and
<out>/manifest.jsonl, a line per sample: file, member, index, source (and its patient, where
known), seed, start scale, output scale. The same seed gives the same samples. Where
images were stretched for training (--config=thesis), samples come back at the image's own size.
Of a fleet that is still training, samples are made by the scales that are finished, which a line
says, and are smaller.

How long: about 55 samples of 64 pixels a second on one CPU core. From start scale 0 the layout of
the image is new; from 1 or 2 it is kept and details change; above that, samples resemble the image.
With --like the start scale is chosen for each member, so that the samples differ as much as wanted;
for that 16 samples are drawn from every start scale first.
"""

from absl import flags

import singan_jax
from launch import cli, path_flags
from singan_jax.evaluate.start_scale import diversities, nearest_start_scale

WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the fleet", required=True)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 10, "samples per member", lower_bound=1)
OUT = path_flags.DEFINE_path("out", None, "folder to write to", required=True)
MEMBERS = flags.DEFINE_list("members", None, "names of members; all that did not go wrong if unset")
START_SCALE = flags.DEFINE_integer("start_scale", 0, "coarsest scale with fresh noise")
LIKE = flags.DEFINE_float(
    "like",
    None,
    "wanted diversity: deviation of pixels over samples, divided by the image's; 0.5 for all new, "
    "0 for all equal; instead of --start_scale",
)
SCALE_V = flags.DEFINE_float("scale_v", 1.0, "output height over trained height")
SCALE_H = flags.DEFINE_float("scale_h", 1.0, "output width over trained width")
SEED = flags.DEFINE_integer("seed", 0, "seed of the samples", lower_bound=0)


def main() -> None:
    """Draws and writes."""
    singan_jax.configure_jax()
    fleet = singan_jax.load_fleet(WORKDIR.value)
    for member in fleet.failed if MEMBERS.value is None else []:
        cli.complain(f"{member.name}: went wrong in training and is left out")
    start_scale = START_SCALE.value if LIKE.value is None else _start_scales(fleet, LIKE.value)
    count = singan_jax.write_samples(
        fleet,
        OUT.value,
        NUM_SAMPLES.value,
        names=MEMBERS.value,
        seed=SEED.value,
        start_scale=start_scale,
        scale_v=SCALE_V.value,
        scale_h=SCALE_H.value,
    )
    print(f"{OUT.value}: {count} samples, listed in manifest.jsonl")


def _start_scales(fleet: singan_jax.TrainedFleet, wanted: float) -> dict[str, int]:
    """By member, the start scale whose samples differ as much as is wanted."""
    if flags.FLAGS["start_scale"].present:
        raise singan_jax.InputError("`like` chooses the start scale; leave out `start_scale`")
    names = [member.name for member in fleet.select(MEMBERS.value)]
    found = nearest_start_scale(wanted, diversities(fleet, names, SEED.value))
    for name, (scale, diversity) in found.items():
        print(f"{name}: start scale {scale}, diversity {diversity:.3f}")
    return {name: scale for name, (scale, _) in found.items()}


if __name__ == "__main__":
    cli.run(main)
