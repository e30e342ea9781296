"""Flags that name files and folders: each launcher reads them alike, and refuses what is none.

`~` is a home folder and a file:// address its path; an address of another machine (gs://, s3://,
https://) is refused while flags are parsed, before anything is read, trained or written. Among
images to read it is one that cannot be used, and keeps no good one from its work.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from data_pipeline.files import places

flags.disclaim_key_flags()  # the flags count as the launcher's, so that its --help shows them


def local(text: str) -> str:
    """A path as it is written, but for what `places.local` replaces.

    Work folders record such texts and compare them with a later command's.

    Raises:
      DataError: see `places.local`.
    """
    path = places.local(text)
    return text if path == pathlib.Path(text) else os.fspath(path)


class Parser(flags.ArgumentParser[str]):
    """Reads paths, and patterns of them, which may be queries of datasets too."""

    syntactic_help = "a path; ~ is a home folder"

    def parse(self, argument: str) -> str:
        """The path that a text means; raises `ValueError`, which absl completes by the flag."""
        try:
            return local(argument)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{argument}: ")) from error

    def flag_type(self) -> str:
        """What --helpxml calls such flags."""
        return "path"


class _PatternParser(Parser):
    """Leaves what is no path to whoever reads the files, who refuses it beside those that are."""

    def parse(self, argument: str) -> str:
        try:
            return super().parse(argument)
        except ValueError:
            return argument


class _OptionalParser(Parser):
    """Takes an empty text too, for settings that it unsets."""

    def parse(self, argument: str) -> str:
        return super().parse(argument) if argument else argument


def DEFINE_path(
    name: str, default: str | None, help: str, *, required: bool = False, unsets: bool = False
) -> flags.FlagHolder[Any]:
    """Defines a flag of one file or folder; its value is text.

    Args:
      name: of the flag.
      default: its value where it is not given.
      help: what it is.
      required: whether it must be given.
      unsets: whether an empty text is a value, rather than refused.
    """
    parser = _OptionalParser() if unsets else Parser()
    return flags.DEFINE(parser, name, default, help, required=required)


def DEFINE_multi_path(
    name: str,
    default: Sequence[str] | None,
    help: str,
    *,
    required: bool = False,
    images: bool = False,
) -> flags.FlagHolder[Any]:
    """Defines a flag of files, folders, globs or queries, which may be repeated.

    Its texts are not split at commas, which the names of files and queries may hold.

    Args:
      name: of the flag.
      default: its value where it is not given.
      help: what it is.
      required: whether it must be given.
      images: whether it names images, of which those that cannot be used keep no good one back.
    """
    parser = _PatternParser() if images else Parser()
    return flags.DEFINE_multi(
        parser, flags.ArgumentSerializer(), name, default, help, required=required
    )


def DEFINE_training_images() -> tuple[flags.FlagHolder[Any], flags.FlagHolder[Any]]:
    """Defines `--images` and `--data_dir` of commands that look at what a fleet was trained on."""
    images = DEFINE_multi_path(
        "images",
        None,
        "training images, as for train_fleet: file, folder, (quoted) glob, or query; may be "
        "repeated; where they were in training if unset",
        images=True,
    )
    data_dir = DEFINE_path(
        "data_dir", None, "folder of the datasets, for queries; where it was in training if unset"
    )
    return images, data_dir
