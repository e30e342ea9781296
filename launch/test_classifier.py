r"""Tests classifiers that a study or train_classifier kept, alone and together, on any patches.

    python -m launch.test_classifier --data_dir=data --query='bcdr_patches/g2:test' \
        --model=study/models/weighted.zoom1.fold0.seed0.draw0.safetensors
    python -m launch.test_classifier --model='study/models/singan-4.zoom1.*.seed0.*' \
        --model='study/models/oversample-4.zoom1.*.seed0.*' \
        --data_dir=data --query='mias_patches/all:train' --out=on_mias
    python -m launch.test_classifier --model=study/models --images=new_patches --out=answers

With --query prints the measures that train_classifier prints, with intervals over patients, and the
confusion matrix. Rows of "model" are means over the models; those of "ensemble:model" are of the
average of their probabilities. Patches of patients that a model was trained or validated on are
left out, so that the models of a cross-validation can be tested on its whole dataset. With --out
writes summary.csv, confusion.csv, and predictions.csv, the average's probabilities of each patch.

With --images writes the average's probabilities, a line an image, to probabilities.csv in --out,
or prints them. Images of any kind become gray and as large as the patches of the training. Their
patients are not known: see to it yourself that they are not those of the training.

How long: that of the features, twice for a query (patches and random crops of them): on 2 CPU cores
1500 patches take 15 seconds with alexnet and 90 with resnet50; of trained networks each has its own
features. Expect at the zoom of the training about the measures of the study.
"""

import pathlib
import sys
from collections.abc import Sequence

import pandas as pd
from absl import flags

import singan_jax
from classify.classifiers import retest
from classify.classifiers.kept import KeptModel
from classify.statistics import statistics
from data_pipeline import query
from data_pipeline.errors import DataError
from data_pipeline.files.writing import write_atomically
from launch import cli, path_flags
from singan_jax.errors import InputError

MODEL = path_flags.DEFINE_multi_path(
    "model", None, "kept classifier: a file, a folder or a glob; several times", required=True
)
DATA_DIR = path_flags.DEFINE_path("data_dir", None, "folder that launch.build_dataset wrote to")
QUERY = flags.DEFINE_string(
    "query", None, f"patches to test on, such as {query.EXAMPLE}; see docs/datasets.md"
)
IMAGES = path_flags.DEFINE_multi_path(
    "images", None, "instead: image files, a folder or a glob", images=True
)
OUT = path_flags.DEFINE_path("out", None, "folder to write to")
WEIGHTS = path_flags.DEFINE_path(
    "weights",
    "",
    "weights of the backbone, where heads were trained on a file of them",
    unsets=True,
)
FEATURES = path_flags.DEFINE_path(
    "features", None, "folder where features are kept for the next time, such as study/features"
)
INCLUDE_SEEN = flags.DEFINE_bool(
    "include_seen", False, "test on patients of the training too; that says nothing of new ones"
)
BOOTSTRAP = flags.DEFINE_integer(
    "bootstrap", 2000, "resamplings of the patients behind each interval", lower_bound=100
)
SEED = flags.DEFINE_integer("seed", 0, "of the resampling", lower_bound=0)


def main() -> int:
    """Tests, prints and writes."""
    if (QUERY.value is None) == (IMAGES.value is None):
        raise InputError("name what to test on: either a `query` or `images`")
    singan_jax.configure_jax()
    models = retest.read_models(MODEL.value)
    if OUT.value:
        pathlib.Path(OUT.value).mkdir(parents=True, exist_ok=True)
    if QUERY.value is None:
        return _answer(models, IMAGES.value or [])
    _test(models, query.parse(QUERY.value))
    return 0


def _test(models: Sequence[KeptModel], wanted: query.Query) -> None:
    """Tests on the patches of a query, prints the measures, and writes the tables."""
    if DATA_DIR.value is None:
        raise DataError(f"{QUERY.value}: needs `data_dir`, where `build_dataset` wrote to")
    data_dir = pathlib.Path(DATA_DIR.value)
    patches, left_out = retest.patches_of(models, wanted, data_dir, INCLUDE_SEEN.value)
    if left_out:
        print(f"{left_out} patches are left out: a model has seen their patients in training")
    records, pixels = zip(*patches, strict=True)
    results = retest.retest(models, records, pixels, WEIGHTS.value, _features())
    summary = statistics.summarize(results, BOOTSTRAP.value, SEED.value)
    columns = ["regime", "class", "metric", "mean", "sd, n-1", "low", "high", "patients"]
    renamed = summary.rename(columns={"sd": "sd, n-1"})
    shown = renamed[renamed["variant"] == "plain"][columns]
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    regime, zooms = results.regimes[-1], (results.train_zooms[0], results.test_zooms[0])
    matrix = statistics.confusions(results, regime, *zooms)
    classes = results.classes
    table = pd.DataFrame(matrix, index=pd.Index(classes, name="true"), columns=classes)
    print(f"\nConfusion, shares of the true class; {regime} at zoom {zooms[1]}")
    print(table.to_string(float_format="{:.3f}".format))
    if OUT.value:
        out = pathlib.Path(OUT.value)
        write_atomically(out / "summary.csv", summary.to_csv(index=False))
        write_atomically(out / "confusion.csv", table.to_csv())
        write_atomically(out / "predictions.csv", retest.table(results).to_csv(index=False))


def _answer(models: Sequence[KeptModel], patterns: Sequence[str]) -> int:
    """Writes what the average says of images; good ones are answered beside bad ones."""
    facts = models[0].facts
    images, errors = retest.read_patches(patterns, facts.patch_size)
    for error in errors:
        cli.complain(error)
    if images:
        pixels, names = list(images.values()), list(images)
        said = retest.predict(models, pixels, names, WEIGHTS.value, _features()).mean(0)
        table = pd.DataFrame(said, index=pd.Index(names, name="file"), columns=facts.classes)
        if OUT.value:
            write_atomically(pathlib.Path(OUT.value, "probabilities.csv"), table.to_csv())
        else:
            table.to_csv(sys.stdout)
    return cli.BAD_INPUT if errors else 0


def _features() -> pathlib.Path | None:
    return pathlib.Path(FEATURES.value) if FEATURES.value else None


if __name__ == "__main__":
    cli.run(main)
