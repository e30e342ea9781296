"""Queries: a line of text that selects patches of a dataset.

    bcdr_patches/g1:train
    bcdr_patches/g1:train[classification=Malign,Format=Film]
    bcdr_patches/all:test[classification=Benign|Malign,density=3|4,nodule=true]

The grammar, in which blanks are allowed around fields and values:

    query      = dataset "/" config ":" split [ "[" condition { "," condition } "]" ]
    condition  = field "=" value { "|" value }

A patch is selected when it meets every condition, and it meets a condition when its field has one
of the values. Fields are those of a line of `metadata.jsonl`, except the box, spelled as there.
Numbers are written in their shortest form (61.5, 3), truth as true and false, a missing value as
none; one of a patch's findings must be among the values. A value that no patch has is an error,
not an empty result, since it is usually a slip.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.patch_records import PatchRecord

EXAMPLE = "bcdr_patches/g1:train[classification=Malign,Format=Film]"
_SHOWN = 12  # values that an error lists


@dataclasses.dataclass(frozen=True)
class Query:
    """What a query says.

    Attributes:
      dataset: name of a TFDS dataset, such as "bcdr_patches".
      config: of its builder, such as "g1".
      split: such as "train".
      conditions: (field, values) pairs, each field at most once.
    """

    dataset: str
    config: str
    split: str
    conditions: tuple[tuple[str, tuple[str, ...]], ...] = ()


def is_query(text: str) -> bool:
    """Whether a text is meant as a query, rather than as a file, a folder or a glob.

    It is when it starts as `dataset/config:`, and there is no such file.
    """
    return re.match(r"\w+/\w+:", text) is not None and not os.path.lexists(text)


def parse(text: str) -> Query:
    """Reads a query.

    Args:
      text: see the module's docstring.

    Returns:
      The query; whether its fields and values exist is for `select` to say.

    Raises:
      DataError: the text does not follow the grammar.
    """
    found = re.fullmatch(r"(\w+)/(\w+):(\w+)\s*(?:\[([^\[\]]*)\])?", text.strip())
    if not found:
        raise DataError(
            f"{text!r} is no query: dataset/config:split[field=value|value,...], such as {EXAMPLE}"
        )
    dataset, config, split, inside = found.groups()
    conditions: dict[str, tuple[str, ...]] = {}
    for part in [] if inside is None else inside.split(","):
        field, _, values = (piece.strip() for piece in part.partition("="))
        alternatives = tuple(value.strip() for value in values.split("|"))
        if not field or not all(alternatives):
            raise DataError(
                f"{text!r}: {part.strip()!r} is no condition; write field=value or "
                f"field=value|value, such as {EXAMPLE}"
            )
        if field in conditions:
            raise DataError(f"{text!r}: two conditions on {field}; write {field}=value|value")
        conditions[field] = alternatives
    return Query(dataset, config, split, tuple(conditions.items()))


def select(records: Sequence[PatchRecord], query: Query) -> tuple[PatchRecord, ...]:
    """The patches that meet all conditions of a query.

    Args:
      records: of the query's dataset, config and split.
      query: its conditions matter here.

    Returns:
      The records in their order, at least one.

    Raises:
      DataError: a field that does not exist, a value that no record has (the known ones are
        listed), or no record that meets all conditions.
    """
    rows = [record.to_json() for record in records]
    place = f"{query.dataset}/{query.config}:{query.split}"
    if not rows:
        raise DataError(f"{place} has no patches; choose another config or split")
    for field, values in query.conditions:
        _check(field, values, rows, place)
    selected = tuple(
        record
        for record, row in zip(records, rows, strict=True)
        if all(not set(_texts(row[field])).isdisjoint(vs) for field, vs in query.conditions)
    )
    if not selected:
        conditions = ", ".join(f"{field}={'|'.join(vs)}" for field, vs in query.conditions)
        raise DataError(f"{place} has no patch with {conditions} at once; drop one of them")
    return selected


def _check(field: str, values: Sequence[str], rows: Sequence[dict[str, Any]], place: str) -> None:
    fields = sorted(rows[0].keys() - {"box"}, key=str.lower)
    if field not in fields:
        raise DataError(f"patches have no field {field!r}; the fields are {', '.join(fields)}")
    known = dict.fromkeys(text for row in rows for text in _texts(row[field]))
    for value in values:
        if value not in known:
            listed = sorted(known)
            if len(listed) > _SHOWN:
                listed = [*listed[:_SHOWN], f"and {len(listed) - _SHOWN} more"]
            values_there = ", ".join(listed) or "no values"
            raise DataError(
                f"{field}={value}: no patch of {place} has it; there are {values_there}"
            )


def _texts(value: Any) -> list[str]:
    """How the value of a field is written in a query; a list's items count one by one."""
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if value is None or isinstance(value, bool):
        return [str(value).lower()]
    return [f"{value:g}" if isinstance(value, float) else str(value)]
