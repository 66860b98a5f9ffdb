import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.errors import DataError
from gptmodel.files import json_bytes
from gptmodel.tokenizers.base import Tokenizer, load_tokenizer, save_tokenizer, tokenizer_from_json
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["char", "byte", "ab"])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
nearly = st.dictionaries(st.sampled_from(["kind", "characters", "x"]), json_values)


@pytest.mark.parametrize("tokenizer", [CharTokenizer("hé\r\n🙂"), ByteTokenizer()])
def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(path, tokenizer)
    loaded = load_tokenizer(path)
    assert type(loaded) is type(tokenizer)
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.digest == tokenizer.digest
    assert path.read_bytes() == json_bytes(tokenizer.to_json())


def test_digests_tell_tokenizers_apart() -> None:
    tokenizers: list[Tokenizer] = [CharTokenizer("ab"), CharTokenizer("ac"), CharTokenizer("abc"), ByteTokenizer()]
    assert len({tokenizer.digest for tokenizer in tokenizers}) == len(tokenizers)
    assert CharTokenizer("ba").digest == CharTokenizer("abab").digest


@given(nearly | json_values)
def test_a_json_value_is_a_tokenizer_or_a_data_error(value: Any) -> None:
    try:
        tokenizer = tokenizer_from_json(value, "here.json")
    except DataError as error:
        message = str(error)
    else:
        assert tokenizer.to_json() == value
        return
    assert message.startswith("here.json: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "char"},
        {"kind": "char", "characters": "ba"},
        {"kind": "char", "characters": "aa"},
        {"kind": "char", "characters": ""},
        {"kind": "char", "characters": "a\ud800"},
        {"kind": "char", "characters": ["a", "b"]},
        {"kind": "char", "characters": "ab", "more": 1},
        {"kind": "byte", "characters": "ab"},
        {"kind": "bpe", "characters": "ab"},
        {"characters": "ab"},
        ["char"],
        None,
    ],
)
def test_every_field_is_checked(value: Any) -> None:
    with pytest.raises(DataError, match=r"^x: .*gptmodel prepare"):
        tokenizer_from_json(value, "x")


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_file_of_anything_is_a_tokenizer_or_a_data_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        load_tokenizer(path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 10_000, b'{"kind": "char", "characters": "\xff"}', b""])
def test_hostile_json_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_tokenizer(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc repro prepare"):
        load_tokenizer(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer(tmp_path)
