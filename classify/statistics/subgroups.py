"""How often patches are called a wrong class, by what is known of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import tqdm

from classify.cells import Results
from classify.statistics import bootstrap as boot
from classify.statistics.places import num_patients, places, rows_of, stacks
from data_pipeline.patch_records import PatchRecord

_DELAY = 3  # seconds before a bar is shown
SUBGROUPS = {  # field of `PatchRecord.to_json` and whether it is of lesions only
    "density": False,
    "zoom_group": False,
    "view": False,
    "image_view": False,  # BCDR's four: RCC, LCC, RO, LO
    "Format": False,
    "calcification": True,
    "nodule": True,
}


def subgroups(
    results: Results, bootstrap: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Shares of patches called a wrong class, by what is known of the patch.

    Args:
      results: of the study; test patches are taken as they are.
      bootstrap: number of samples.
      seed: of the bootstrap.
      level: of the intervals.

    Returns:
      One row for each regime, train zoom, test zoom, fill zoom, field of `SUBGROUPS` and value of
      it, with the columns regime, train_zoom, test_zoom, fill_zoom, field, value (a text), patches,
      patients, rate (mean over replicates), low, high. A density that is missing or was imputed is
      "unknown".
    """
    resampling = boot.resample(results.records, bootstrap, seed)
    values = values_of(results.records)
    rows = []
    for place in tqdm.tqdm(places(results), "subgroups", delay=_DELAY):
        found = stacks(results, place, "plain")
        wrong = [(one.probabilities.argmax(axis=2) != one.labels).mean(axis=0) for one in found]
        tested = rows_of(found)
        for field in SUBGROUPS:
            for value in sorted(values[field].iloc[tested].dropna().unique()):
                is_value = (values[field] == value).to_numpy()
                chosen = [
                    (one.rows[is_value[one.rows]], rates[is_value[one.rows]])
                    for one, rates in zip(found, wrong, strict=True)
                    if is_value[one.rows].any()
                ]
                drawn = boot.nan_mean(np.stack([resampling.mean(*part) for part in chosen]))
                low, high = boot.interval(drawn, level)
                inside = tested[is_value[tested]]
                rows.append(
                    place._asdict()
                    | {"field": field, "value": value}
                    | {"patches": len(inside), "patients": num_patients(results, inside)}
                    | {"rate": np.mean([rates.mean() for _, rates in chosen])}
                    | {"low": low, "high": high}
                )
    return pd.DataFrame(rows)


def values_of(records: Sequence[PatchRecord]) -> pd.DataFrame:
    """Of each record the value of each of `SUBGROUPS` as a text, None where it has none."""
    rows = []
    for record in records:
        row = record.to_json() | {"density": density_of(record)}
        keep = {field for field, lesions in SUBGROUPS.items() if row["suspicious"] or not lesions}
        rows.append({field: str(row[field]) if field in keep else None for field in SUBGROUPS})
    return pd.DataFrame(rows)


def density_of(record: PatchRecord) -> str:
    """BI-RADS class of a record, "unknown" where it is missing or was imputed."""
    if record.density is None or record.density_imputed:
        return "unknown"
    return str(round(record.density))
