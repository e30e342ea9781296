"""How many patches and patients each split of each fold has, by what is known of them."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from classify.cells import CLASSES, label_of, zoom_groups
from classify.statistics.subgroups import values_of
from data_pipeline.patch_records import PatchRecord

SPLITS = ("train", "validation", "test")
ALL, CLASS = "all", "class"
FIELDS = (ALL, CLASS, "calcification", "nodule", "density", "Format")
_COLUMNS = ("fold", "split", "zoom", "field", "value", "patches", "patients")


def split_counts(
    records: Sequence[PatchRecord],
    task: str,
    folds: Sequence[Mapping[str, Collection[str]]],
    zooms: Sequence[str],
) -> pd.DataFrame:
    """Counts patches and patients.

    Args:
      records: all patches of the dataset.
      task: "binary" or "three-class".
      folds: of each, its patients by split, with the names of `SPLITS`.
      zooms: each a text such as "1" or "1+2"; it selects healthy patches and lesions of its groups.

    Returns:
      One row for each fold, split, zoom, field of `FIELDS` and value of it (a text), with the
      columns fold, split, zoom, field, value, patches, patients. Calcification and nodule are of
      lesions only; a density that is missing or was imputed is "unknown". What a split lacks has
      a row of zeros.
    """
    table = values_of(records)[list(FIELDS[2:])]
    names = [CLASSES[task][label_of(record, task)] for record in records]
    table = table.assign(**{ALL: ALL, CLASS: pd.Categorical(names, CLASSES[task])})
    table["patient"] = [record.patient_id for record in records]
    table["group"] = [record.zoom_group for record in records]
    rows = []
    for zoom in dict.fromkeys(zooms):
        of_zoom = table[table["group"].isin(zoom_groups(zoom))]
        values = {field: of_zoom[field].dropna().sort_values().unique() for field in FIELDS}
        for fold, parts in enumerate(folds):
            for split in SPLITS:
                chosen = of_zoom[of_zoom["patient"].isin(parts[split])]
                for field in FIELDS:
                    for value in values[field]:
                        patients = chosen.loc[chosen[field] == value, "patient"]
                        counted = len(patients), patients.nunique()
                        rows.append((fold, split, zoom, field, value, *counted))
    return pd.DataFrame(rows, columns=_COLUMNS)
