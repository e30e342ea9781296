"""The page of all mistakes: every one is there once, escaped, with its picture."""

import base64
import dataclasses
import io
import xml.etree.ElementTree as ET

import numpy as np
import PIL.Image
import pytest
from report_data import draw_patch
from study_results import make_results

from classify.report import mistakes_page
from classify.statistics.mistakes import misclassified

EVIL = '<script>alert("x")</script>&'
REGIMES = ("weighted", "singan-4")


@pytest.fixture(scope="module")
def results():
    made = make_results(patients=24, folds=1, seeds=1, draws=1, test_zooms=("1", "1+2"))
    records = tuple(
        dataclasses.replace(r, patient_id=EVIL + r.patient_id, patch_id=EVIL + r.patch_id)
        for r in made.records
    )
    return dataclasses.replace(made, records=records)


@pytest.fixture(scope="module")
def pixels(results):
    rng = np.random.default_rng(0)
    return {record.patch_id: draw_patch(rng, 128) for record in results.records}


def parsed(results, pixels, folder):
    path = folder / "misclassified.html"
    table, zooms = misclassified(results), results.zooms[0]
    mistakes_page.write(path, table, results, REGIMES, zooms, pixels)
    text = path.read_text()
    assert text.isascii()
    return text, ET.fromstring(text.removeprefix("<!DOCTYPE html>"))


@pytest.fixture(scope="module")
def page(results, pixels, tmp_path_factory):
    return parsed(results, pixels, tmp_path_factory.mktemp("page"))[1]


def content(element):
    return " ".join(" ".join(element.itertext()).split())


def test_every_mistake_is_there_by_class_with_its_probability(page, results):
    table = misclassified(results)
    zooms = results.zooms[0]
    chosen = table["regime"].isin(REGIMES) & (table["test_zoom"] == zooms.test)
    table = table[chosen]
    groups = {section.get("id"): section for section in page.iter("section")}
    expected = {f"{row.truth}-{row.said}" for row in table.itertuples()}
    assert set(groups) == expected
    for name, section in groups.items():
        truth, said = name.split("-")
        rows = table[(table["truth"] == truth) & (table["said"] == said)]
        captions = [content(one) for one in section.find("details").iter("figcaption")]
        assert len(captions) == rows["patch_id"].nunique()
        for row in rows.itertuples():
            (caption,) = [text for text in captions if f"{row.patch_id} patient" in text]
            assert f"{row.regime} {row.probability:.2f}" in caption
            assert f"patient {row.patient_id} view {row.image_view} format {row.Format}" in caption
            assert f"zoom {row.zoom_group} density {row.density}" in caption
        assert f"Patches: {len(captions)}" in content(section)


def test_pictures_are_small_and_inside(page):
    pictures = list(page.iter("img"))
    assert pictures
    for picture in pictures:
        kind, data = picture.get("src").split(",")
        assert kind == "data:image/png;base64"
        assert max(PIL.Image.open(io.BytesIO(base64.b64decode(data))).size) == 96
        assert EVIL in picture.get("alt")
    assert not list(page.iter("script"))
    links = [element.get("href") for element in page.iter() if element.get("href")]
    assert all(link.startswith("#") for link in links)


def test_equal_input_gives_equal_bytes(results, pixels, tmp_path):
    first, second = (parsed(results, pixels, tmp_path)[0] for _ in range(2))
    assert first == second


def test_a_study_without_mistakes_has_a_page_that_says_so(tmp_path):
    results = make_results(regimes=REGIMES, patients=12, separability=12.0, folds=1, seeds=1)
    _, page = parsed(results, {}, tmp_path)
    assert not list(page.iter("section"))
    assert "averaged over replicates: 0." in content(page)


def test_a_link_leads_to_the_page():
    assert mistakes_page.link("") == ""
    element = ET.fromstring(mistakes_page.link("misclassified.html"))
    assert element.find("a").get("href") == "misclassified.html"
