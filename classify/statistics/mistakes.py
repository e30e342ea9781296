"""The test patches that are called a wrong class, with what is known of them."""

import numpy as np
import pandas as pd

from classify.cells import Results
from classify.statistics.places import Place, mean_probabilities, places
from classify.statistics.subgroups import density_of

KNOWN = (  # fields of `PatchRecord.to_json`
    *("patch_id", "file_name", "patient_id", "image_id", "dataset", "image_view", "Format"),
    *("zoom_group", "density", "age", "calcification", "nodule", "findings"),
)
ANSWER = ("truth", "said", "probability", "probability_of_truth")


def misclassified(results: Results) -> pd.DataFrame:
    """All wrong answers of every regime at all its zooms.

    Args:
      results: of the study; test patches are taken as they are.

    Returns:
      One row for each regime, train zoom, test zoom, fill zoom and patch that is called a wrong
      class when probabilities are averaged over the replicates that test it, with these four;
      truth and said, names of classes; probability, of the class said; probability_of_truth; and
      the fields of `KNOWN`, of which density is "unknown" where it is missing or was imputed, age
      is empty likewise, and findings is a text. By place, truth, class said, falling probability.
    """
    found = []
    for place in places(results):
        rows, probabilities = mean_probabilities(results, place, "plain")  # (n,), (n, classes)
        truth, said = results.labels[rows], probabilities.argmax(axis=1)
        wrong = np.flatnonzero(said != truth)
        order = np.lexsort((-probabilities[wrong, said[wrong]], said[wrong], truth[wrong]))
        for n in wrong[order]:
            names = results.classes[truth[n]], results.classes[said[n]]
            numbers = float(probabilities[n, said[n]]), float(probabilities[n, truth[n]])
            found.append((*place, *names, *numbers, *_known(results, rows[n])))
    return pd.DataFrame(found, columns=[*Place._fields, *ANSWER, *KNOWN])


def _known(results: Results, row: int) -> list[object]:
    record = results.records[row]
    known = record.to_json() | {
        "density": density_of(record),
        "age": None if record.age_imputed else record.age,
        "findings": " ".join(record.findings),
    }
    return [known[name] for name in KNOWN]
