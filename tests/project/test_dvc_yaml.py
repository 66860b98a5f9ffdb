"""YAML is read and written as DVC does it, and no text of it takes the program down."""

import math
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml

from gptmodel.project.dvc_yaml import dump, parse

SCALARS = [
    *("010", "0o10", "0x1F", "0b11", "1_000", "+5", "-0", "1:30", "9" * 30),  # whole numbers, or what looks like one
    *("1e-3", "1.0e-3", "3.e-4", ".5", "1e22", "-1E5", ".inf", "-.INF", "1.5.2"),
    *("yes", "no", "on", "off", "true", "True", "TRUE", "y", "null", "~", "Null", "", "none"),
    *(
        '"1"',
        "'it''s'",
        '"\\n"',
        "2020-01-02",
        "a b",
        "a: b",
        "[1, [2]]",
        "{a: 1}",
        "- 1",
        "|\n a\n b\n",
        "*",
        "=",
        "<<",
    ),
]
BOMB = "\n".join(
    ["l0: &l0 [x, x, x, x, x, x, x, x, x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_is_what_it_is_to_dvc(text: str) -> None:
    try:
        expected = loads_yaml(f"key: {text}")
    except Exception:  # of several kinds
        with pytest.raises(ValueError, match="not valid YAML"):
            parse(f"key: {text}")
        return
    value = parse(f"key: {text}")
    assert (value, type(value["key"])) == (expected, type(expected["key"]))


def test_nan_is_a_number() -> None:
    assert math.isnan(parse("a: .nan")["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "the key a appears twice"),
        ("b: {a: 1, a: 1}", "the key a appears twice"),
        ("1: a", "the key 1 has to be a word"),
        ("null: a", "the key null has to be a word"),
        ("? [a, b]\n: 1", "has to be a word"),
        (f"{BOMB}\n? *l11\n: 1", "has to be a word"),
        (f"{BOMB}\na: *l11\na: *l11", "the key a appears twice"),
        (f"{BOMB}\nb: {{a: *l11, a: 1}}", "the key a appears twice"),
        ("x: &x {? [[1]] : 1}\ny: {<<: *x}", "not valid YAML"),
        ("a: !!bool perhaps", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("<<: 5", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("a: 1\n---\nb: 1", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: \0", "not valid YAML"),
    ],
    ids=range(19),
)
@pytest.mark.timeout(20)
def test_a_text_that_is_refused_is_named_in_one_short_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "value",
    [None, True, 5, 0.001, 1e-5, 1e22, 15.0, "a", "", "\n", "010", "yes", "true", "1e-3", "a: b", "é" * 90, [], [2, 3]],
)
def test_values_are_written_as_dvc_writes_them(value: Any) -> None:
    values = {"section": {"key": value, "other": 1}}
    assert dump(values) == dumps_yaml(values)
    assert parse(dump(values)) == values


def test_what_was_read_before_is_read_anew() -> None:
    """Who changes what it was given changes nobody else's."""
    parse("a: [1]")["a"].append(2)
    assert parse("a: [1]") == {"a": [1]}
