"""The protocols by name: who is tested, in what shares, and that folds do not depend on others."""

import collections

import numpy as np
import patients
import pytest

from classify.plan import protocol
from data_pipeline import builders, load, splits

RECORDS = patients.dataset(benign=25, malign=17, normal=13)
NAMES = {record.patient_id for record in RECORDS}
DATASET = ("bcdr_patches", "all_64")


def partitions(name, folds, seed=0):
    return protocol.partitions(RECORDS, name, folds, seed, None, DATASET)


@pytest.fixture
def prepared(monkeypatch):
    """As a dataset of these patches is prepared: a test set, and three folds of the others."""
    given = splits.paper_splits(RECORDS, builders.SPLIT_SEED)
    monkeypatch.setattr(load, "paper_splits", lambda *_: given)
    return given


def rounded(x):
    """To the nearest, halves up."""
    return int(x + 0.5)


@pytest.mark.parametrize("name", ["paper", "thesis"])
@pytest.mark.usefixtures("prepared")
def test_a_tenth_is_tested_and_three_in_ten_of_the_others_validate(name):
    for fold in partitions(name, 7, seed=4):
        assert fold.train | fold.validation | fold.test == NAMES
        assert len(fold.test) == rounded(0.1 * 55) == 6
        assert len(fold.validation) == rounded(0.3 * 49) == 15
        for kind, count in (("benign", 25), ("malign", 17), ("normal", 13)):
            tested = sum(patient.startswith(kind) for patient in fold.test)
            assert abs(tested - count * 6 / 55) < 1
            others = count - tested
            validated = sum(patient.startswith(kind) for patient in fold.validation)
            assert abs(validated - others * 15 / 49) < 1


def test_the_papers_test_patients_are_fixed_and_its_folds_those_of_the_dataset(prepared):
    folds = partitions("paper", 8)
    assert {fold.test for fold in folds} == {prepared.test}
    assert len({fold.validation for fold in folds}) == 8
    for fold, given in zip(folds, prepared.folds, strict=False):
        assert (fold.train, fold.validation) == (given.train, given.validation)
    assert folds == tuple(
        protocol.Partition(fold.train, fold.validation, prepared.test)
        for fold in splits.paper_splits(RECORDS, builders.SPLIT_SEED, 8).folds
    )
    assert partitions("paper", 2) == folds[:2]
    assert partitions("paper", 8, seed=5) == folds  # they depend on the dataset alone


def test_the_thesis_draws_test_patients_anew_for_each_fold():
    folds = partitions("thesis", 60)
    assert len({fold.test for fold in folds}) > 55
    assert partitions("thesis", 5) == folds[:5]
    assert partitions("thesis", 5, seed=1) != folds[:5]
    turns = collections.Counter(patient for fold in folds for patient in fold.test)
    assert len(turns) == 55  # each is tested in 6.5 of 60 folds, on average
    assert max(turns.values()) < 18


def test_every_protocol_is_described():
    assert set(protocol.MEANINGS) == {"paper", "thesis", "cross-validation"}


def with_copy(zoom):
    """Pixels of all records, the same for a lesion's patches of two patients; and their places."""
    pixels = list(patients.pixels(RECORDS))
    places = [n for n, r in enumerate(RECORDS) if r.zoom_group == zoom]
    one = places[0]
    other = next(n for n in places if RECORDS[n].patient_id != RECORDS[one].patient_id)
    pixels[other] = pixels[one].copy()
    return pixels, one, other


@pytest.mark.parametrize(
    ("zoom", "zooms", "refused"),
    [(1, ["1"], True), (1, ["2"], False), (2, ["1", "1+2"], True), (0, ["1"], True)],
)
def test_the_same_pixels_of_two_patients_are_a_leak(zoom, zooms, refused):
    pixels, one, other = with_copy(zoom)
    if not refused:
        protocol.check_duplicates(RECORDS, pixels, zooms)
        return
    with pytest.raises(protocol.LeakError, match="have the same pixels: a leak") as caught:
        protocol.check_duplicates(RECORDS, pixels, zooms)
    for place in (one, other):
        record = RECORDS[place]
        assert f"{record.patch_id!r} ({record.source}) of patient {record.patient_id!r}" in str(
            caught.value
        )
    assert str(caught.value).endswith("or set `allow_duplicates`")


def test_the_same_pixels_of_one_patient_or_of_nothing_are_none():
    pixels = list(patients.pixels(RECORDS))
    of_one = [n for n, r in enumerate(RECORDS) if r.patient_id == RECORDS[0].patient_id]
    for place in of_one:
        pixels[place] = pixels[0]
    others = [n for n in range(len(RECORDS)) if n not in of_one]
    for place in others[:9]:
        pixels[place] = np.full_like(pixels[place], 40)
    protocol.check_duplicates(RECORDS, pixels, ["1", "2"])
