"""Features of patches from a frozen backbone, each computed once and kept on disk.

    <folder>/<digest of the backbone>/<digest of the part>.npz

A part holds the features of some patches by the hash of their pixels. Parts are only ever added,
each whole, so that an interruption loses the one being computed.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from classify import npz_files
from classify.backbones.backbone import Backbone
from classify.cells import StudyError
from data_pipeline.patch_records import pixels_digest
from singan_jax.devices import sharding

_PART = re.compile(r"[0-9a-f]{16}\.npz")
BLOCK = 16  # patches that a device works on at a time
_Patches = dict[str, tuple[np.ndarray, str]]  # by hash of the pixels: pixels and name


def program(backbone: Backbone) -> Any:
    """A function of blocks of patches, one a device, and of the variables: their features."""
    return sharding.over_members(lambda block, v: backbone.features(v, block), 1)


class FeatureCache:
    """The features of one backbone.

    A patch's features do not depend on which others are computed beside it: all are computed in
    blocks of the same size.
    """

    def __init__(self, folder: pathlib.Path | None, backbone: Backbone) -> None:
        """Reads the features kept so far.

        Args:
          folder: holds all backbones' features; created if missing. None keeps nothing.
          backbone: frozen.

        Raises:
          StudyError: a part is damaged.
          OSError: the folder cannot be created or read.
        """
        self._backbone = backbone
        self._folder = folder / backbone.digest[:16] if folder else None
        self._known: dict[str, np.ndarray] = {}
        self._extract = program(backbone)
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self._folder.iterdir()):
                if _PART.fullmatch(path.name):
                    self._known |= self._read(path)

    def get(self, pixels: Sequence[np.ndarray], names: Sequence[str], progress: bool) -> np.ndarray:
        """The features of patches, computed where they are not known.

        Args:
          pixels: of each patch, (H, W, 1) uint8; sizes may differ.
          names: of the patches, for messages.
          progress: whether to show a bar.

        Returns:
          (N, num_features) float32.

        Raises:
          StudyError: a feature is not finite.
          OSError: the features cannot be written.
        """
        keys = [pixels_digest(patch[..., 0]) for patch in pixels]
        # Equal patches have one key; the last of them stands for all.
        missing = {
            key: (patch, name)
            for key, patch, name in zip(keys, pixels, names, strict=True)
            if key not in self._known
        }
        with tqdm(total=len(missing), unit="patch", desc="features", disable=not progress) as bar:
            for group in _by_size(missing):
                for part in self._computed(group):
                    self._write(part)
                    self._known |= part
                    bar.update(len(part))
        found = np.array([self._known[key] for key in keys], np.float32)
        return found.reshape(len(keys), self._backbone.num_features)

    def _computed(self, group: _Patches) -> Iterator[dict[str, np.ndarray]]:
        """Computes features of distinct patches of one size, a block for each device at a time."""
        variables = sharding.to_all_devices(self._backbone.variables)
        devices = sharding.padded_size(1)
        keys = list(group)
        for start in range(0, len(keys), devices * BLOCK):
            part = keys[start : start + devices * BLOCK]
            stack = np.stack([group[key][0] for key in part])
            filler = np.zeros((devices * BLOCK - len(part), *stack.shape[1:]), stack.dtype)
            blocks = np.concatenate([stack, filler]).reshape(devices, BLOCK, *stack.shape[1:])
            # (devices, BLOCK, H, W, 1) to (devices, BLOCK, features)
            found = sharding.to_host(self._extract(sharding.to_devices(blocks), variables), devices)
            features = found.reshape(devices * BLOCK, -1)[: len(part)]
            for key, vector in zip(part, features, strict=True):
                if not np.isfinite(vector).all():
                    raise StudyError(
                        f"patch {group[key][1]}: its features from {self._backbone.origin} are not "
                        "finite; choose other weights or another `backbone`"
                    )
            yield dict(zip(part, features, strict=True))

    def _write(self, part: dict[str, np.ndarray]) -> None:
        """Keeps a part; its name comes from its patches, so that processes do not collide."""
        if self._folder is None:
            return
        name = hashlib.sha256("".join(sorted(part)).encode()).hexdigest()[:16]
        content = {"keys": np.array(list(part)), "features": np.stack(list(part.values()))}
        npz_files.write(self._folder / f"{name}.npz", content)

    def _read(self, path: pathlib.Path) -> dict[str, np.ndarray]:
        try:
            content = npz_files.read(path)
            keys, features = content["keys"], content["features"]
            if features.shape != (len(keys), self._backbone.num_features):
                raise ValueError(f"features of shape {features.shape} for {len(keys)} patches")
        except npz_files.DAMAGE as error:
            raise StudyError(
                f"{path}: damaged ({error}); delete it, its features will be computed again"
            ) from error
        return dict(zip(keys.tolist(), features, strict=True))


def _by_size(patches: _Patches) -> Iterable[_Patches]:
    groups: dict[tuple[int, ...], _Patches] = {}
    for key, (patch, name) in patches.items():
        groups.setdefault(patch.shape, {})[key] = patch, name
    return groups.values()
