"""Files written whole or not at all, and JSON that every reader takes."""

import json
import os

import numpy as np
import pytest

from data_pipeline.files.writing import differences, replacing, to_json, write_atomically


def test_files_are_written_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "é")
    assert path.read_bytes() == "é".encode()
    interrupted = replacing(path)
    interrupted.__enter__().write(b"half")
    assert path.read_bytes() == "é".encode()
    assert not interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == "é".encode()
    with replacing(path, sync=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_numbers_that_are_not_finite_are_null():
    value = {
        "a": [1.5, float("nan"), -np.inf, np.float32("nan"), np.int64(3), True, None, "é"],
        "b": (np.array([1.0, np.nan]), np.bool_(False), {"c": float("inf")}),
    }
    expected = {
        "a": [1.5, None, None, None, 3, True, None, "é"],
        "b": [[1.0, None], False, {"c": None}],
    }

    def refuse(token):
        raise AssertionError(token)

    for indent in (None, 1):
        text = to_json(value, indent)
        assert json.loads(text, parse_constant=refuse) == expected
        assert (text.count("\n") > 0) == (indent is not None)
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_differences():
    assert differences({"a": 1, "old": 2}, {"a": 1}) == ""
    assert differences({"a": 1, "c": 0}, {"a": 2, "b": 3, "c": 0}) == (
        "a 1 there, 2 here, b None there, 3 here"
    )
