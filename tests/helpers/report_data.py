"""A made-up report, from simulated results and drawn patches."""

import numpy as np
import pandas as pd
from study_results import make_results

from classify.report import gallery, report
from classify.statistics import statistics, subgroups

REGIMES = (
    *("weighted", "none", "oversample-1", "oversample-4", "singan-1", "singan-4", "singan-all"),
    "ensemble:singan-4+oversample-4",
)
DISTANCE = "single-image Fréchet distance on grey values"
VERDICT = ("First <sentence> & more.", "Second sentence.")


def make_data(regimes=REGIMES, **changes):
    """What a report is made of; `changes` are of `make_results`."""
    given = {"folds": 2, "seeds": 1, "draws": 2, "gain": {"singan-4": 0.3}} | changes
    results = make_results(regimes=regimes, **given)
    rng = np.random.default_rng(0)
    pixels = {entry.patch_id: draw_patch(rng) for entry in results.records}
    sources = [(entry, pixels[entry.patch_id]) for entry in results.records[:3]]
    samples = {entry.patch_id: [draw_patch(rng) for _ in range(4)] for entry, _ in sources}
    return report.ReportData(
        title="Do <SinGAN> patches help?",
        results=results,
        summary=statistics.summarize(results, bootstrap=100),
        comparisons=statistics.compare(results, bootstrap=100),
        subgroups=subgroups.subgroups(results, bootstrap=100),
        verdict=VERDICT,
        pixels=pixels,
        gallery=gallery.make_gallery(sources, samples, grey_values),
        distance_name=DISTANCE,
        setup={
            "Study": {"epochs": "100", "regimes": ", ".join(regimes)},
            "Machine": {"command": "python -m launch.study " + "--seeds=5 " * 20},
        },
        plan_table=pd.DataFrame({"regime": regimes, "real patches": 312.25, "classifiers": 12}),
    )


def draw_patch(rng, size=64):
    """(size, size, 1) uint8, as big as a picture in the report at most."""
    coarse = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    return coarse.repeat(size // 8, axis=0).repeat(size // 8, axis=1)


def grey_values(patches):
    """Features for distances: (n, H, W, 1)."""
    return patches / 255
