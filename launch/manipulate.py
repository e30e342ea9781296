r"""Manipulates images with the members of a trained fleet: the applications of the SinGAN paper.

    python -m launch.manipulate --task=harmonize --workdir=fleet --out=harmonized \
        --members=starry_night --input=pasted.png --mask=pasted_mask.png
    python -m launch.manipulate --task=edit --workdir=fleet --out=edited \
        --input=edits/ --mask=masks/
    python -m launch.manipulate --task=paint --workdir=fleet --out=painted --input=painting.png
    python -m launch.manipulate --task=paint --workdir=fleet --out=flat --input=painting.png \
        --start_scale=2 --quantize
    python -m launch.manipulate --task=super_resolve --workdir=fleet --out=large --input=photos/
    python -m launch.manipulate --task=animate --workdir=fleet --out=moving --format=webp
    python -m launch.manipulate --task=retarget --workdir=fleet --out=wide --width=400

harmonize      makes an object that was pasted into --input look like the rest
edit           makes parts that were copied or shifted about in --input fit in; also writes each
               image as it is before blending, scale<n>_<k>_unblended.png
paint          turns a painting into an image of the member's kind; --quantize reduces it to the 5
               main colours of the training image, for which the start scale is trained first (as
               long as it was trained: minutes a member), from new weights or, with
               --retrain=continue, from those that it has
super_resolve  enlarges --input, usually the member's own image, --factor times
animate        moves what is in the image
retarget       new images of another size

--input and --mask name a file, which then serves all members, or a folder of files named like the
members; a mask may be named <member>_mask too, so that one folder holds both. Inputs are stretched
to the size that the member was trained at. Masks are white on black, or opaque on transparent, of
their input's size, and grow by 7 pixels (harmonize) or 20 (edit) with soft edges. Without --mask,
the opaque part of a partly transparent input is its mask. Outside, the result is the training
image, which the input is a changed copy of, as in the official code; --blend=input keeps the input
there instead, which may then be any picture. For an edit without a mask, take paint. Training
images are read from where they were in training; if they are elsewhere, name
them by --images, or the folder of their dataset by --data_dir, as for train_fleet.

Writes <out>/<member>/scale<n>_<k>.png, where n is the scale that it starts from, for animations
scale<n>.gif or .webp; <out>/manifest.jsonl, a line per file; and without --start_scale, which makes
one of each, sheet.png to choose from. Coarse start scales change much, fine ones little. The
official scripts call theirs start_scale=<n>.png (of an edit: the unblended one, beside
start_scale=<n>_masked.png).

Super-resolution needs members trained for it: with a scale factor that is the inverse of the steps
in which the image grows, a stronger reconstruction, and a pyramid of its own. For factors 2, 4 and
8 that is --config=super_resolution and, so that nothing is shrunk first, --config.max_size=<longer
side of the image>; for others, call this command on a --workdir that has no fleet yet, and it names
the settings. Other members smear colours. Animations want --config=animation.

How long: a still or frame takes as long as a sample (see launch.sample_fleet), after some 5 seconds
of compiling for each start scale; animations compile once.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

import singan_jax
from launch import cli, image_source, path_flags
from singan_jax.errors import InputError
from singan_jax.manipulate import input_images, manipulations, operations, output_files
from singan_jax.manipulate.manipulations import Manipulation

# The flags that each task takes, besides those that all take; it needs those in `NEEDED`, and
# a mask, unless the input has one as its alpha channel.
TASKS = {
    "harmonize": ("input", "mask", "start_scale", "num_samples", "blend"),
    "edit": ("input", "mask", "start_scale", "num_samples", "blend"),
    "paint": ("input", "start_scale", "num_samples", "quantize", "retrain"),
    "super_resolve": ("input", "num_samples", "factor"),
    "animate": ("start_scale", "num_frames", "alpha", "beta", "fps", "format"),
    "retarget": ("start_scale", "num_samples", "height", "width"),
}
NEEDED = ("input",)
TRAINING_IMAGES = ("images", "data_dir")  # flags of tasks that may look at them

TASK = flags.DEFINE_enum("task", None, list(TASKS), "what to do, see above", required=True)
WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the fleet", required=True)
OUT = path_flags.DEFINE_path("out", None, "folder to write to", required=True)
MEMBERS = flags.DEFINE_list("members", None, "names of members; all that did not go wrong if unset")
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise", lower_bound=0)
path_flags.DEFINE_path("input", None, "image, or folder of images named like the members")
path_flags.DEFINE_path(
    "mask", None, "mask of the input, or folder of such; if unset, the input's alpha channel"
)
IMAGES, DATA_DIR = path_flags.DEFINE_training_images()
flags.DEFINE_enum(
    "blend", "training", list(manipulations.BLENDS), "outside the mask: training image or --input"
)
flags.DEFINE_integer("start_scale", None, "scale to start from; a contact sheet of all if unset")
flags.DEFINE_integer("num_samples", 1, "images of each start scale", lower_bound=1)
flags.DEFINE_bool("quantize", False, "paint in few colours; needs --start_scale")
flags.DEFINE_enum(
    "retrain", "fresh", list(manipulations.RETRAINS), "--quantize: from new or trained weights"
)
flags.DEFINE_float("factor", 4.0, "enlargement of super-resolution")
flags.DEFINE_integer("num_frames", 100, "frames of an animation", lower_bound=2)
flags.DEFINE_float("alpha", 0.1, "pull of an animation towards the image, 0 to 1")
flags.DEFINE_float("beta", 0.9, "smoothness of an animation, 0 to below 1; 0.8 to 0.95 look best")
flags.DEFINE_float("fps", 10.0, "frames a second, 1 to 50", lower_bound=1.0, upper_bound=50.0)
flags.DEFINE_enum("format", "gif", ["gif", "webp"], "of animations; webp keeps all colours")
flags.DEFINE_integer("height", None, "of the output in pixels, as trained if unset", lower_bound=1)
flags.DEFINE_integer("width", None, "of the output in pixels, as trained if unset", lower_bound=1)


def main() -> None:
    """Reads what the task needs, manipulates and writes."""
    settings = _settings(TASK.value)
    singan_jax.configure_jax()
    if TASK.value == "super_resolve" and not (pathlib.Path(WORKDIR.value) / "fleet.json").exists():
        raise _untrained(settings)
    fleet = singan_jax.load_fleet(WORKDIR.value)
    for member in fleet.failed if MEMBERS.value is None else []:
        cli.complain(f"{member.name}: went wrong in training and is left out")
    count = settings.get("num_frames") or settings.pop("num_samples")
    task = _task(settings, fleet)
    originals = {}
    if settings.get("quantize") or ("mask" in settings and settings["blend"] == "training"):
        originals = image_source.training_images(
            fleet, fleet.select(MEMBERS.value), IMAGES.value, data_dir=DATA_DIR.value
        )
    written = output_files.write_manipulations(
        fleet,
        OUT.value,
        task,
        count,
        settings={"task": TASK.value, **settings},
        names=MEMBERS.value,
        start_scale=settings.get("start_scale"),
        originals=originals,
        seed=SEED.value,
    )
    print(f"{OUT.value}: {written} files, listed in manifest.jsonl")


def _settings(task: str) -> dict[str, Any]:
    """The values of the flags that a task takes.

    Raises:
      InputError: a flag of another task is given, or one that this task needs is not.
    """
    everything = {name for names in TASKS.values() for name in names} | {*TRAINING_IMAGES}
    allowed = {*TASKS[task]}
    if allowed & {"blend", "quantize"}:
        allowed |= {*TRAINING_IMAGES}
    for name in sorted(everything - allowed):
        if flags.FLAGS[name].present:
            raise InputError(f"`{name}` is not for `task`={task}; leave it out")
    settings = {name: flags.FLAGS[name].value for name in TASKS[task]}
    for name in NEEDED:
        if name in settings and settings[name] is None:
            raise InputError(f"`task`={task} needs `{name}`; see --help")
    if settings.get("quantize") and settings["start_scale"] is None:
        raise InputError(
            "`quantize` trains the start scale further; choose `start_scale` from a sheet made "
            "without `quantize`"
        )
    if not settings.get("quantize") and "retrain" in settings:
        if flags.FLAGS["retrain"].present:
            raise InputError("`retrain` is for `quantize`; give both, or none")
        del settings["retrain"]  # decides nothing
    return settings


def _task(settings: Mapping[str, Any], fleet: singan_jax.TrainedFleet) -> Manipulation:
    """The manipulation, with its inputs read."""
    members, config = fleet.select(MEMBERS.value), fleet.config
    own = {
        name: value
        for name, value in settings.items()
        if name in ("blend", "factor", "alpha", "beta", "fps", "height", "width")
    }
    if "mask" in settings and settings["mask"] is None:
        own["inputs"], own["masks"] = input_images.read_with_alpha(
            settings["input"], members, config
        )
    elif "input" in settings:
        own["inputs"] = input_images.read_matching(settings["input"], members, config)
    if settings.get("mask") is not None:
        own["masks"] = input_images.read_masks(settings["mask"], members, own["inputs"])
    match TASK.value:
        case "harmonize":
            return manipulations.Injection(radius=manipulations.HARMONIZE_RADIUS, **own)
        case "edit":
            radius = manipulations.EDIT_RADIUS
            return manipulations.Injection(radius=radius, keep_unblended=True, **own)
        case "paint" if settings["quantize"]:
            return manipulations.FewColours(retrain=settings["retrain"], **own)
        case "paint":
            return manipulations.Injection(**own)
        case "super_resolve":
            return manipulations.SuperResolution(**own)
        case "animate":
            return manipulations.Animation(suffix=settings["format"], **own)
        case _:
            return manipulations.Retargeting(**own)


def _untrained(settings: Mapping[str, Any]) -> InputError:
    """Says how to train a fleet for super-resolution of the input."""
    config = singan_jax.preset("super_resolution")
    found, errors = singan_jax.read_images([settings["input"]], config)
    if errors:
        return errors[0]
    longest = max(max(image.shape[:2]) for image in found)
    wanted = operations.super_resolution_settings(settings["factor"], longest)
    usual = config.to_dict()
    given = " ".join(
        f"`config.{name}`={value}" for name, value in wanted.items() if value != usual[name]
    )
    return InputError(
        f"{WORKDIR.value}: holds no fleet; train one for factor {settings['factor']:g} with "
        f"`train_fleet` `images`={settings['input']} `workdir`={WORKDIR.value} "
        f"`config`=super_resolution {given}".rstrip()
    )


if __name__ == "__main__":
    cli.run(main)
