"""Settings of a study."""

import dataclasses
from typing import Any

from classify import cells
from classify.cells import StudyError
from classify.plan import regimes, sources


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study asks and how.

    The grid is regimes x train_zooms x fill_zooms x folds x seeds x draws; each of its classifiers
    is tested at all test_zooms. Extending the grid later, in the same work folder, trains only what
    is new.

    Attributes:
      dataset: prepared by launch.build_dataset: bcdr_patches, mias_patches or thesis_patches.
      patch_size: in pixels, as the dataset was prepared.
      task: three-class (Normal, Benign, Malign) or binary (Healthy, Suspicious).
      regimes: kinds of training set: none, weighted, oversample-<k>, singan-<k> (k a
        number or all), ensemble:<regime>+<regime>.
      baseline: the regime that the others are compared with.
      train_zooms: zoom groups of the lesions trained on: 1, 2, 3, or joined as 1+2.
      test_zooms: zoom groups of the lesions tested on, likewise.
      fill_zooms: zoom groups of the copies and samples that training sets are filled up with,
        likewise; same is those of the lesions trained on.
      sources: what is copied, or given to generators: random malignant patches, balanced (half
        of films, half of digital mammograms), patch ids, or a query that selects malignant patches.
      protocol: paper (the same 10 % of the patients for testing in all folds, the others for each
        fold drawn 70/30 for training and validation), thesis (the 10 % drawn anew for each fold
        too) or cross-validation (each patient tested once).
      folds: number of folds; 0 is 3 for paper and thesis, 5 for cross-validation.
      seeds: classifiers trained for each cell, differing in initialisation and sampling.
      draws: random choices of the k source images; regimes without a choice have one.
      fill_ratio: malignant patches after filling up, as a multiple of the benign ones.
      backbone: alexnet, resnet_small, resnet18, resnet34, resnet50, or auto: resnet50 where
        `weights` are given, or torchvision's resnet50-11ad3fa6.pth is in its cache, else alexnet.
      weights: file of the backbone's weights, .pth or .safetensors; unset for alexnet, whose
        weights come with the extra [imagenet], and for resnet_small.
      input_size: pixels of a side that patches are resized to for the backbone.
      crop_from: pixels of a side that patches are resized to before their centre is cut to
        `input_size`, 232 in the thesis; 0: they are resized to it whole.
      train: what is trained: head (features are computed once), last_stage or all.
      epochs: passes over the training set.
      batch_size: patches a step.
      lr: Adam's learning rate; the thesis' fits heads, use about 1e-4 for last_stage and all.
      lr_decay: factor on the learning rate after every `lr_decay_epochs`.
      lr_decay_epochs: see `lr_decay`.
      bootstrap: resamplings of the patients behind each interval.
      seed: of splits, draws, samples and classifiers.
      keep_models: keep each classifier in models/; of trained networks that is all of the network,
        94 MB each for resnet50, of heads some kB.
      allow_duplicates: go on where patches of two patients have the same pixels, which would let a
        patch be trained on and tested.
    """

    dataset: str = "bcdr_patches"
    patch_size: int = 224
    task: str = "three-class"
    regimes: tuple[str, ...] = ("weighted", "oversample-4", "singan-4")
    baseline: str = "weighted"
    train_zooms: tuple[str, ...] = ("1",)
    test_zooms: tuple[str, ...] = ("1",)
    fill_zooms: tuple[str, ...] = (cells.SAME,)
    sources: tuple[str, ...] = (sources.RANDOM,)
    protocol: str = "paper"
    folds: int = 0
    seeds: int = 5
    draws: int = 1
    fill_ratio: float = 1.0
    backbone: str = "auto"
    weights: str = dataclasses.field(default="", metadata={"is_path": True})
    input_size: int = 224
    crop_from: int = 0
    train: str = "head"
    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-2
    lr_decay: float = 0.1
    lr_decay_epochs: int = 5
    bootstrap: int = 2000
    seed: int = 0
    keep_models: bool = True
    allow_duplicates: bool = False

    @property
    def trained_regimes(self) -> tuple[str, ...]:
        """The regimes that classifiers are trained for: all but the ensembles."""
        return tuple(name for name in self.regimes if not cells.ensemble_members(name))

    @property
    def shared_test(self) -> bool:
        """Whether all folds have the same test patients."""
        return self.protocol == "paper"

    @property
    def redrawn_test(self) -> bool:
        """Whether each fold has test patients of its own, which those of another may overlap."""
        return self.protocol == "thesis"

    @property
    def num_folds(self) -> int:
        """Number of folds, where 0 stands for the protocol's own."""
        return self.folds or (5 if self.protocol == "cross-validation" else 3)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


# Settings that a cell's result does not depend on: a work folder may be resumed with others.
GRID = frozenset(
    {
        *("regimes", "baseline", "train_zooms", "test_zooms", "fill_zooms", "seeds", "draws"),
        *("bootstrap", "keep_models", "allow_duplicates"),
    }
)


_CHOICES = {
    "dataset": ("bcdr_patches", "mias_patches", "thesis_patches"),
    "task": tuple(cells.CLASSES),
    "protocol": ("paper", "thesis", "cross-validation"),
    "train": ("head", "last_stage", "all"),
}
_LEAST = {
    **{"patch_size": 1, "folds": 0, "seeds": 1, "draws": 1, "input_size": 32, "epochs": 1},
    **{"batch_size": 1, "lr_decay_epochs": 1, "bootstrap": 100, "seed": 0, "crop_from": 0},
}


def validate(config: StudyConfig) -> StudyConfig:
    """Returns `config`, or raises `StudyError` for the first setting that cannot work."""
    _check_ranges(config)
    for name in ("regimes", "train_zooms", "test_zooms", "fill_zooms", "sources"):
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            _refuse(config, name, "name at least one, each once")
    fill_zooms = [zoom for zoom in config.fill_zooms if zoom != cells.SAME]
    for zoom in (*config.train_zooms, *config.test_zooms, *fill_zooms):
        cells.zoom_groups(zoom)
    if config.draws > 1 and sources.are_listed(config.sources):
        _refuse(config, "draws", "`sources` lists patches, so nothing is drawn; leave it at 1")
    _check_regimes(config)
    return config


def _check_ranges(config: StudyConfig) -> None:
    for name, known in _CHOICES.items():
        if getattr(config, name) not in known:
            _refuse(config, name, f"choose one of {', '.join(known)}")
    for name, bound in _LEAST.items():
        if getattr(config, name) < bound:
            _refuse(config, name, f"must be at least {bound}")
    for name in ("fill_ratio", "lr", "lr_decay"):
        if not getattr(config, name) > 0:
            _refuse(config, name, "must be above 0")
    if config.protocol == "cross-validation" and config.folds == 1:
        _refuse(config, "folds", "must be at least 2")


def _check_regimes(config: StudyConfig) -> None:
    for regime in config.trained_regimes:
        regimes.parse(regime)
    if config.baseline not in config.trained_regimes:
        _refuse(config, "baseline", f"must be one of the regimes, {', '.join(config.regimes)}")
    for regime in config.regimes:
        if cells.ensemble_members(regime):
            regimes.check_ensemble(regime, config.trained_regimes, config.shared_test)


def _refuse(config: StudyConfig, name: str, what_to_do: str) -> None:
    value = getattr(config, name)
    shown = ",".join(value) if isinstance(value, tuple) else value
    raise StudyError(f"`{name}`={shown}: {what_to_do}")
