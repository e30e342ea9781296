"""Which patches are copied or given to generators: random, balanced, listed, queried."""

import collections
import dataclasses
import hashlib

import patients
import pytest

from classify.cells import Cell, StudyError
from classify.plan import regimes, sources
from classify.plan.protocol import LeakError, Partition
from classify.plan.sources import Sources
from data_pipeline import load, query

RECORDS = tuple(
    dataclasses.replace(r, format="Digital" if r.patient_id in ("malign1_F01", "malign3_F01",
                                                                "malign4_F01") else "Film")
    for r in patients.dataset(benign=14, malign=7, zooms=(1, 2, 3))
)  # fmt: skip
BY_ID = {record.patch_id: record for record in RECORDS}
NAMES = {record.patient_id for record in RECORDS}
TEST, VALIDATION = frozenset({"malign0_F01"}), frozenset({"malign1_F01", "benign0_F01"})
FOLD = Partition(frozenset(NAMES - TEST - VALIDATION), VALIDATION, TEST)


def compose(regime, train="1", fill="", chosen=sources.ANY, draw=0, usable=None, fold=FOLD):
    cell = Cell(regime, train, 0, 0, draw, fill)
    return regimes.training_set(cell, RECORDS, fold, 1.0, 0, usable, chosen)


def lesions(names):
    return [name.rpartition("_g")[0] for name in names]


def read(*stated, folds=(FOLD,)):
    return sources.read(stated, RECORDS, folds, "data", "bcdr_patches", ("g1_64", "all_64"))


@pytest.mark.parametrize("zoom", ["1", "3", "1+2"])
@pytest.mark.parametrize("draw", [0, 1])
def test_random_sources_at_the_train_zoom_are_those_of_every_version(zoom, draw):
    groups = {int(group) for group in zoom.split("+")}
    possible = [
        r.patch_id
        for r in RECORDS
        if r.classification == "Malign" and r.patient_id in FOLD.train and r.zoom_group in groups
    ]
    salt = f"0/sources/{draw}/"
    order = sorted(possible, key=lambda name: hashlib.sha256((salt + name).encode()).digest())
    assert compose("singan-4", zoom, draw=draw).sources == tuple(order[:4])
    assert compose("oversample-all", zoom, draw=draw).sources == tuple(order)


@pytest.mark.parametrize("chosen", [sources.ANY, Sources("balanced")])
@pytest.mark.parametrize("train", ["1", "3"])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_another_fill_zoom_takes_the_same_lesions(chosen, train, k):
    here = compose(f"singan-{k}", train, "", chosen)
    other = compose(f"singan-{k}", train, "2", chosen)
    assert lesions(other.sources) == lesions(here.sources)
    assert all(name.endswith("_g2") for name in other.sources)
    assert (other.real == here.real).all()
    assert [patch.number for patch in other.synthetic] == [p.number for p in here.synthetic]
    assert {patch.source for patch in other.synthetic} <= {*other.sources}
    assert all(patch.patient in FOLD.train for patch in other.synthetic)


def test_copies_are_of_the_fill_zoom_and_beside_real_patches_of_the_train_zoom():
    plain = compose("none", "3").real
    filled = compose("oversample-2", "3", "1")
    assert filled.sources == compose("singan-2", "3", "1").sources
    added = collections.Counter(filled.real.tolist()) - collections.Counter(plain.tolist())
    assert {RECORDS[row].patch_id for row in added} == {*filled.sources}
    count = collections.Counter(RECORDS[row].classification for row in filled.real)
    assert count["Malign"] == count["Benign"]
    assert {RECORDS[row].zoom_group for row in plain} == {0, 3}


def test_a_joint_fill_zoom_takes_each_lesion_once_before_any_twice():
    there = compose("singan-all", "1").sources
    both = compose("singan-all", "1", "2+3").sources
    assert lesions(both[: len(there)]) == lesions(there) == lesions(both[len(there) :])
    assert len({*both}) == 2 * len(there)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_balanced_sources_are_half_of_films_and_smaller_choices_are_inside(k):
    for draw in range(5):
        found = compose(f"singan-{k}", chosen=Sources("balanced"), draw=draw).sources
        formats = [BY_ID[name].format for name in found]
        assert formats == ["Film", "Digital", "Film", "Digital"][:k]
        assert found == compose("singan-4", chosen=Sources("balanced"), draw=draw).sources[:k]
    draws = {compose("singan-2", chosen=Sources("balanced"), draw=n).sources for n in range(6)}
    assert len(draws) > 1


def test_balanced_sources_do_not_depend_on_the_train_zoom():
    found = [compose("singan-4", zoom, chosen=Sources("balanced")).sources for zoom in "13"]
    assert lesions(found[0]) == lesions(found[1])


def test_a_format_with_too_few_is_named():
    balanced = Sources("balanced")
    compose("singan-9", chosen=balanced)  # 5 of films, 4 digital: two patients' two lesions
    problem = "singan-10: `sources`=balanced needs 5 of films and 5 of digital.* has 6 and 4 in 10"
    with pytest.raises(StudyError, match=problem):
        compose("singan-10", chosen=balanced)
    with pytest.raises(StudyError, match="ask for a number of them"):
        compose("oversample-all", chosen=balanced)


def test_listed_sources_come_in_their_order_those_of_the_fold():
    names = ("malign5_F01_1_g1", "malign1_F01_1_g1", "malign2_F01_2_g1", "malign6_F01_1_g1")
    others = Partition(FOLD.train | VALIDATION, frozenset(), TEST)
    chosen = read(*names, folds=(FOLD, others))
    assert compose("singan-3", chosen=chosen).sources == (names[0], *names[2:])
    assert compose("singan-2", chosen=chosen).sources == (names[0], names[2])
    assert compose("singan-4", chosen=chosen).sources == (names[0], *names[2:])  # three may be
    assert compose("singan-4", chosen=chosen, fold=others).sources == names
    with pytest.raises(StudyError, match=r"singan-5: asks for 5 source images, .* names 4; name m"):
        compose("singan-5", chosen=chosen)
    nobody = Partition(frozenset({"benign1_F01"}), frozenset({"malign5_F01"}), frozenset())
    with pytest.raises(StudyError, match="singan-1: none of the patches that `sources` names is"):
        compose("singan-1", chosen=chosen, fold=nobody)


def test_a_listed_patch_stands_for_its_lesion_at_another_fill_zoom():
    chosen = read("malign5_F01_1_g1", "malign5_F01_1_g2", "malign2_F01_2_g3")
    assert compose("singan-all", "1", "3", chosen).sources == (
        *("malign5_F01_1_g3", "malign2_F01_2_g3"),
    )
    assert compose("singan-all", "1", "1+2", chosen).sources == (
        *("malign5_F01_1_g1", "malign5_F01_1_g2", "malign2_F01_2_g1", "malign2_F01_2_g2"),
    )
    without = tuple(r for r in RECORDS if r.patch_id != "malign2_F01_2_g2")
    cell = Cell("singan-1", "1", 0, 0, 0, "2")
    with pytest.raises(StudyError, match="lesion of 'malign2_F01_2_g3' has no patch of zoom 2"):
        regimes.training_set(cell, without, FOLD, 1.0, 0, None, chosen)


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("nobody_g1", StudyError, "bcdr_patches/all_64 has no patch 'nobody_g1'; write random, b"),
        ("benign3_F01_1_g1", StudyError, "'benign3_F01_1_g1' is Benign, and only malignant"),
        ("malign0_F01_1_g1", LeakError, "patient 'malign0_F01', who is for testing in every fold"),
        ("malign1_F01_1_g1", LeakError, "patient 'malign1_F01', who is for training in no fold"),
        ("random", StudyError, "has no patch 'random'"),
    ],
)
def test_what_cannot_be_a_source_is_refused(name, error, problem):
    with pytest.raises(error, match=problem) as caught:
        read("malign5_F01_1_g1", name)
    assert "\n" not in str(caught.value)


def test_a_patient_who_is_for_training_in_some_fold_is_no_leak():
    turned = Partition(FOLD.train - {"malign5_F01"} | TEST, VALIDATION, frozenset({"malign5_F01"}))
    chosen = read("malign0_F01_1_g1", "malign5_F01_1_g1", folds=(FOLD, turned))
    assert compose("singan-1", chosen=chosen).sources == ("malign5_F01_1_g1",)
    assert compose("singan-1", chosen=chosen, fold=turned).sources == ("malign0_F01_1_g1",)


@pytest.fixture
def prepared(monkeypatch):
    """The made-up dataset in place of a prepared one; every patch is in every split."""

    def loaded(_, wanted):
        return [(record, None) for record in query.select(RECORDS, wanted)]

    monkeypatch.setattr(load, "load", loaded)


@pytest.mark.usefixtures("prepared")
def test_queried_sources_are_drawn_from_what_is_selected():
    where = "classification=Malign,zoom_group=1,patient_id=malign2_F01|malign5_F01|malign0_F01"
    turned = Partition(FOLD.train - {"benign2_F01"} | TEST, VALIDATION, frozenset({"benign2_F01"}))
    text = f"bcdr_patches/g1_64:train[{where}]"
    chosen = read(*text.split(","), folds=(FOLD, turned))
    assert chosen == read(text, folds=(FOLD, turned))  # a command line splits it
    expected = {f"malign{n}_F01_{k}_g1" for n in (2, 5) for k in (1, 2)}
    assert chosen.kind == "queried"
    assert {*chosen.named} == expected | {"malign0_F01_1_g1", "malign0_F01_2_g1"}
    draws = [compose("singan-2", chosen=chosen, draw=draw).sources for draw in range(8)]
    assert {name for names in draws for name in names} == expected
    assert len({*draws}) > 1
    assert {*compose("singan-all", chosen=chosen).sources} == expected


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mias_patches/g1_64:train", "is of mias_patches/g1_64, the study is of bcdr_patches"),
        ("bcdr_patches/g1:train", "whose configs in its `patch_size` are g1_64, all_64"),
        ("bcdr_patches/g1_64:train[zoom_group=0]", "is Normal, and only malignant patches"),
        ("bcdr_patches/g1_64:test[patient_id=malign0_F01,zoom_group=1]", "testing in every fold"),
    ],
)
def test_queries_that_cannot_be_sources_are_refused(text, problem):
    with pytest.raises(StudyError, match=problem):
        read(text)


def test_a_listed_source_without_samples_is_named():
    chosen = read("malign5_F01_1_g1", "malign2_F01_2_g1")
    usable = {"malign2_F01_2_g1", "malign5_F01_1_g3"}
    with pytest.raises(StudyError, match="'malign5_F01_1_g1', and `samples` has none made from it"):
        compose("singan-1", chosen=chosen, usable=usable)
    assert compose("singan-1", "1", "3", chosen, usable=usable).sources == ("malign5_F01_1_g3",)


def test_a_fill_zoom_that_the_dataset_lacks_is_named():
    sources.check_fill_zooms(("same", "1+3"), RECORDS)
    fewer = [record for record in RECORDS if record.zoom_group != 3]
    with pytest.raises(StudyError, match=r"`fill_zooms`=1\+3: .* of zoom group 3; it has 1, 2"):
        sources.check_fill_zooms(("same", "1+3"), fewer)
