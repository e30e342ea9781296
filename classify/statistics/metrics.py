"""How well probabilities of classes agree with the truth: metrics of one set of predictions.

scikit-learn computes them. A metric that is not defined, because the class (or, of ranking
metrics, every other class) has no patch, is NaN.
"""

import numpy as np
from sklearn import metrics as sklearn_metrics

RANKING = ("roc_auc", "pr_auc", "specificity_at_90_sensitivity")
DECISION = ("precision", "recall", "f1")
OVERALL = ("accuracy", "balanced_accuracy", "calibration_error")
ALL = "all"  # stands for the class, of a metric that is of all classes together
CALIBRATION_BINS = 10

Key = tuple[str, str]  # (class or "all", metric)


def evaluate(
    labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> dict[Key, float]:
    """All metrics.

    Of each class against the others: roc_auc; pr_auc, the average precision; precision (NaN too
    where nothing was called that class), recall and f1 of the most probable class;
    specificity_at_90_sensitivity, the largest specificity of a threshold with a sensitivity of at
    least 0.9. Of all together: accuracy; balanced_accuracy, the mean of the recalls;
    calibration_error, see `calibration_error`.

    Args:
      labels: (n,) int, places in `classes`; n > 0.
      probabilities: (n, classes), rows sum to 1.
      classes: their names.

    Returns:
      By class (or "all") and metric, a value in 0 .. 1 or NaN.
    """
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, counts = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=np.nan
    )
    found: dict[Key, float] = {}
    for place, name in enumerate(classes):
        found |= {
            (name, metric): value
            for metric, value in ranking(labels == place, probabilities[:, place]).items()
        }
        decided = zip(DECISION, (precision[place], recall[place], f1[place]), strict=True)
        found |= {(name, metric): x if counts[place] else np.nan for metric, x in decided}
    found[ALL, "accuracy"] = sklearn_metrics.accuracy_score(labels, predicted)
    found[ALL, "balanced_accuracy"] = recall.mean()
    found[ALL, "calibration_error"] = calibration_error(labels, probabilities)
    return {key: float(value) for key, value in found.items()}


def ranking(positive: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The metrics of `RANKING`, of one class against the others.

    Args:
      positive: (n,) bool, whether it is the class.
      scores: (n,), higher where it is more probable.
    """
    if positive.all() or not positive.any():
        return dict.fromkeys(RANKING, np.nan)
    false_rate, true_rate, _ = sklearn_metrics.roc_curve(positive, scores, drop_intermediate=False)
    return {
        "roc_auc": sklearn_metrics.auc(false_rate, true_rate),
        "pr_auc": sklearn_metrics.average_precision_score(positive, scores),
        "specificity_at_90_sensitivity": 1 - false_rate[true_rate >= 0.9].min(),
    }


def calibration_bins(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the most probable class, (n,), and its bin of ten in 0 .. 1, (n,) int."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.minimum(confidence * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(int)
    return confidence, bins


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the most probable class (Guo et al. 2017).

    The mean over patches of how far, in their bin of ten of equal width, the mean probability and
    the share of correct answers are apart.

    Args:
      labels: (n,) int.
      probabilities: (n, classes).
    """
    confidence, bins = calibration_bins(probabilities)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / len(labels))


def confusion(labels: np.ndarray, probabilities: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of patches by class (rows) and most probable class (columns).

    Args:
      labels: (n,) int.
      probabilities: (n, classes).
      num_classes: including those that no patch has.

    Returns:
      (classes, classes) int.
    """
    predicted = probabilities.argmax(axis=1)
    return sklearn_metrics.confusion_matrix(labels, predicted, labels=range(num_classes))
