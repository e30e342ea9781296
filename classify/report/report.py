"""The report of a study: one HTML file that needs nothing else, for screens, phones and paper."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from classify.cells import Results, Zooms, control_of, ensemble_members, fill_zoom_of
from classify.plan import regimes
from classify.report import (
    curves,
    distances,
    gallery,
    mistakes_page,
    plots,
    roc_curves,
    style,
    tables,
    zoom_matrix,
)
from classify.report import splits as splits_lib
from classify.report.distances import GeneratorDistances
from classify.report.gallery import GalleryRow
from classify.report.plots import Curve
from classify.report.style import Section
from classify.report.tables import of_target, where
from classify.statistics import statistics, verdict
from data_pipeline.files.writing import write_atomically

_BAND = (
    "Bands and intervals are 95 % intervals of the mean over replicates under a bootstrap of the "
    "test patients."
)


@dataclasses.dataclass(frozen=True)
class ReportData:
    """The content of a report.

    Attributes:
      title: the question.
      results: all predictions.
      summary: see `statistics.summarize`.
      comparisons: see `statistics.compare`.
      subgroups: see `subgroups.subgroups`.
      verdict: the answer, in two sentences.
      pixels: by patch id, (H, W, 1) uint8, of the test patches.
      gallery: real patches and their samples; may be empty.
      distance_name: what the distances in the gallery are.
      setup: how it was run: by section, names and values.
      plan_table: what ran.
      splits: see `split_counts.split_counts`; may be empty.
      distances: of every generator; may be empty.
      mistakes_page: name of the page of all mistakes, beside the report; empty where there is none.
    """

    title: str
    results: Results
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    subgroups: pd.DataFrame
    verdict: tuple[str, str]
    pixels: Mapping[str, np.ndarray]
    gallery: tuple[GalleryRow, ...]
    distance_name: str
    setup: Mapping[str, Mapping[str, str]]
    plan_table: pd.DataFrame
    splits: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    distances: tuple[GeneratorDistances, ...] = ()
    mistakes_page: str = ""

    @property
    def telling(self) -> pd.Series | None:
        """The comparison that the verdict is about, if there is one."""
        return verdict.least_p(self.comparisons, self.results)

    @property
    def zooms(self) -> Zooms:
        """The zooms that all but the zoom tables are about: the verdict's."""
        if (row := self.telling) is not None:
            return Zooms(row["train_zoom"], row["test_zoom"], row["fill_zoom"])
        return self.results.zooms[0]

    @property
    def shown(self) -> dict[str, str]:
        """Regimes of plots with few lines, and kinds: baseline, the verdict's, its control."""
        names = [self.results.baseline]
        if (row := self.telling) is not None:
            control = control_of(row["regime"])
            names += [name for name in (row["regime"], control) if name in self.results.regimes]
        return {name: kind_of(self.results, name) for name in dict.fromkeys(names)}

    @property
    def pair(self) -> tuple[str, ...]:
        """The baseline and the verdict's regime, where there is one."""
        return tuple(self.shown)[:2] if self.telling is not None else (self.results.baseline,)


def kind_of(results: Results, regime: str) -> str:
    """Which of `plots.LOOKS` a regime has."""
    if regime == results.baseline:
        return "baseline"
    if ensemble_members(regime):
        return "ensemble"
    kind = regimes.parse(regime).kind
    return kind if kind in plots.LOOKS else "other"


def write_report(path: str | pathlib.Path, data: ReportData) -> None:
    """Writes the report; equal data give equal bytes.

    Args:
      path: the HTML file to write.
      data: its content.

    Raises:
      OSError: the file cannot be written.
    """
    results, pair, zooms = data.results, data.pair, data.zooms
    matrices = zoom_matrix.zoom_matrix(data.summary, results, tuple(data.shown))
    confusions = tables.confusions(results, tuple(data.shown), zooms)
    pictures = gallery.gallery_html(data.gallery, data.distance_name)
    pictures += distances.html(data.distances, data.distance_name)
    if mistakes := gallery.mistakes_html(results, pair, zooms, data.pixels):
        mistakes += mistakes_page.link(data.mistakes_page)
    counts = splits_lib.html(data.splits, zooms)
    sections = [
        Section("answer", "The numbers behind the answer", _numbers(data)),
        Section("roc", "ROC curves", _roc(data)),
        Section("generators", "How many generators?", _generators(data)),
        Section("zooms", "Trained at one zoom, tested at another", matrices),
        Section("learning", "Learning curves", _learning(data)),
        Section("confusion", "What is taken for what", confusions),
        Section("subgroups", "Mistakes by subgroup", _subgroups(data), new_page=True),
        Section("gallery", "Real and synthetic patches", pictures, new_page=True),
        Section("mistakes", "The worst mistakes", mistakes),
        Section("metrics", "All metrics", _metrics(data)),
        Section("splits", "Training, validation and test sets", counts),
        Section("how", "How it was run", _how(data), new_page=True),
    ]
    answer = "".join(f"<p>{style.escape(sentence)}</p>" for sentence in data.verdict)
    lead = f'<div class="answer" role="note" aria-label="Answer">{answer}</div>'
    page = style.page(data.title, lead, sections)
    # Pure ASCII, so that the locale's encoding does not matter.
    ascii_page = page.encode("ascii", "xmlcharrefreplace").decode()
    write_atomically(pathlib.Path(path), ascii_page)


def _numbers(data: ReportData) -> str:
    results = data.results
    parts = [tables.key_table(data.summary, data.comparisons, results, data.zooms)]
    text = (
        "The mean is over replicates: folds, seeds and choices of source images. So is the first "
        "standard deviation (SD), with n − 1; that over folds divides by n, as NumPy's std and the "
        "± of Buetas et al. do, and of each fold takes the mean of its replicates (a dash where "
        "the folds are not replicates). The 95 % interval says what other test patients would "
        "change, the SD what another training would. "
    )
    if not data.comparisons.empty:
        found = of_target(data.comparisons, results)
        text += (
            f"Corrected intervals hold for all {found['comparisons'].iloc[0]} comparisons at once; "
            "one that contains 0 leaves open whether there is a difference. "
        )
    text += "In brackets, patients with a patch of that class. "
    parts.append(style.note(text + _chosen(data)))
    parts.append(_differences(data))
    parts.append(tables.meanings(results))
    others = [
        tables.key_table(data.summary, data.comparisons, results, zooms)
        for zooms in results.zooms
        if zooms != data.zooms
    ]
    if others:
        parts.append(style.details("The same at the other zooms", "".join(others)))
    return "".join(parts)


def _differences(data: ReportData) -> str:
    if data.comparisons.empty:
        return ""
    found = of_target(data.comparisons, data.results, data.zooms)
    found = found[found["baseline"] == data.results.baseline]
    kinds = [kind_of(data.results, name) for name in found["regime"]]
    content = style.image(
        plots.differences(found, kinds),
        "svg+xml",
        "Difference in ROC-AUC of each regime from the baseline, with intervals",
    )
    caption = (
        f"Difference in ROC-AUC from {data.results.baseline}{where(data.results, data.zooms)}. "
        "Right of the line is better than the baseline. Thick: 95 % interval; thin: corrected for "
        "the number of comparisons. Look for thin lines that do not touch the line at 0."
    )
    return style.figure(content, caption, "plot")


def _roc(data: ReportData) -> str:
    words = f"{_chosen(data)}{_BAND} "
    curves_of_target = roc_curves.of_target(data.results, data.shown, data.zooms, words)
    return curves_of_target + roc_curves.of_all(data.summary, data.results, data.shown, data.zooms)


def _generators(data: ReportData) -> str:
    table = statistics.auc_by_generators(data.summary)
    table = table[tables.at(table, data.zooms)]
    if "singan" not in set(table["kind"]):
        return ""
    found = of_target(data.summary, data.results, data.zooms).set_index("regime")
    row = found.loc[[data.results.baseline]]
    line = Curve(*(row[name].to_numpy() for name in ("mean", "low", "high")))
    content = style.image(
        plots.auc_by_generators(table, (data.results.baseline, line)),
        "svg+xml",
        "ROC-AUC against the number of source images, for SinGAN samples and for copies",
    )
    caption = (
        f"ROC-AUC{where(data.results, data.zooms)} when the malignant class is filled up with "
        "samples of k SinGANs (singan) or with copies of the same k patches (oversample); the "
        f"horizontal line and its band are {data.results.baseline}. {_BAND} See whether singan "
        "lies above oversample at the same k, and whether more generators help."
    )
    plot = style.figure(content, caption, "plot")
    return plot + tables.control_table(data.comparisons, data.results, data.zooms)


def _learning(data: ReportData) -> str:
    results = data.results
    found = {}
    for name, kind in data.shown.items():
        trained = [
            one
            for one in results.predictions
            if (one.cell.regime, one.cell.train_zoom) == (name, data.zooms.train)
            and one.cell.fill_zoom == fill_zoom_of(name, data.zooms.train, data.zooms.fill)
        ]
        found[name] = kind, curves.curves_of(trained, results.target)
    losses = {name: (kind, *of_regime[curves.LOSS]) for name, (kind, of_regime) in found.items()}
    content = style.image(
        plots.learning_curves(losses), "svg+xml", "Training and validation loss by epoch"
    )
    caption = (
        "Mean cross-entropy after each epoch; bands are one standard deviation (n) over folds, "
        "seeds and choices of source images. Each classifier keeps the weights of its least "
        "validation loss. See where validation loss stops falling while training loss still falls."
    )
    figure = style.figure(content, caption, "plot")
    return figure + curves.folded(found, results.classes[results.target])


def _subgroups(data: ReportData) -> str:
    table = data.subgroups
    if table.empty:
        return ""
    table = table[tables.at(table, data.zooms) & table["regime"].isin(data.pair)]
    kinds = {name: data.shown[name] for name in data.pair}
    content = style.image(
        plots.subgroup_rates(table, kinds), "svg+xml", "Share of mistakes by subgroup"
    )
    caption = (
        "Share of test patches called the wrong class, by what is known of the patch; in brackets "
        "the number of patches. Intervals are 95 % intervals under a bootstrap of the patients, "
        "not corrected for the number of subgroups, and those of few patches are wide: look for "
        "groups that stand apart by more than their intervals."
    )
    table = table.drop(columns=["train_zoom", "test_zoom", "fill_zoom"])
    numbers = tables.plain(table, "Mistake rates")
    return style.figure(content, caption, "plot") + style.details("The numbers", numbers)


def _metrics(data: ReportData) -> str:
    parts = [tables.all_metrics(data.summary, data.results)]
    if not data.comparisons.empty:
        table = tables.plain(data.comparisons, "All comparisons")
        parts.append(style.details("All comparisons, with p-values", table))
    return "".join(parts)


def _how(data: ReportData) -> str:
    parts = [tables.plain(data.plan_table, "What was trained")]
    for heading, values in data.setup.items():
        parts.append(f"<h3>{style.escape(heading)}</h3>{style.entries(values)}")
    return "".join(parts)


def _chosen(data: ReportData) -> str:
    """A warning where one of several singan regimes or zooms is shown."""
    row = data.telling
    if row is None or row["comparisons"] == 1:
        return ""
    return (
        f"{row['regime']}{where(data.results, data.zooms)}, is what the answer is about, because "
        "there the difference from the baseline has the least p. Picked like that, it looks larger "
        "than it will be with new patients. "
    )
