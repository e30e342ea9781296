"""Files of settings."""

import pytest

import singan_jax
from classify.cells import StudyError
from classify.plan.config import StudyConfig, validate
from launch import settings

SECTIONS = {"study": StudyConfig, "singan": singan_jax.Config}


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_reads_sections(tmp_path):
    path = write(
        tmp_path,
        """
study:
  regimes: [weighted, singan-2]
  train_zooms: [1, "1+2"]
  lr: 1
  seeds: 2
singan: {preset: quick, lr_g: 0.001}
""",
    )
    assert settings.read_yaml(path, SECTIONS) == {
        "study": {
            "regimes": ("weighted", "singan-2"),
            "train_zooms": ("1", "1+2"),
            "lr": 1.0,
            "seeds": 2,
        },
        "singan": {"preset": "quick", "lr_g": 0.001},
    }


def test_a_stretch_is_read_as_it_is_written(tmp_path):
    path = write(tmp_path, "singan: {preset: quick, stretch: 572x380, pyramid_rule: training}")
    found = settings.read_yaml(path, SECTIONS)["singan"]
    assert found == {"preset": "quick", "stretch": "572x380", "pyramid_rule": "training"}
    config = singan_jax.Config(stretch=found["stretch"])
    assert config.stretch_size == (380, 572)


def test_a_section_may_be_left_out(tmp_path):
    path = write(tmp_path, "study: {seeds: 1}")
    assert settings.read_yaml(path, SECTIONS)["singan"] == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("study: [", r"cannot be read as YAML"),
        ("", r"has no sections; it may have study, singan"),
        ("seeds: 3", r"'seeds' is no section of settings; there are study, singan"),
        ("study: 3", r"'study' is no section"),
        ("study: {sedes: 3}", r"study.sedes: no such setting; there are dataset, "),
        ("study: {seeds: many}", r"study.seeds: 'many' must be of type int"),
        ("study: {seeds: true}", r"study.seeds: True must be of type int"),
        ("study: {lr: '1'}", r"study.lr: '1' must be of type float"),
        ("study: {regimes: none}", r"study.regimes: 'none' must be a list"),
        ("singan: {preset: 3}", r"singan.preset: 3 must be of type str"),
    ],
)
def test_names_what_is_wrong(tmp_path, text, problem):
    path = write(tmp_path, text)
    with pytest.raises(singan_jax.InputError, match=problem) as caught:
        settings.read_yaml(path, SECTIONS)
    assert str(path) in str(caught.value)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(singan_jax.InputError, match=r"gone.yaml: cannot be read"):
        settings.read_yaml(tmp_path / "gone.yaml", SECTIONS)


def test_every_setting_is_described():
    for section in SECTIONS.values():
        descriptions = settings._descriptions(section)
        assert all(descriptions[name] for name in section.__dataclass_fields__)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "four-class"}, "`task`=four-class: choose one of binary, three-class"),
        ({"train": "tail"}, "`train`=tail: choose one of head, last_stage, all"),
        ({"protocol": "x"}, "`protocol`=x: choose one of paper, thesis, cross-validation"),
        ({"dataset": "x"}, "`dataset`=x: choose one of bcdr_patches, mias_patches"),
        ({"seeds": 0}, "`seeds`=0: must be at least 1"),
        ({"folds": 1, "protocol": "cross-validation"}, "`folds`=1: must be at least 2"),
        ({"folds": -1}, "`folds`=-1: must be at least 0"),
        ({"fill_zooms": ()}, "`fill_zooms`=: name at least one, each once"),
        ({"fill_zooms": ("1", "4")}, "zoom '4': write 1, 2 or 3"),
        ({"train_zooms": ("same",), "fill_zooms": ("same",)}, "zoom 'same': write 1, 2 or 3"),
        ({"sources": ("a", "a")}, "`sources`=a,a: name at least one, each once"),
        ({"sources": ("a", "b"), "draws": 2}, "`draws`=2: `sources` lists patches"),
        ({"lr": 0.0}, "`lr`=0.0: must be above 0"),
        ({"lr": float("nan")}, "`lr`=nan: must be above 0"),
        ({"regimes": ()}, "`regimes`=: name at least one, each once"),
        ({"regimes": ("weighted", "weighted")}, "`regimes`=weighted,weighted: name at least one"),
        ({"regimes": ("none",)}, "`baseline`=weighted: must be one of the regimes, none"),
        ({"regimes": ("weighted", "gan-1")}, "regime 'gan-1': write none"),
        ({"train_zooms": ("4",)}, "zoom '4': write 1, 2 or 3"),
        ({"test_zooms": ("1+1",)}, r"zoom '1\+1': write 1, 2 or 3"),
        ({"regimes": ("weighted", "ensemble:singan-1")}, "singan-1"),
        (
            {"regimes": ("weighted", "ensemble:weighted"), "protocol": "cross-validation"},
            "ensemble:weighted",
        ),
    ],
)
def test_names_the_setting_of_a_study_that_cannot_work(changes, problem):
    with pytest.raises(StudyError, match=problem):
        validate(StudyConfig(**changes))


def test_the_defaults_work():
    config = StudyConfig()
    assert validate(config) is config
