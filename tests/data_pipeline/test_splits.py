"""Splits: no patient in two parts, the counts, the strata, and nothing but the seed matters."""

import collections
import random

import hypothesis
import hypothesis.strategies as st
import pytest
from make_record import record

from data_pipeline.errors import DataError
from data_pipeline.splits import (
    Fold,
    Splits,
    cross_validation,
    paper_splits,
    worst_classifications,
)

CLASSES = ("Normal", "Benign", "Malign")
patient_classes = st.lists(st.sampled_from(CLASSES), min_size=3, max_size=60)


def records_of(classes, repeats=1):
    """For each class a patient of it, `repeats` times."""
    return [
        record(f"{patient}_F01", number, classification=name)
        for patient, name in enumerate(classes)
        for number in range(repeats)
    ]


def parts_of(splits):
    """(test, train, validation) of each fold."""
    return [(splits.test, fold.train, fold.validation) for fold in splits.folds]


def rounded(x):
    return max(1, int(x + 0.5))


@hypothesis.given(patient_classes, st.integers(0, 2**32))
def test_no_patient_is_in_two_parts_and_none_is_lost(classes, seed):
    everyone = collections.Counter(f"{patient}_F01" for patient in range(len(classes)))
    found = parts_of(paper_splits(records_of(classes), seed))
    assert len(found) == 3
    for parts in found:
        assert sum(map(collections.Counter, parts), collections.Counter()) == everyone
        assert all(parts)
    assert len({test for test, _, _ in found}) == 1


@hypothesis.given(patient_classes, st.integers(0, 2**32))
def test_counts_are_10_percent_and_70_to_30(classes, seed):
    splits = paper_splits(records_of(classes), seed)
    n_test = rounded(len(classes) / 10)
    assert len(splits.test) == n_test
    for fold in splits.folds:
        assert len(fold.validation) == rounded(3 * (len(classes) - n_test) / 10)


@hypothesis.given(patient_classes, st.integers(0, 2**32))
def test_each_part_has_its_share_of_each_class(classes, seed):
    records = records_of(classes)
    worst = worst_classifications(records)
    for test, train, validation in parts_of(paper_splits(records, seed)):
        for part, whole in [(test, worst.keys()), (validation, train | validation)]:
            for name in CLASSES:
                share = sum(worst[p] == name for p in whole) * len(part) / len(whole)
                assert abs(sum(worst[p] == name for p in part) - share) < 1


@hypothesis.given(patient_classes, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_order_and_number_of_records_change_nothing(classes, seed, rng):
    records = records_of(classes, repeats=2)
    shuffled = rng.sample(records, len(records)) + rng.choices(records, k=5)
    assert paper_splits(shuffled, seed) == paper_splits(records_of(classes), seed)
    assert cross_validation(shuffled, 3, seed) == cross_validation(records_of(classes), 3, seed)


@hypothesis.given(patient_classes, st.integers(2, 10), st.integers(0, 2**32))
def test_cross_validation_validates_on_everyone_once(classes, k, seed):
    hypothesis.assume(k <= len(classes))
    records = records_of(classes)
    worst = worst_classifications(records)
    folds = cross_validation(records, k, seed)
    assert len(folds) == k
    assert sorted(p for fold in folds for p in fold.validation) == sorted(worst)
    for fold in folds:
        assert fold.train == worst.keys() - fold.validation
    for name in (*CLASSES, None):
        sizes = [sum(name in (None, worst[p]) for p in fold.validation) for fold in folds]
        assert max(sizes) - min(sizes) <= 1


def test_seeds_and_folds_differ_and_every_patient_gets_its_turn():
    records = records_of(random.Random(0).choices(CLASSES, k=40))
    drawn = [paper_splits(records, seed) for seed in range(200)]
    assert paper_splits(records, 7) == drawn[7]
    assert len({splits.test for splits in drawn}) > 150
    for splits in drawn[:20]:
        assert len({fold.validation for fold in splits.folds}) == 3
    # Each patient is in the test set with probability 0.1: 20 +- 4.2 of 200 seeds.
    turns = collections.Counter(patient for splits in drawn for patient in splits.test)
    assert len(turns) == 40
    assert 20 - 4.5 * 4.2 < min(turns.values()) < max(turns.values()) < 20 + 4.5 * 4.2


def test_the_split_of_a_seed_is_the_same_in_every_version():
    splits = paper_splits(records_of(["Normal", "Benign", "Malign"] * 4), seed=0)
    assert sorted(splits.test) == ["7_F01"]
    assert [sorted(fold.validation) for fold in splits.folds] == [
        ["10_F01", "11_F01", "6_F01"],
        ["11_F01", "1_F01", "6_F01"],
        ["0_F01", "1_F01", "5_F01"],
    ]


def test_worst_classification_of_a_patient_counts():
    records = [
        record("a", classification="Benign"),
        record("a", classification="Malign"),
        record("a", classification="Normal"),
        record("b", classification="Normal"),
        record("b", classification="Benign"),
        record("c", classification="Normal"),
    ]
    expected = {"a": "Malign", "b": "Benign", "c": "Normal"}
    assert worst_classifications(records) == expected
    assert worst_classifications(records[::-1]) == expected


def test_too_few_patients_are_refused():
    few = records_of(["Malign"] * 2, repeats=5)
    with pytest.raises(DataError, match="2 patients, 3 are needed for training, validation and"):
        paper_splits(few, 0)
    with pytest.raises(DataError, match="2 patients, 3 are needed for 3 folds; add"):
        cross_validation(few, 3, 0)
    with pytest.raises(DataError, match="1 folds; it needs 2"):
        cross_validation(few, 1, 0)
    with pytest.raises(DataError, match="0 patients"):
        paper_splits([], 0)


def test_a_leak_or_an_empty_part_cannot_be_made():
    a, b, c = frozenset("a"), frozenset("b"), frozenset("c")
    with pytest.raises(DataError, match="patient 'b' is in train and in validation: a leak"):
        Fold(a | b, b | c)
    with pytest.raises(DataError, match="no patient is in validation"):
        Fold(a, frozenset())
    with pytest.raises(DataError, match="patient 'a' is in test and in train: a leak"):
        Splits(a, (Fold(b, c), Fold(a, c)))
    with pytest.raises(DataError, match="no patient is in test"):
        Splits(frozenset(), (Fold(b, c),))
