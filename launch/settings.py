"""The flags of settings dataclasses: `--config.<name>` of SinGANs, `--<name>` of studies."""

import dataclasses
import inspect
import pathlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import yaml
from absl import flags

from data_pipeline.errors import DataError
from data_pipeline.files import tables
from launch import path_flags
from singan_jax.config import PRESETS, Config, preset, validate
from singan_jax.errors import InputError

flags.disclaim_key_flags()  # the flags count as the launcher's, so that its --help shows them

_DEFINE: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    str: flags.DEFINE_string,
    tuple[str, ...]: flags.DEFINE_list,
}


def _descriptions(settings: type) -> dict[str, str]:
    """Each setting's line in the docstring of its dataclass."""
    text = inspect.cleandoc(settings.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.split(r"^  (\w+): ", text, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(words.split())
        for name, words in zip(entries[::2], entries[1::2], strict=True)
    }


def define(settings: type, prefix: str = "", leave_out: Collection[str] = ()) -> None:
    """Defines a flag `--<prefix><name>` for each field of a dataclass, except those left out."""
    descriptions = _descriptions(settings)
    for field in dataclasses.fields(settings):
        if field.name not in leave_out:
            text = descriptions[field.name]
            if settings is not Config:  # whose defaults the preset decides
                text += f" Default: {_shown(field.default)}."
            if field.metadata.get("is_path"):
                path_flags.DEFINE_path(f"{prefix}{field.name}", None, text, unsets=True)
            else:
                _DEFINE[field.type](f"{prefix}{field.name}", None, text)


def _shown(default: Any) -> str:
    return (",".join(default) if isinstance(default, tuple) else str(default)) or "none"


def from_flags(settings: type, prefix: str = "") -> dict[str, Any]:
    """The fields that flags name."""
    names = [field.name for field in dataclasses.fields(settings)]
    values = {
        name: flags.FLAGS[f"{prefix}{name}"].value for name in names if prefix + name in flags.FLAGS
    }
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def define_config(default: str = "singan") -> None:
    """Defines `--config` and the flags of a `singan_jax.Config`; call it at the top of a launcher.

    Args:
      default: name of the preset where `--config` is not given.
    """
    first_lines = {name: (make.__doc__ or "").splitlines()[0] for name, make in PRESETS.items()}
    presets = " ".join(f"{name}: {line}" for name, line in first_lines.items())
    flags.DEFINE_enum("config", default, list(PRESETS), f"preset. {presets}")
    define(Config, "config.")


def config_from_flags(stated: Mapping[str, Any] | None = None) -> Config:
    """The preset, with the settings that a file states and those that flags name.

    Args:
      stated: settings of a file, and `preset`; flags override them.

    Raises:
      ConfigError: a setting is out of its range.
    """
    values = dict(stated or {})
    name = values.pop("preset", flags.FLAGS["config"].value)
    config = preset(str(flags.FLAGS["config"].value if flags.FLAGS["config"].present else name))
    return validate(dataclasses.replace(config, **{**values, **from_flags(Config, "config.")}))


def read_yaml(path: pathlib.Path, known: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """Reads a file of settings.

    Args:
      path: of a YAML file.
      known: the sections that it may have, and the dataclass of each.

    Returns:
      The fields that the file gives, by section.

    Raises:
      InputError: the file is not there or no YAML, or has a section or setting that does not
        exist or a value of another type.
    """
    try:
        content = yaml.safe_load(tables.read_text(path))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({error}); see --help") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: has no sections; it may have {', '.join(known)}")
    for section, values in content.items():
        if section not in known or not isinstance(values, dict):
            raise InputError(
                f"{path}: {section!r} is no section of settings; there are {', '.join(known)}"
            )
    return {
        section: _checked(f"{path}: {section}", content.get(section, {}), settings)
        for section, settings in known.items()
    }


def _checked(place: str, values: dict[str, Any], settings: type) -> dict[str, Any]:
    types: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(settings)}
    paths = {field.name for field in dataclasses.fields(settings) if field.metadata.get("is_path")}
    if settings is Config:
        types["preset"] = str
    checked = {}
    for name, value in values.items():
        if name not in types:
            raise InputError(f"{place}.{name}: no such setting; there are {', '.join(types)}")
        wanted = types[name]
        if wanted == tuple[str, ...] and isinstance(value, list):
            value = tuple(map(str, value))
        elif wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif type(value) is not wanted:
            words = "a list" if wanted == tuple[str, ...] else f"of type {wanted.__name__}"
            raise InputError(f"{place}.{name}: {value!r} must be {words}")
        checked[name] = _local(f"{place}.{name}", value) if name in paths and value else value
    return checked


def _local(place: str, text: str) -> str:
    try:
        return path_flags.local(text)
    except DataError as error:
        raise InputError(f"{place}: {error}") from error
