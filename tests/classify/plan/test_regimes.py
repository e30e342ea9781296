"""Which patches a classifier is trained on."""

import collections

import numpy as np
import patients
import pytest

from classify.cells import Cell, StudyError
from classify.plan import protocol, regimes
from classify.plan.protocol import LeakError, Partition
from data_pipeline import splits


@pytest.fixture(scope="module")
def records():
    return patients.dataset(benign=9, malign=5)


@pytest.fixture(scope="module")
def fold(records):
    outer, *_ = splits.cross_validation(records, 4, seed=1)
    others = [record for record in records if record.patient_id in outer.train]
    inner = splits.cross_validation(others, 3, seed=1)[0]
    return Partition(inner.train, inner.validation, outer.validation)


def compose(records, fold, regime, zoom="1", draw=0, ratio=1.0, usable=None, number=0):
    cell = Cell(regime, zoom, number, 0, draw)
    return regimes.training_set(cell, records, fold, ratio, 0, usable)


def counts(records, chosen):
    return collections.Counter(records[row].classification for row in chosen.real)


@pytest.mark.parametrize(
    ("text", "kind", "sources"),
    [
        ("none", "none", None),
        ("weighted", "weighted", None),
        ("oversample-3", "oversample", 3),
        ("singan-16", "singan", 16),
        ("singan-all", "singan", None),
    ],
)
def test_reads_a_regime(text, kind, sources):
    assert regimes.parse(text) == (kind, sources)


@pytest.mark.parametrize(
    "text", ["", "singan", "singan-0", "singan--1", "singan-1.5", "none-2", "gan-2", "Weighted"]
)
def test_refuses_what_is_no_regime(text):
    with pytest.raises(StudyError, match=r"write none, weighted, oversample-<k>"):
        regimes.parse(text)


def test_real_patches_are_those_of_training_patients_at_the_zoom(records, fold):
    chosen = compose(records, fold, "none", zoom="2")
    expected = [
        n for n, r in enumerate(records) if r.patient_id in fold.train and r.zoom_group in (0, 2)
    ]
    assert chosen.real.tolist() == expected
    assert chosen.synthetic == ()


@pytest.mark.parametrize("zoom", ["1", "1+2"])
@pytest.mark.parametrize("k", ["1", "2", "all"])
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_filling_up_reaches_the_benign_count_in_equal_shares(records, fold, zoom, k, ratio):
    plain = counts(records, compose(records, fold, "none", zoom))
    lacking = round(ratio * plain["Benign"]) - plain["Malign"]
    assert lacking > 0
    filled = compose(records, fold, f"singan-{k}", zoom, ratio=ratio)
    assert counts(records, filled) == plain
    assert len(filled.synthetic) == lacking
    assert len(filled.sources) == (plain["Malign"] if k == "all" else int(k))
    shares = collections.Counter(patch.source for patch in filled.synthetic)
    wanted = min(lacking, len(filled.sources))
    assert len(shares) == wanted
    assert max(shares.values()) - min(shares.values()) <= 1
    for source, share in shares.items():  # numbered from 0, so that few samples are drawn
        numbers = [patch.number for patch in filled.synthetic if patch.source == source]
        assert sorted(numbers) == list(range(share))
    copied = compose(records, fold, f"oversample-{k}", zoom, ratio=ratio)
    assert copied.sources == filled.sources
    added = counts(records, copied) - plain
    assert added == {"Malign": lacking}
    times = collections.Counter(copied.real.tolist())
    of_sources = {records[row].patch_id: n - 1 for row, n in times.items() if n > 1}
    assert of_sources == dict(shares)


def test_draws_differ_and_smaller_choices_are_inside_larger_ones(records, fold):
    draws = [compose(records, fold, "singan-2", "1+2", draw).sources for draw in range(6)]
    assert len(set(draws)) > 1
    for draw, two in enumerate(draws):
        three = compose(records, fold, "oversample-3", "1+2", draw).sources
        assert three[:2] == two


def test_only_regimes_that_choose_have_draws():
    assert [regimes.draws_of(r, 3) for r in ("none", "weighted", "singan-all", "singan-2")] == [
        *(1, 1, 1, 3)
    ]


def test_a_large_malignant_class_is_left_as_it_is(fold):
    records = patients.dataset(benign=4, malign=8)
    train = frozenset(record.patient_id for record in records)
    everyone = Partition(train, frozenset(), frozenset())
    chosen = compose(records, everyone, "singan-2")
    assert chosen.synthetic == ()
    assert (chosen.real == compose(records, everyone, "none").real).all()


def test_refuses_more_generators_than_sources(records, fold):
    there = counts(records, compose(records, fold, "none"))["Malign"]
    compose(records, fold, f"singan-{there}")
    with pytest.raises(
        StudyError, match=rf"singan-{there + 1}: asks for {there + 1} source images"
    ):
        compose(records, fold, f"singan-{there + 1}")


def test_sources_can_be_limited_to_those_with_samples(records, fold):
    possible = compose(records, fold, "singan-all").sources
    assert compose(records, fold, "singan-all", usable=possible[1:]).sources == tuple(
        source for source in possible[1:]
    )
    with pytest.raises(StudyError, match="0 malignant training patches"):
        compose(records, fold, "singan-1", usable=())


def test_sources_are_of_training_patients(records, fold):
    for draw in range(10):
        for patch in compose(records, fold, "singan-3", "1+2", draw).synthetic:
            assert patch.patient in fold.train
            assert patch.patient not in fold.validation | fold.test


@pytest.mark.parametrize("part", ["validation", "test"])
def test_refuses_a_sample_of_a_patient_who_is_not_for_training(records, fold, part):
    patient = min(getattr(fold, part))
    leak = regimes.Synthetic(f"{patient}_1_g1", patient, 0)
    with pytest.raises(LeakError, match=f"patient '{patient}' is not a training patient"):
        fold.check_sources([leak], Cell("singan-1", "1", 0, 0, 0))


def test_refuses_a_patient_in_two_parts():
    with pytest.raises(LeakError, match="patient 'a' is in two parts"):
        Partition(frozenset("ab"), frozenset("c"), frozenset("ad"))


def test_weights_make_classes_equally_frequent():
    labels = np.random.default_rng(0).integers(0, 3, 100)
    weights = regimes.class_weights(labels)
    sums = np.bincount(labels, weights)
    np.testing.assert_allclose(sums, sums[0])


def test_cross_validation_tests_every_patient_once(records):
    folds = protocol.partitions(records, "cross-validation", 4, 0, None, ("", ""))
    tested = collections.Counter(patient for fold in folds for patient in fold.test)
    assert tested == dict.fromkeys({record.patient_id for record in records}, 1)
    for fold in folds:
        assert len(fold.train | fold.validation | fold.test) == len(tested)
        ratio = len(fold.validation) / len(fold.train | fold.validation)
        assert abs(ratio - 1 / 3) < 0.1


@pytest.mark.parametrize(
    ("part", "zoom"), [("train", "2"), ("validation", "2"), ("test", "1"), ("test", "2")]
)
def test_names_the_class_that_a_fold_lacks(records, fold, part, zoom):
    protocol.check_classes(records, [fold], "three-class", ["1", "2"], ["1", "2"])
    patients_of = {r.patient_id for r in records if r.classification == "Malign"}
    kept = tuple(
        r
        for r in records
        if not (r.patient_id in getattr(fold, part) & patients_of and r.zoom_group == int(zoom))
    )
    name = {"train": "training"}.get(part, part)
    with pytest.raises(StudyError, match=f"fold 0: no patch of class Malign is in its {name} set"):
        protocol.check_classes(kept, [fold], "three-class", ["1", "2"], ["1", "2"])
    protocol.check_classes(kept, [fold], "binary", ["1", "2"], ["1", "2"])
