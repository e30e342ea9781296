"""Curves of a training, epoch by epoch: loss, accuracy, ROC-AUC, precision and recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from classify.cells import Prediction
from classify.report import style
from classify.report.plots import LOOKS, PLOT_STYLE, WIDTH, Curve, as_svg, legend_above
from classify.statistics.bootstrap import nan_mean

LOSS = "loss"
TARGET = "ROC-AUC, target"  # that of the study's target class
MEASURES = (LOSS, "accuracy", "ROC-AUC, mean", TARGET, "precision", "recall")
SETS = ("training", "validation")
_HEIGHT = 1.35  # inches of a row

Curves = Mapping[str, tuple[Curve, Curve]]  # by measure, on the training and the validation set


def curves_of(predictions: Sequence[Prediction], target: int) -> Curves:
    """Means over trainings, and one standard deviation around them.

    Precision, recall and the first ROC-AUC are means over the classes.

    Args:
      predictions: at least one, of as many epochs.
      target: place of the class that the study is about.

    Returns:
      By measure of `MEASURES`; the loss alone where an earlier version has kept no others.
    """
    every = {LOSS: np.stack([one.curves for one in predictions])}  # (trainings, epochs, 2)
    measures = [one.measures for one in predictions if one.measures is not None]
    if len(measures) == len(predictions):
        areas = np.stack([one.roc_auc for one in measures])  # (trainings, epochs, 2, classes)
        every |= {
            "accuracy": np.stack([one.accuracy for one in measures]),
            "ROC-AUC, mean": areas.mean(axis=3),
            TARGET: areas[..., target],
            "precision": np.stack([_over_classes(one.precision) for one in measures]),
            "recall": np.stack([_over_classes(one.recall) for one in measures]),
        }
    found = {}
    for name, values in every.items():
        mean = nan_mean(values)
        sd = np.sqrt(nan_mean((values - mean) ** 2))
        training, validation = (
            Curve(mean[:, n], (mean - sd)[:, n], (mean + sd)[:, n]) for n in range(len(SETS))
        )
        found[name] = training, validation
    return found


def _over_classes(values: np.ndarray) -> np.ndarray:
    """(epochs, 2, classes) to (epochs, 2); classes without a value are left out."""
    return nan_mean(np.moveaxis(values, 2, 0))


def folded(curves: Mapping[str, tuple[str, Curves]], target: str) -> str:
    """The plot with its caption, folded away; nothing where there are losses alone.

    Args:
      curves: see `plot`.
      target: likewise.
    """
    if all(TARGET not in of_regime for _, of_regime in curves.values()):
        return ""  # an earlier version has trained them
    words = "Loss, accuracy, ROC-AUC, precision and recall by epoch"
    caption = (
        "On the training set as each epoch visits it, and on the validation set after it. The mean "
        "ROC-AUC, precision and recall are averages over the classes; bands are as above."
    )
    content = style.image(plot(curves, target), "svg+xml", words)
    return style.details("Other measures by epoch", style.figure(content, caption, "plot"))


def plot(curves: Mapping[str, tuple[str, Curves]], target: str) -> bytes:
    """Draws all measures, a row each, beside each other on the training and validation set.

    Args:
      curves: by regime, its kind, a key of `LOOKS`, and what `curves_of` returned.
      target: name of the class that the study is about.

    Returns:
      SVG; equal input gives equal bytes.
    """
    shown = [name for name in MEASURES if any(name in of for _, of in curves.values())]
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure((WIDTH, 0.9 + _HEIGHT * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 2, sharex=True, sharey="row", squeeze=False)
        for axes_of_row, name in zip(panels, shown, strict=True):
            for place, axes in enumerate(axes_of_row):
                for regime, (kind, of_regime) in curves.items():
                    if name in of_regime:
                        _draw(axes, of_regime[name][place], kind, regime)
            axes_of_row[0].set_ylabel(f"ROC-AUC, {target}" if name == TARGET else name)
        for place, axes in enumerate(panels[0]):
            axes.set_title(SETS[place], fontsize="medium")
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        legend_above(figure, panels[0][0])
        return as_svg(figure)


def _draw(axes: Axes, curve: Curve, kind: str, label: str) -> None:
    look, epochs = LOOKS[kind], np.arange(1, len(curve.mean) + 1)
    axes.fill_between(epochs, curve.low, curve.high, color=look.color, alpha=0.14, linewidth=0)
    marks: Any = {"marker": look.marker, "markevery": max(1, len(epochs) // 6), "markersize": 4}
    axes.plot(epochs, curve.mean, color=look.color, linestyle=look.dashes, label=label, **marks)
