"""How command lines spell what the libraries name."""

import pytest

from launch import cli


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lower `config.min_size`", "lower --config.min_size"),
        ("`num_samples`=0: must be", "--num_samples=0: must be"),
        ("run `build_dataset` `source`=mias", "run python -m launch.build_dataset --source=mias"),
        ("with `merge`, or choose another `workdir`", None),
        ("a file called `Odd name`.png", "a file called `Odd name`.png"),
        ("nothing to spell -- here", "nothing to spell -- here"),
    ],
)
def test_settings_become_flags_and_functions_commands(text, expected):
    merged = "with python -m launch.merge, or choose another --workdir"
    assert cli.spelled(text) == (expected or merged)


def test_complaints_are_one_line(capsys):
    cli.complain("one `seed`\n  and  another")
    assert capsys.readouterr().err == "one --seed and another\n"
