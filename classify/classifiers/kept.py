"""Trained classifiers in files: a head, and the whole network where that was trained too.

    <work folder>/models/<name of the cell>.safetensors

    head/kernel (classes, features), head/bias (classes,)
    backbone/params/..., backbone/batch_stats/...   where the network was trained
    metadata                                        the fields of `Facts`, each as JSON

A head alone needs the backbone that it was trained on, whose hash it names.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from scipy import special

import singan_jax
from classify.backbones import choice
from classify.backbones import weights as weight_files
from classify.backbones.backbone import (
    BACKBONES,
    RANDOM,
    Backbone,
    assemble,
    check_preparation,
    load_backbone,
)
from classify.cells import CLASSES, Cell, StudyError
from classify.classifiers.finetune import TrainedNetwork
from classify.classifiers.heads import TrainedHead
from classify.classifiers.training import Head
from classify.plan.plan import Plan
from data_pipeline.files.writing import write_atomically

VERSION = 1  # of the format
_KERNEL, _BIAS, _BACKBONE = "head/kernel", "head/bias", "backbone/"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a kept classifier is.

    Attributes:
      version: of the format.
      made_by: the package and its version.
      task: "binary" or "three-class".
      classes: in the order of the head's outputs.
      dataset: name and config of the patches that it was trained on.
      patch_size: of these, in pixels.
      train: what was trained: head, last_stage or all.
      cell: regime, train zoom, fold, seed and draw; see `cells.Cell`.
      study_seed: `seed` of its study.
      best_epoch: whose weights these are, from 0.
      backbone: a key of `BACKBONES`.
      weights: where the backbone's weights are from, for people.
      random_weights: whether `weights`=random was asked for.
      preparation: see `Backbone.preparation`.
      backbone_sha256: `Backbone.digest` where training began.
      tensors_sha256: over all tensors of the file.
      seen: hashes of the patients that it was trained or validated on; see `patient_hash`.
    """

    version: int
    made_by: str
    task: str
    classes: list[str]
    dataset: str
    patch_size: int
    train: str
    cell: dict[str, Any]
    study_seed: int
    best_epoch: int
    backbone: str
    weights: str
    random_weights: bool
    preparation: dict[str, Any]
    backbone_sha256: str
    tensors_sha256: str
    seen: list[str]


@dataclasses.dataclass(frozen=True, eq=False)
class KeptModel:
    """A classifier that was read.

    Attributes:
      path: of its file.
      facts: what it is.
      head: see `training.Head`.
      variables: of the backbone as trained; None where the head alone was trained.
    """

    path: pathlib.Path
    facts: Facts
    head: Head
    variables: dict[str, Any] | None

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, features) of its backbone to (n, classes), rows summing to 1."""
        return np.asarray(special.softmax(features @ self.head["kernel"].T + self.head["bias"], 1))


def path_of(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where a study keeps the classifier of a cell."""
    return folder / "models" / f"{name}.safetensors"


def patient_hash(dataset: str, patient: str) -> str:
    """Stands for a patient in files that may be given away; 16 hexadecimal digits."""
    return hashlib.sha256(f"{dataset}/{patient}".encode()).hexdigest()[:16]


def write(
    path: pathlib.Path,
    plan: Plan,
    backbone: Backbone,
    cell: Cell,
    model: TrainedHead | TrainedNetwork,
) -> None:
    """Keeps a classifier; at any moment the old or the new file is there, whole.

    Args:
      path: of the file; its folder is made if need be.
      plan: of the study.
      backbone: where training began.
      cell: which of the study's classifiers.
      model: what it was trained to.

    Raises:
      OSError: the file cannot be written.
    """
    tensors = {_KERNEL: model.head["kernel"], _BIAS: model.head["bias"]}
    if isinstance(model, TrainedNetwork):
        flat = traverse_util.flatten_dict(model.variables, sep="/")
        tensors |= {_BACKBONE + name: value for name, value in flat.items()}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    fold = plan.folds[cell.fold]
    facts = Facts(
        version=VERSION,
        made_by=f"singan-jax {singan_jax.__version__}",
        task=plan.config.task,
        classes=list(CLASSES[plan.config.task]),
        dataset="/".join(plan.dataset),
        patch_size=plan.config.patch_size,
        train=plan.config.train,
        cell=cell._asdict(),
        study_seed=plan.config.seed,
        best_epoch=model.best_epoch,
        backbone=backbone.name,
        weights=backbone.origin,
        random_weights=plan.config.weights == RANDOM,
        preparation=backbone.preparation,
        backbone_sha256=backbone.digest,
        tensors_sha256=weight_files.digest(tensors),
        seen=sorted(patient_hash(plan.dataset[0], name) for name in fold.train | fold.validation),
    )
    stated = {name: json.dumps(value) for name, value in dataclasses.asdict(facts).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.numpy.save(tensors, stated))


def read(path: pathlib.Path) -> KeptModel:
    """Reads a classifier.

    Raises:
      StudyError: the file is missing, damaged, no kept classifier, or of a later version.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            stated = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        problem = "no such file" if not path.exists() else f"damaged ({error})"
        raise StudyError(f"{path}: {problem}; name a file of a study's models/") from error
    names = [field.name for field in dataclasses.fields(Facts)]
    if not {*names} <= stated.keys():
        raise StudyError(f"{path}: no kept classifier; name a file of a study's models/")
    try:
        facts = Facts(**{name: json.loads(stated[name]) for name in names})
        head = {"kernel": tensors[_KERNEL], "bias": tensors[_BIAS]}
    except (ValueError, KeyError) as error:
        raise StudyError(f"{path}: damaged ({error}); train it again") from error
    if facts.version > VERSION:
        raise StudyError(f"{path}: made by {facts.made_by}, which is newer; update singan-jax")
    if weight_files.digest(tensors) != facts.tensors_sha256:
        raise StudyError(f"{path}: damaged (its SHA-256 differs); train it again")
    flat = {
        name.removeprefix(_BACKBONE): value
        for name, value in tensors.items()
        if name.startswith(_BACKBONE)
    }
    variables = traverse_util.unflatten_dict(flat, sep="/") if flat else None
    model = KeptModel(path, facts, head, variables)
    _check_shapes(model)
    return model


def _check_shapes(model: KeptModel) -> None:
    """Refuses a classifier that another version of the networks has made."""
    facts = model.facts
    check_preparation(facts.backbone, **_sizes(facts))
    module = BACKBONES[facts.backbone]
    fits = model.head["kernel"].shape == (len(facts.classes), module.num_features)
    if model.variables is not None:
        expected = jax.eval_shape(lambda: weight_files.initial(module, jax.random.key(0)))
        shapes = [jax.tree.map(lambda leaf: leaf.shape, t) for t in (expected, model.variables)]
        fits &= shapes[0] == shapes[1]
    if not fits:
        raise StudyError(
            f"{model.path}: does not fit {facts.backbone} (it was made by {facts.made_by}); train "
            "it again"
        )


def _sizes(facts: Facts) -> dict[str, int]:
    return {name: facts.preparation[name] for name in ("input_size", "crop_from")}


def backbone_of(model: KeptModel, weights: str = "") -> Backbone:
    """The backbone whose features a classifier takes.

    Args:
      model: the classifier.
      weights: file of the backbone's weights, where the head alone was trained and they do not
        come with the package; by default the one in torchvision's cache.

    Raises:
      StudyError: the weights are missing or not those of the training.
    """
    facts = model.facts
    if model.variables is not None:
        return assemble(facts.backbone, model.variables, **_sizes(facts), origin=facts.weights)
    given = RANDOM if facts.random_weights else weights
    chosen = choice.choose(choice.AUTO, given, begun=facts.backbone)
    found = load_backbone(chosen.name, chosen.weights, seed=facts.study_seed, **_sizes(facts))
    if found.digest != facts.backbone_sha256:
        raise StudyError(
            f"{model.path}: was trained on features of other weights ({facts.weights}) than "
            f"{found.origin}; name their file by `weights`"
        )
    return found
