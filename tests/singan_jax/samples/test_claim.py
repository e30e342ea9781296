"""Folders of samples know whose they are, also after they were moved with their fleet."""

import pytest

from singan_jax.errors import InputError
from singan_jax.evaluate.sample_folder import find_workdir
from singan_jax.samples.sample_files import claim


def claimed(folder, **changes):
    (folder / "fleet").mkdir(parents=True, exist_ok=True)
    (folder / "fleet" / "fleet.json").write_text("{}")
    claim(folder / "samples", {"workdir": str(folder / "fleet"), "seed": 0, **changes})


def test_samples_go_on_where_they_and_their_fleet_were_moved(tmp_path):
    claimed(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    claimed(tmp_path / "after")
    assert (find_workdir(tmp_path / "after" / "samples") / "fleet.json").exists()
    (tmp_path / "after").rename(tmp_path / "again")
    assert (find_workdir(tmp_path / "again" / "samples") / "fleet.json").exists()


def test_samples_of_another_fleet_or_seed_are_refused(tmp_path):
    claimed(tmp_path)
    with pytest.raises(InputError, match=r"samples: holds other samples \(seed 0 there, 1 here\)"):
        claimed(tmp_path, seed=1)
    with pytest.raises(InputError, match=r"\(workdir .*/fleet there, .*/other here\)"):
        claimed(tmp_path, workdir=str(tmp_path / "other"))
