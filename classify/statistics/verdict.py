"""The answer of a study in two sentences, made from its numbers: do SinGAN patches help?"""

import pandas as pd

from classify.cells import TARGET_WORDS, Results, control_of


def verdict(summary: pd.DataFrame, comparisons: pd.DataFrame, results: Results) -> tuple[str, str]:
    """What SinGAN patches do to the diagnosis of the target class, and what the control says.

    An effect is claimed only where the corrected interval excludes 0.

    Args:
      summary: what `statistics.summarize` returned.
      comparisons: what `statistics.compare` returned.
      results: of the study.

    Returns:
      A sentence on SinGAN patches against the baseline, and one on SinGAN patches against copies
      of the same source images.
    """
    best = least_p(comparisons, results)
    if best is None:
        return (
            f"The study does not say whether SinGAN patches help to recognise"
            f" {TARGET_WORDS[results.task]}: it has no comparison of a SinGAN regime with"
            f" {results.baseline}.",
            "Nothing is claimed, as there is no interval.",
        )
    singan = _of_singan(comparisons)
    controls = singan[singan["baseline"] == control_of(best["regime"])]
    for column in ("regime", "train_zoom", "test_zoom", "fill_zoom"):
        controls = controls[controls[column] == best[column]]
        summary = summary[summary[column] == best[column]]
    against = singan[singan["baseline"] == results.baseline]
    with_target = summary["patients_target"].iloc[0]
    words = TARGET_WORDS[results.task]
    return _against_baseline(best, against, with_target, words), _against_control(best, controls)


def least_p(comparisons: pd.DataFrame, results: Results) -> pd.Series | None:
    """The comparison of a SinGAN regime with the baseline that the verdict is about.

    It is that in ROC-AUC with the least p, and among several such with the largest difference.
    That it is chosen after the fact is allowed for by the correction for all comparisons.

    Args:
      comparisons: what `statistics.compare` returned.
      results: of the study.

    Returns:
      Its row; None where there is no such comparison.
    """
    singan = _of_singan(comparisons)
    against = singan[singan["baseline"] == results.baseline]
    least = against[against["p"] == against["p"].min()]
    return None if least.empty else least.loc[least["difference"].abs().idxmax()]


def _of_singan(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The rows of `singan-k` in ROC-AUC that have an interval."""
    chosen = comparisons["regime"].astype(str).str.startswith("singan-")
    return comparisons[chosen & comparisons["p"].notna() & (comparisons["metric"] == "roc_auc")]


def _against_baseline(best: pd.Series, against: pd.DataFrame, with_target: int, words: str) -> str:
    effect = {
        1: f"SinGAN patches improve the recognition of {words}",
        -1: f"SinGAN patches worsen the recognition of {words}",
        0: f"It could not be shown that SinGAN patches change the recognition of {words}",
    }[_sign(best)]
    signs = [_sign(row) for _, row in against.iterrows()]
    others = ""
    if len(signs) > 1:
        others = (
            f"; of {len(signs)} combinations of SinGAN regime and zooms {signs.count(1)} improve"
            f" and {signs.count(-1)} worsen it"
        )
    return (
        f"{effect}: with {best['regime']}{_filled(best)}, trained on zoom {best['train_zoom']} and"
        f" tested on zoom {best['test_zoom']}, {_difference(best)} than with {best['baseline']}"
        f" ({_interval(best)}, corrected for {best['comparisons']} comparisons;"
        f" {best['patients']} test patients, {with_target} of them with {words}){others}."
    )


def _against_control(best: pd.Series, controls: pd.DataFrame) -> str:
    control = control_of(best["regime"])
    if controls.empty:
        return (
            f"Whether that is due to SinGAN or to repeating a few patches is not known, as there is"
            f" no comparison with copies of the same source images, {control}."
        )
    row = controls.iloc[0]
    effect = {
        1: "so SinGAN patches do more than copies",
        -1: "so SinGAN patches do less than copies",
        0: "so no difference between SinGAN patches and copies could be shown",
    }[_sign(row)]
    return (
        f"Beside {control}, copies of the same source images, {_difference(row)} ({_interval(row)},"
        f" likewise corrected; p = {row['p_holm']:.2g} after Holm), {effect}."
    )


def _sign(row: pd.Series) -> int:
    """Where the corrected interval is: above 0, below it, or neither."""
    return int(row["low_corrected"] > 0) - int(row["high_corrected"] < 0)


def _filled(row: pd.Series) -> str:
    """Where the samples are of another zoom than the lesions trained on, of which."""
    same = row["fill_zoom"] in ("", row["train_zoom"])
    return "" if same else f" of zoom {row['fill_zoom']}"


def _difference(row: pd.Series) -> str:
    size = row["difference"]
    return f"the ROC-AUC is {abs(size):.3f} {'higher' if size > 0 else 'lower'}"


def _interval(row: pd.Series) -> str:
    low, high = row["low_corrected"], row["high_corrected"]
    return f"{100 * row['level']:g} % interval {low:+.3f} to {high:+.3f}"
