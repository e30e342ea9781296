"""Seconds to train all heads of a study on cached features.

The size is that of the thesis' study with ResNet50: 3 folds x 8 regimes x 5 seeds, 100 epochs, 2167
training and 929 validation patches of 5408, filled up by half as many again. Features are random,
which costs the same.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from classify.classifiers.heads import train_heads
from classify.classifiers.training import TrainSet, TrainSettings
from launch.benchmarks.timing import measure

_POOL, _FEATURES, _CLASSES = 5408, 2048, 3
_TRAIN, _VALIDATION, _FILL = 2167, 929, 833
_FOLDS, _REGIMES, _SEEDS = 3, 8, 5


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields one row; `read_gb_per_s` counts the features of each batch once. There is no peer."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(_POOL, _FEATURES)).astype(np.float32)
    labels = rng.integers(0, _CLASSES, _POOL)
    sets = list(_sets(rng))
    settings = TrainSettings()
    timing = measure(lambda: list(train_heads(features, labels, _CLASSES, sets, settings)), repeats)
    rows = sum(len(one.train) + len(one.validation) for one in sets) * settings.epochs
    yield {
        "heads": len(sets),
        "epochs": settings.epochs,
        **timing.row("seconds"),
        "heads_per_s": len(sets) / timing.median,
        "read_gb_per_s": rows * _FEATURES * 4 / timing.median / 1e9,
    }


def _sets(rng: np.random.Generator) -> Iterator[TrainSet]:
    """The first two regimes have the real patches alone, plain and weighted."""
    for fold in range(_FOLDS):
        order = rng.permutation(_POOL)
        train, validation = np.split(order[: _TRAIN + _VALIDATION], [_TRAIN])
        for regime in range(_REGIMES):
            fill = rng.choice(order[_TRAIN + _VALIDATION :], _FILL if regime > 1 else 0)
            weights = rng.uniform(size=_TRAIN) if regime == 1 else None
            rows = np.concatenate([train, fill])
            for seed in range(_SEEDS):
                yield TrainSet(f"{fold}/{seed}", rows, weights, validation)
