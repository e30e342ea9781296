"""Synthetic patches: read with their patients, or not at all."""

import json

import numpy as np
import patients
import PIL.Image
import pytest

import singan_jax
from classify.cells import StudyError
from classify.plan import synthetic
from classify.plan.regimes import Synthetic

RECORDS = patients.dataset()
SOURCES = [r for r in RECORDS if r.classification == "Malign"][:2]


def write(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, index, changes in lines:
        file = f"{name}.{index}.png"
        PIL.Image.fromarray(pixels(name, index)[..., 0]).save(folder / file)
        patient = {r.patch_id: r.patient_id for r in RECORDS}.get(name)
        row = {"file": file, "member": name, "index": index, "patient": patient, **changes}
        rows.append({k: v for k, v in row.items() if v is not None})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / synthetic.MANIFEST).write_text(text)


def pixels(name, index):
    rng = np.random.default_rng([index, *name.encode()])
    return rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)


def test_reads_the_samples_asked_for_from_all_manifests(tmp_path):
    one, two = (source.patch_id for source in SOURCES)
    write(tmp_path / "4", [(one, n, {}) for n in range(4)])
    write(tmp_path / "1", [(two, 0, {})])
    found = synthetic.read(tmp_path, {one: 2, two: 1}, RECORDS, 8)
    assert set(found) == {(one, 0), (one, 1), (two, 0)}
    for (name, index), image in found.items():
        assert (image == pixels(name, index)).all()


def test_refuses_samples_without_patients(tmp_path):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {}), (name, 1, {"patient": None})])
    with pytest.raises(StudyError, match=rf"manifest.jsonl:2: '{name}' has no patient"):
        synthetic.read(tmp_path, {name: 1}, RECORDS, 8)


def test_refuses_samples_that_name_another_patient(tmp_path):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {"patient": RECORDS[0].patient_id})])
    with pytest.raises(StudyError, match=r"says that .* the dataset says"):
        synthetic.read(tmp_path, {name: 1}, RECORDS, 8)


def test_refuses_too_few_samples(tmp_path):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {})])
    with pytest.raises(
        StudyError, match=f"2 of 3 samples are missing, such as number 1 of '{name}'"
    ):
        synthetic.read(tmp_path, {name: 3}, RECORDS, 8)


@pytest.mark.parametrize("line", ["{", '"text"', '{"member": "a"}'])
def test_names_a_damaged_line(tmp_path, line):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {})])
    with (tmp_path / synthetic.MANIFEST).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(StudyError, match=r"manifest.jsonl:2: damaged"):
        synthetic.read(tmp_path, {name: 1}, RECORDS, 8)


def test_refuses_a_folder_without_samples(tmp_path):
    with pytest.raises(StudyError, match=r"no manifest.jsonl in it"):
        synthetic.read(tmp_path, {"a": 1}, RECORDS, 8)


def test_names_a_file_that_is_no_gray_png(tmp_path):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {})])
    (tmp_path / f"{name}.0.png").write_bytes(b"no picture")
    with pytest.raises(StudyError, match=rf"{name}.0.png: cannot be read"):
        synthetic.read(tmp_path, {name: 1}, RECORDS, 8)
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.0.png")
    with pytest.raises(StudyError, match="mode RGB, not 8-bit gray"):
        synthetic.read(tmp_path, {name: 1}, RECORDS, 8)


def test_resizes_samples_to_the_size_of_the_patches(tmp_path):
    name = SOURCES[0].patch_id
    write(tmp_path, [(name, 0, {})])
    (large,) = synthetic.read(tmp_path, {name: 1}, RECORDS, 16).values()
    assert large.shape == (16, 16, 1)
    means = large[..., 0].reshape(8, 2, 8, 2).mean((1, 3))
    assert np.corrcoef(means.ravel(), pixels(name, 0).ravel())[0, 1] > 0.95


def test_counts_the_samples_that_are_needed():
    patches = [Synthetic("b", "p", 0), Synthetic("a", "q", 4), Synthetic("b", "p", 2)]
    assert synthetic.needs(patches) == {"a": 5, "b": 3}


def test_names_a_patch_that_no_generator_can_be_trained_on():
    image = synthetic.to_image(SOURCES[0], np.full((24, 24, 1), 7, np.uint8), "set/patch")
    with pytest.raises(StudyError, match="set/patch: all pixels are equal"):
        synthetic.check_trainable([image], singan_jax.Config(min_size=12))


def test_an_image_carries_its_patient():
    source = SOURCES[0]
    image = synthetic.to_image(source, np.zeros((24, 24, 1), np.uint8), "set/patch")
    assert image.name == source.patch_id
    assert image.provenance["patient"] == source.patient_id
    assert image.provenance["classification"] == "Malign"
