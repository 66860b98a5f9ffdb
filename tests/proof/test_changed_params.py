"""Settings of a params file beside those in dvc.lock: each that differs is named, with both values."""

from typing import Any

import pytest

from gptmodel.proof.inputs import changed_params


@pytest.mark.parametrize(
    ("locked", "current", "expected"),
    [
        ({"s": {"a": 1}}, {"s": {"a": 1}}, []),
        ({"s": {"a": 1}}, {"s": {"a": 2}}, ["s.a: lock 1, params 2"]),
        ({"s": {"a": 1}}, {"s": {"b": 1}}, ["s.a: lock 1, params None", "s.b: lock None, params 1"]),
        ({}, {"s": {"a": 1}}, ["s: not in the lock"]),
        ({"s": {}, "t": 1}, {"s": {}, "t": 1}, ["t: only in the lock"]),
        ({"s": [1]}, {}, ["s: lock [1], params None"]),
    ],
)
def test_changed_settings_are_named(locked: dict[str, Any], current: dict[str, Any], expected: list[str]) -> None:
    assert list(changed_params(locked, current, ("s",))) == expected


def test_a_dotted_key_is_looked_up() -> None:
    assert list(changed_params({"s.a": 1}, {"s": {"a": 1}}, ("s.a",))) == []
    assert list(changed_params({"s.a": 1}, {"s": {"a": 3}}, ("s.a",))) == ["s.a: lock 1, params 3"]
