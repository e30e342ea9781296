"""The flags of a `singan_jax.Config`: `--config=<preset>` and `--config.<name>=<value>`."""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

from absl import flags

from singan_jax.config import PRESETS, Config, preset, validate

flags.disclaim_key_flags()  # the flags count as the launcher's, so that its --help shows them

_DEFINE: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
}


def _descriptions() -> dict[str, str]:
    """Each setting's line in the docstring of `Config`."""
    text = inspect.cleandoc(Config.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.split(r"^  (\w+): ", text, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(words.split())
        for name, words in zip(entries[::2], entries[1::2], strict=True)
    }


def define_config(default: str = "singan") -> None:
    """Defines the flags; call it once, at the top of a launcher.

    Args:
      default: name of the preset where `--config` is not given.
    """
    first_lines = {name: (make.__doc__ or "").splitlines()[0] for name, make in PRESETS.items()}
    presets = " ".join(f"{name}: {line}" for name, line in first_lines.items())
    flags.DEFINE_enum("config", default, list(PRESETS), f"preset. {presets}")
    descriptions = _descriptions()
    for field in dataclasses.fields(Config):
        _DEFINE[field.type](f"config.{field.name}", None, descriptions[field.name])


def chosen() -> Config:
    """The preset, with the settings that flags name in place of its own.

    Raises:
      ConfigError: a setting is out of its range.
    """
    given = {f.name: flags.FLAGS[f"config.{f.name}"].value for f in dataclasses.fields(Config)}
    config = preset(str(flags.FLAGS["config"].value))
    return validate(
        dataclasses.replace(config, **{n: value for n, value in given.items() if value is not None})
    )
