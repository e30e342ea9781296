"""The report: its sections, its numbers, what is escaped, and that it needs nothing else."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from make_record import record
from report_data import DISTANCE, VERDICT, draw_patch, grey_values, make_data
from sklearn.metrics import confusion_matrix

from classify.report import distances, gallery, report
from classify.statistics.replicates import replicates
from classify.statistics.split_counts import split_counts
from classify.statistics.verdict import verdict
from singan_jax.evaluate.frechet import single_image_distance

SECTIONS = [
    *("answer", "roc", "generators", "zooms", "learning", "confusion", "subgroups"),
    *("gallery", "mistakes", "metrics", "how"),
]


@pytest.fixture(scope="module")
def full():
    return make_data(train_zooms=("1", "1+2"), test_zooms=("1", "3"))


@pytest.fixture(scope="module")
def text(full, tmp_path_factory):
    return written(full, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(text):
    return parsed(text)


def written(data, folder):
    path = folder / "report.html"
    report.write_report(path, data)
    return path.read_text()


def parsed(text):
    """The page as a tree; it is well-formed XML."""
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>"))


def content(element):
    return " ".join("".join(element.itertext()).split())


def sections(page):
    return {section.get("id"): section for section in page.iter("section")}


def table(section, number=0):
    """Heads of the columns, and by the row's heading its cells."""
    found = list(section.iter("table"))[number]
    head, body = found.find("thead"), found.find("tbody")
    rows = {content(row[0]): [content(cell) for cell in row[1:]] for row in body}
    return [content(cell) for cell in head[0]], rows


def numbers(cell):
    """The numbers of a cell; a dash is NaN."""
    if cell == "–":
        return [math.nan]
    return [float(x.replace("−", "-")) for x in re.findall(r"[−+]?\d+\.?\d*", cell)]


def main_rows(frame, data, zooms=None, metric="roc_auc", **where):
    """By regime, the rows on the target class; at the report's zooms unless others are given."""
    train, test, *_ = zooms or data.zooms
    target = data.results.classes[data.results.target]
    where |= {"metric": metric, "class": target, "train_zoom": train, "test_zoom": test}
    chosen = np.all([frame[column] == value for column, value in where.items()], axis=0)
    return frame[chosen].set_index("regime")


def test_a_full_study_has_all_sections_and_a_table_of_contents(page):
    assert list(sections(page)) == SECTIONS
    links = [link.get("href") for link in page.find(".//nav").iter("a")]
    assert links == [f"#{name}" for name in SECTIONS]
    assert page.get("lang") == "en"
    assert [len(list(page.iter(tag))) for tag in ("h1", "main", "nav", "title")] == [1, 1, 1, 1]
    assert content(page.find(".//h1")) == "Do <SinGAN> patches help?"
    assert [content(p) for p in page.find(".//header/div")] == list(VERDICT)


def test_what_is_not_there_is_left_out(tmp_path):
    data = make_data(regimes=("weighted",))
    data = dataclasses.replace(data, gallery=())
    left_out = {"generators", "zooms", "gallery"}
    found = sections(parsed(written(data, tmp_path)))
    assert list(found) == [name for name in SECTIONS if name not in left_out]
    assert "Corrected" not in content(found["answer"].find("p"))
    _, rows = table(found["answer"])
    assert list(rows) == ["weighted"]


def test_a_study_without_mistakes_has_no_section_of_them(tmp_path):
    data = make_data(regimes=("weighted", "oversample-4"), separability=12)
    found = sections(parsed(written(data, tmp_path)))
    assert "mistakes" not in found
    assert "generators" not in found


def test_no_number_of_a_binary_study_with_undefined_metrics_breaks_it(tmp_path):
    data = make_data(regimes=("none", "singan-2"), task="binary", shared_test=False)
    undefined = data.summary["metric"] == "roc_auc"
    data.summary.loc[undefined, ["sd", "low", "high"]] = np.nan
    _, rows = table(sections(parsed(written(data, tmp_path)))["answer"])
    assert rows["none"][1:4] == ["–", "–", "– to –"]


def test_the_key_table_says_what_summary_and_comparisons_say(page, full):
    head, rows = table(sections(page)["answer"])
    assert head == [
        *("Regime", "Mean", "SD over replicates (n − 1)", "SD over folds (n)", "95 % interval"),
        *("Difference", "Corrected interval", "Replicates", "Patients (Malign)"),
    ]
    summary = main_rows(full.summary, full, variant="plain")
    compared = main_rows(full.comparisons, full, baseline="weighted")
    assert list(rows) == list(full.results.regimes)
    for regime, cells in rows.items():
        row = summary.loc[regime]
        expected = [row["mean"], row["sd"], row["sd_folds"], row["low"], row["high"]]
        found = [x for cell in cells[:4] for x in numbers(cell)]
        assert found == pytest.approx(expected, abs=5.001e-4, nan_ok=True)
        assert numbers(cells[6]) == [row["replicates"]]
        assert numbers(cells[7]) == [row["patients"], row["patients_target"]]
        if regime == "weighted":
            assert cells[4:6] == ["baseline", ""]
            continue
        row = compared.loc[regime]
        expected = [row["difference"], row["low_corrected"], row["high_corrected"]]
        found = [x for cell in cells[4:6] for x in numbers(cell)]
        assert found == pytest.approx(expected, abs=5.001e-4)


def test_the_zoom_matrix_says_what_the_summary_says(page, full):
    section = sections(page)["zooms"]
    for number, regime in enumerate(full.pair):
        head, rows = table(section, number)
        assert head[1:] == ["test 1", "test 3"]
        for train in full.results.train_zooms:
            for test, cell in zip(full.results.test_zooms, rows[f"train {train}"], strict=True):
                row = main_rows(full.summary, full, (train, test), variant="plain").loc[regime]
                mean, *ends = numbers(cell.replace("0.", " 0."))
                assert mean == pytest.approx(row["mean"], abs=5.001e-4)
                assert ends == pytest.approx([row["low"], row["high"]], abs=5.001e-3)


def test_the_confusion_matrix_is_scikit_learns(page, full):
    rows = table(sections(page)["confusion"])[1]
    shares = []
    for one in replicates(full.results, "weighted", *full.zooms[:2], "plain"):
        truth = full.results.labels[one.rows]
        shares.append(confusion_matrix(truth, one.probabilities.argmax(1), normalize="true"))
    for name, expected in zip(full.results.classes, np.mean(shares, axis=0), strict=True):
        assert [numbers(cell)[0] for cell in rows[name]] == pytest.approx(100 * expected, abs=0.051)


def test_all_metrics_of_all_zooms_and_variants_are_there(page, full):
    section = sections(page)["metrics"]
    assert len(list(section.iter("details"))) == 2 * 2 * 2 + 1
    _, rows = table(section, number=1)  # the second variant of the first zooms
    assert rows.keys() >= {"Malign: pr auc", "all: accuracy", "Benign: f1"}
    zooms = full.results.train_zooms[0], full.results.test_zooms[0]
    expected = main_rows(full.summary, full, zooms, metric="pr_auc", variant="cropped")
    for regime, cell in zip(full.results.regimes, rows["Malign: pr auc"], strict=True):
        assert numbers(cell)[0] == pytest.approx(expected["mean"][regime], abs=5.001e-4)


def test_figures_show_what_the_answer_is_about_with_a_warning(page, full):
    sentence = verdict(full.summary, full.comparisons, full.results)[0]
    baseline, regime = full.pair
    assert baseline == "weighted"
    assert list(full.shown) in (
        [baseline, regime],
        [baseline, regime, regime.replace("singan", "oversample")],
    )
    train, test, _ = full.zooms
    assert f"{regime}, trained on zoom {train} and tested on zoom {test}," in sentence
    warning = f"{regime}, trained on zoom {train}, tested on zoom {test}, is what the answer is"
    assert warning in content(sections(page)["roc"])
    assert warning in content(sections(page)["answer"])


def test_what_users_name_is_escaped(tmp_path):
    evil = '<script>alert("x")</script>&\'"'
    data = make_data(regimes=("weighted", "singan-4"))
    records = tuple(
        dataclasses.replace(entry, patient_id=evil + entry.patient_id)
        for entry in data.results.records
    )
    rows = tuple(
        dataclasses.replace(row, record=records[place]) for place, row in enumerate(data.gallery)
    )
    text = written(
        dataclasses.replace(
            data,
            results=dataclasses.replace(data.results, records=records),
            gallery=rows,
            title=evil,
            verdict=(evil, evil),
            distance_name=evil,
            setup={evil: {evil: evil}},
            plan_table=data.plan_table.assign(**{evil: evil}),
        ),
        tmp_path,
    )
    page = parsed(text)
    assert not list(page.iter("script"))
    assert content(page.find(".//h1")) == evil
    for name in ("gallery", "mistakes", "how"):
        assert evil in content(sections(page)[name])
    pictures = [picture.get("alt") for picture in sections(page)["gallery"].iter("img")]
    assert all(evil in alternative for alternative in pictures)


def test_nothing_outside_is_needed(page):
    for element in page.iter():
        for name in {"src", "href", "srcset", "action", "data", "poster"} & {*element.keys()}:
            assert element.get(name).startswith(("#", "data:image/"))
    assert {element.tag for element in page.iter()} & {
        "script",
        "link",
        "iframe",
        "object",
    } == set()
    style = page.find(".//style").text
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_and_figure_is_described(page):
    pictures = list(page.iter("img"))
    assert len(pictures) >= 5 + 3 * 5
    assert all(len(picture.get("alt")) > 10 for picture in pictures)
    for figure in page.iter("figure"):
        assert content(figure.find("figcaption"))


def test_equal_data_give_equal_bytes_of_modest_size(full, text, tmp_path):
    big = dataclasses.replace(full, gallery=tuple(large_row(row) for row in full.gallery * 3)[:8])
    assert len(written(big, tmp_path)) < 5e6
    again = written(full, tmp_path)
    assert again == text
    assert again.isascii()


def large_row(row):
    """The same with pictures of pure noise, which do not compress."""
    noise = np.random.default_rng(0).integers(0, 256, (380, 572, 1), dtype=np.uint8)
    return dataclasses.replace(row, real=noise, samples=(noise,) * 5, distances=(0.5,) * 5)


def test_worst_mistakes_are_the_surest_wrong_answers(full):
    results = full.results
    models = replicates(results, "weighted", "1", "1", "plain")
    mean = sum(np.float64(one.probabilities) for one in models) / len(models)
    wrong = []
    for place, of_patch in zip(models[0].rows, mean, strict=True):
        said = int(np.argmax(of_patch))
        if said != results.labels[place]:
            truth = results.classes[results.labels[place]]
            wrong.append((of_patch[said], results.records[place], truth, results.classes[said]))
    wrong.sort(key=lambda one: -one[0])
    found = gallery.worst_mistakes(results, "weighted", "1", "1", count=4)
    assert len(found) == 4
    for one, (probability, entry, truth, said) in zip(found, wrong, strict=False):
        assert (one.record, one.truth, one.said) == (entry, truth, said)
        assert one.probability == pytest.approx(probability, abs=1e-6)


def test_a_gallery_shows_the_first_samples_of_many_patients_and_their_distances():
    rng = np.random.default_rng(3)
    entries = [record(patient, number) for patient in "cab" for number in (1, 2)]
    sources = [(entry, draw_patch(rng)) for entry in entries]
    samples = {entry.patch_id: [draw_patch(rng) for _ in range(3)] for entry in entries[1:]}
    rows = gallery.make_gallery(sources, samples, grey_values, rows=4, per_row=2)
    assert [row.record for row in rows] == [entries[1], entries[2], entries[4], entries[3]]
    real = {entry.patch_id: pixels for entry, pixels in sources}
    for row in rows:
        name = row.record.patch_id
        assert np.array_equal(row.real, real[name])
        assert np.array_equal(row.samples, samples[name][:2])
        expected = [single_image_distance(real[name] / 255, x / 255) for x in samples[name][:2]]
        assert row.distances == pytest.approx(expected, rel=1e-9)
        spread = np.std(samples[name], axis=0, ddof=1).mean() / real[name].std()
        assert row.diversity == pytest.approx(spread, rel=1e-4)
        assert (row.measured, row.near_copies) == (3, 0)


def test_a_gallery_counts_near_copies():
    rng = np.random.default_rng(4)
    entry, real = record("a", 1), draw_patch(rng)
    near = np.roll(real, 2, axis=0) ^ 1  # moved, and a level off
    (row,) = gallery.make_gallery([(entry, real)], {entry.patch_id: [near]}, grey_values)
    assert (row.measured, row.near_copies) == (1, 1)
    assert np.isnan(row.diversity)


def test_distances_stand_below_their_pictures(page, full):
    captions = [content(caption) for caption in sections(page)["gallery"].iter("figcaption")]
    assert captions == [
        caption
        for row in full.gallery
        for caption in ("real", *(f"{distance:.3f}" for distance in row.distances))
    ]
    assert DISTANCE in content(sections(page)["gallery"])


def test_splits_distances_and_the_page_of_mistakes_are_there_where_given(tmp_path):
    data = make_data(regimes=("weighted",))
    patients = sorted({entry.patient_id for entry in data.results.records})
    parts = [{"train": patients[:30], "validation": patients[30:45], "test": patients[45:]}]
    shown = [(row.record, row.real) for row in data.gallery]
    samples = {row.record.patch_id: row.samples for row in data.gallery}
    data = dataclasses.replace(
        data,
        splits=split_counts(data.results.records, data.results.task, parts, ("1",)),
        distances=distances.measure(shown, samples, grey_values),
        mistakes_page="misclassified.html",
    )
    found = sections(parsed(written(data, tmp_path)))
    assert list(found)[-2:] == ["splits", "how"]
    assert [link.get("href") for link in found["mistakes"].iter("a")] == ["misclassified.html"]
    assert list(table(found["gallery"], 1)[1]) == [entry.patch_id for entry, _ in shown]
    assert list(table(found["roc"])[1]) == list(data.results.classes)
    assert table(found["splits"])[1]["all"][1::2] == ["30", "15", "15"]
