"""The TFDS builders: exact counts, round trips, splits by patient, resuming, without TensorFlow."""

import collections
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
import tifffile
import tiny_bcdr
from make_record import record

from data_pipeline import (
    bcdr,
    bcdr_patches,
    builders,
    examples,
    mias_patches,
    patch_records,
    phantom,
    splits,
    thesis_patches,
)
from data_pipeline.errors import DataError
from data_pipeline.mammograms import CLASSIFICATIONS
from data_pipeline.patches import PatchSettings

SIZE = 16
ZOOMS = {"g1_16": (0, 1), "g2_16": (0, 2), "g3_16": (0, 3), "all_16": (0, 1, 2, 3)}


def prepare(root, data_dir, builder=bcdr_patches.Builder, size=SIZE, workers=1):
    return builders.prepare(builder, root, data_dir, size, workers=workers, progress=False)


def packed(data_dir, name="bcdr_patches"):
    """{path below data_dir: content} of the datasets, but for what holds times."""
    return {
        path.relative_to(data_dir).as_posix(): path.read_bytes()
        for path in (data_dir / name).rglob("*")
        if path.is_file() and path.name != "dataset_info.json"
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tiny_bcdr.write(tmp_path_factory.mktemp("raw") / "bcdr")


@pytest.fixture(scope="module")
def data_dir(raw, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    prepare(raw, data_dir)
    return data_dir


@pytest.fixture(scope="module")
def extracted(data_dir):
    """The folder of the patches, and their records."""
    folder = data_dir / "extracted/bcdr_patches_16"
    return folder, patch_records.read_metadata(folder)


def examples_of(data_dir, config, split):
    return list(tfds.data_source(f"bcdr_patches/{config}", split=split, data_dir=data_dir))


@pytest.mark.parametrize(
    ("name", "zooms", "size"),
    [
        ("g1", (1,), 224),
        ("g2", (2,), 224),
        ("all", (1, 2, 3), 224),
        ("g1_64", (1,), 64),
        ("g3_native", (3,), None),
        ("all_1000", (1, 2, 3), 1000),
    ],
)
def test_names_of_configs(name, zooms, size):
    config = builders.config_named(name)
    assert (config.name, config.zooms, config.size) == (name, zooms, size)
    assert name in builders.config_names(size)
    assert bcdr_patches.Builder(config=name, data_dir="none").builder_config is config


@pytest.mark.parametrize("name", ["g4", "g1_224", "g1_0", "g1_064", "g1_", "g1_10000", "", "g1_a"])
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match=r"there is no config .*g1_64"):
        builders.config_named(name)


def test_the_four_configs_are_listed():
    assert list(bcdr_patches.Builder.builder_configs) == ["g1", "g2", "g3", "all"]


@pytest.mark.parametrize("config", ZOOMS)
def test_counts_are_exact(raw, data_dir, config):
    found = collections.Counter()
    for split in ("train", "test"):
        for example in examples_of(data_dir, config, split):
            name = CLASSIFICATIONS[example["classification"]]
            found[example["dataset"].decode(), int(example["zoom_group"]), name] += 1
    wanted = tiny_bcdr.counted(raw)
    assert found == {key: n for key, n in wanted.items() if key[1] in ZOOMS[config]}
    assert {key[0] for key in found} == set(tiny_bcdr.SETS)
    info = tfds.builder(f"bcdr_patches/{config}", data_dir=data_dir).info
    assert sum(split.num_examples for split in info.splits.values()) == found.total()
    stated = collections.Counter()
    for part in info.metadata["patches"].values():
        stated.update(part)
    for name in CLASSIFICATIONS:
        assert stated[name] == sum(n for key, n in found.items() if key[2] == name)


@pytest.mark.parametrize("config", ZOOMS)
def test_examples_are_the_patches_and_their_records(data_dir, extracted, config):
    folder, records = extracted
    wanted = {r.patch_id: r for r in records if r.zoom_group in ZOOMS[config]}
    found = examples_of(data_dir, config, "all")
    assert len(found) == len(wanted)
    for example in found:
        assert examples.to_record(example) == wanted[example["patch_id"].decode()]
        with PIL.Image.open(folder / example["file_name"].decode()) as png:
            pixels = np.array(png)
        assert example["image"].dtype == np.uint8
        np.testing.assert_array_equal(example["image"], pixels[..., None])
        assert example["image"].shape == (SIZE, SIZE, 1)


def test_no_patient_is_in_two_splits(data_dir, extracted):
    patients = {r.patient_id for r in extracted[1]}
    for config in ZOOMS:
        train, test = (
            {example["patient_id"].decode() for example in examples_of(data_dir, config, split)}
            for split in ("train", "test")
        )
        assert train
        assert not train & test
        assert train | test == patients
        assert len(test) == int(0.1 * len(patients) + 0.5)
        stated = tfds.builder(f"bcdr_patches/{config}", data_dir=data_dir).info.metadata
        assert stated["patients"] == {"train": sorted(train), "test": sorted(test)}
        assert len(stated["folds"]) == 3
        for fold in stated["folds"]:
            assert not set(fold["train"]) & set(fold["validation"])
            assert {*fold["train"], *fold["validation"]} == train
            assert len(fold["validation"]) == int(0.3 * len(train) + 0.5)


def test_splits_are_the_same_for_all_configs_sizes_and_orders(raw, data_dir, extracted, tmp_path):
    prepare(raw, tmp_path, size=None)
    drawn = splits.paper_splits(extracted[1][::-1], seed=builders.SPLIT_SEED)
    for folder, config in [*((data_dir, name) for name in ZOOMS), (tmp_path, "g2_native")]:
        stated = tfds.builder(f"bcdr_patches/{config}", data_dir=folder).info.metadata
        assert set(stated["patients"]["test"]) == drawn.test
        assert [set(fold["train"]) for fold in stated["folds"]] == [f.train for f in drawn.folds]


def test_native_patches_are_as_large_as_their_boxes(raw, tmp_path):
    prepare(raw, tmp_path, size=None)
    found = examples_of(tmp_path, "all_native", "all")
    assert len(found) == sum(tiny_bcdr.counted(raw).values())
    for example in found:
        left, top, right, bottom = example["box"]
        assert example["image"].shape == (bottom - top, right - left, 1)


def test_synthetic_data_are_labelled(data_dir, raw, tmp_path):
    stated = bcdr_patches.Builder(data_dir=data_dir, config="g1_16").info.metadata
    assert stated["synthetic"] is True
    assert stated["notice"].startswith("SYNTHETIC")
    assert all(example["synthetic"] for example in examples_of(data_dir, "g1_16", "test"))
    copy = shutil.copytree(raw, tmp_path / "raw")
    (copy / "SYNTHETIC.txt").unlink()
    prepare(copy, tmp_path / "data")
    stated = bcdr_patches.Builder(data_dir=tmp_path / "data", config="g1_16").info.metadata
    assert (stated["synthetic"], stated["notice"]) == (False, "")
    assert not any(e["synthetic"] for e in examples_of(tmp_path / "data", "g1_16", "all"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"age": None},
        {"density": None},
        {"age": 61.3, "density": 4},
        {"classification": "Normal"},
        {"findings": ("calcification", "nodule"), "synthetic": False},
        {"view": "CC", "laterality": "L", "format": "Digital", "zoom_group": 3},
    ],
)
def test_records_come_back_from_examples(changes):
    before = record(**changes)
    encoded = examples.from_record(before)
    features = tfds.features.FeaturesDict(examples.features())
    stored = features.serialize_example({name: encoded[name] for name in features})
    assert examples.to_record(features.deserialize_example_np(stored)) == before
    if before.age is None:
        assert np.isnan(encoded["age"])
    if before.density is None:
        assert encoded["density"] == -1


def test_windows_of_films_are_as_small_as_the_phantom_says(raw, tmp_path):
    assert phantom.film_scale(raw) == tiny_bcdr.SETTINGS.film_scale
    assert phantom.film_scale(tmp_path) == 1.0
    (tmp_path / "SYNTHETIC.txt").write_text("drawn by something else")
    with pytest.raises(DataError, match=r"SYNTHETIC\.txt: has no film_scale; write the phantom"):
        phantom.film_scale(tmp_path)


def test_workers_change_nothing(raw, data_dir, tmp_path):
    prepare(raw, tmp_path, workers=2)
    assert packed(tmp_path) == packed(data_dir)


def test_a_second_run_leaves_all_as_it_is(raw, tmp_path):
    prepare(raw, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "bcdr_patches").rglob("*")}
    result = prepare(raw, tmp_path)
    assert result.reused == len(bcdr.read(raw).mammograms)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "bcdr_patches").rglob("*")}
    assert after == before


def test_packing_that_was_cut_short_goes_on(raw, data_dir, tmp_path, monkeypatch):
    generate = bcdr_patches.Builder._generate_examples

    def stop(self, folder, records):
        for number, item in enumerate(generate(self, folder, records)):
            if self.builder_config.name == "g2_16" and number == 5:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(bcdr_patches.Builder, "_generate_examples", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path)
    assert (tmp_path / "bcdr_patches/g1_16/1.0.0").exists()
    assert not (tmp_path / "bcdr_patches/g2_16/1.0.0").exists()
    monkeypatch.undo()
    (tmp_path / "bcdr_patches/g1_16/1.0.0/metadata.json").write_text("{}")  # damaged since
    killed = tmp_path / "bcdr_patches/g2_16/incomplete.ABCDEF_1.0.0"
    killed.mkdir()
    (killed / "half").write_text("of a run that was killed")
    strays = [killed.with_name(name) for name in ("incomplete.txt", ".DS_Store")]
    strays += [tmp_path / "extracted/bcdr_patches_16/patches/Thumbs.db"]
    strays += [killed.with_name("incomplete.ABCDEF_notes") / "x"]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.write_text("stray")
    prepare(raw, tmp_path)
    ours = {name: data for name, data in packed(tmp_path).items() if data != b"stray"}
    assert ours == packed(data_dir)
    assert not killed.exists()
    assert all(path.exists() for path in strays)


def test_what_changed_is_packed_anew(raw, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "raw")
    data_dir = tmp_path / "data"
    prepare(copy, data_dir)
    file = tiny_bcdr.image(copy, "DN01", tiny_bcdr.rows(copy, "DN01", "img")[0])
    image_id = f"DN01_{file.stem}".encode()
    before = [e for e in examples_of(data_dir, "g3_16", "all") if e["image_id"] == image_id]
    tifffile.imwrite(file, 255 - tifffile.imread(file))
    prepare(copy, data_dir)
    after = [e for e in examples_of(data_dir, "g3_16", "all") if e["image_id"] == image_id]
    assert before
    assert {e["pixels_sha256"] for e in before}.isdisjoint(e["pixels_sha256"] for e in after)


def test_another_source_is_refused_and_nothing_is_lost(raw, tmp_path):
    prepare(raw, tmp_path)
    before = packed(tmp_path)
    other = shutil.copytree(raw, tmp_path / "other")
    shutil.rmtree(other / "BCDR-F02_dataset")
    with pytest.raises(DataError, match="holds patches of another source") as caught:
        prepare(other, tmp_path)
    assert str(tmp_path / "extracted/bcdr_patches_16") in str(caught.value)
    assert packed(tmp_path) == before


def test_tfds_itself_builds_from_manual_dir(raw, data_dir, tmp_path):
    config = tfds.download.DownloadConfig(manual_dir=raw)
    source = tfds.data_source(
        "bcdr_patches/g1_16",
        split="train",
        data_dir=tmp_path,
        download_and_prepare_kwargs={"download_config": config},
    )
    wanted = examples_of(data_dir, "g1_16", "train")
    assert [e["patch_id"] for e in source] == [e["patch_id"] for e in wanted]
    random_access = source[3]["patch_id"], source[0]["patch_id"]
    assert random_access == (wanted[3]["patch_id"], wanted[0]["patch_id"])


def test_without_manual_dir_tfds_says_how_to_get_it(tmp_path):
    builder = mias_patches.Builder(data_dir=tmp_path, config="g1")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "none")
    with pytest.raises(AssertionError, match=r"all-mias\.tar\.gz"):
        builder.download_and_prepare(download_config=config)


def test_a_patch_that_is_gone_is_named(raw, tmp_path):
    builder = bcdr_patches.Builder
    result = builder.extract(raw, tmp_path, PatchSettings(size=SIZE), workers=1, progress=False)
    name = result.records[3].file_name
    (tmp_path / "extracted/bcdr_patches_16" / name).unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file") as caught:
        prepare(raw, tmp_path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mias(tmp_path):
    """Three pairs of films; a window starts every 179 pixels, and three by two are all breast."""
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        "mdb001 F NORM",
        "mdb002 F CIRC B 500 600 30",
        "mdb003 G NORM",
        "mdb004 G SPIC M 300 400 20",
        "mdb005 D NORM",
        "mdb006 D CALC M *NOTE 3*",
    ]
    (raw / "Info.txt").write_text("\n".join(rows) + "\n")
    for number in range(1, 7):
        pixels = np.zeros((1024, 1024), np.uint8)
        pixels[: 224 + 2 * 179, : 224 + 179] = 90 + number
        (raw / f"mdb{number:03d}.pgm").write_bytes(b"P5\n1024 1024\n255\n" + pixels.tobytes())
    result = prepare(raw, tmp_path / "data", mias_patches.Builder)
    assert [skip.where for skip in result.skips] == ["mdb006"]
    source = tfds.data_source("mias_patches/all_16", split="all", data_dir=tmp_path / "data")
    found = collections.Counter(
        (e["image_id"].decode(), CLASSIFICATIONS[e["classification"]]) for e in source
    )
    healthy = {(name, "Normal"): 3 * 2 for name in ("mdb001", "mdb003", "mdb005")}
    assert found == {**healthy, ("mdb002", "Benign"): 3, ("mdb004", "Malign"): 3}
    assert all(np.isnan(e["age"]) for e in source)
    assert {e["density"] for e in source if e["image_id"] == b"mdb005"} == {3}
    stated = tfds.builder("mias_patches/g1_16", data_dir=tmp_path / "data").info.metadata
    assert stated["synthetic"] is False
    assert [len(stated["patients"][split]) for split in ("train", "test")] == [2, 1]


def test_too_few_patients_are_refused(raw, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "raw")
    for name in ("F02", "F03", "D01", "D02", "DN01"):
        shutil.rmtree(copy / f"BCDR-{name}_dataset")
    with pytest.raises(DataError, match="2 patients, 3 are needed"):
        prepare(copy, tmp_path / "data")


@pytest.mark.parametrize(
    "builder", [bcdr_patches.Builder, mias_patches.Builder, thesis_patches.Builder]
)
def test_the_folder_is_as_tfds_wants_it(builder, tmp_path):
    module = pathlib.Path(__import__(builder.__module__, fromlist=["x"]).__file__)
    assert module.name == f"{builder.name}_dataset_builder.py"
    files = {path.name for path in module.parent.iterdir() if path.is_file()}
    assert {"__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"} <= files
    info = builder(data_dir=tmp_path, config="g1").info
    assert "by patient" in info.description
    assert info.citation.startswith("@")
    tags = builder.get_metadata().tags
    assert tags
    assert set(tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert builder.url_infos == {}
