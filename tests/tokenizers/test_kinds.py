import json
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_helpers import vocab_size

from gptmodel.errors import DataError
from gptmodel.files import json_bytes
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.tokenizers.kinds import KINDS, load_tokenizer, save_tokenizer, tokenizer_from_json

TEXT = "To be, or not to be?\r\nnaïve — Пушкин 漢字 🙂🏽 \ufeff\x00\u2028\n" * 3
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["char", "byte", "bpe", "gpt2", "ab"])
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
nearly = st.dictionaries(st.sampled_from(["kind", "characters", "tokens", "x"]), json_values)


def fitted(kind: type[Tokenizer], text: str = TEXT) -> Tokenizer:
    content = text.encode()
    middle = len(text[: len(text) // 2].encode())
    return kind.fit([content[:middle]], [content[middle:]], vocab_size(kind.kind))


def test_every_kind_that_can_be_set_has_its_class_and_the_other_way_round() -> None:
    assert set(get_args(PrepareParams.model_fields["tokenizer"].annotation)) == set(KINDS)
    assert all(kind.kind == name for name, kind in KINDS.items())


@every_kind
def test_where_the_chunks_of_a_text_end_changes_nothing(kind: type[Tokenizer]) -> None:
    content, tokenizer = TEXT.encode(), fitted(kind)
    ids, size = tokenizer.encode(TEXT), vocab_size(kind.kind)
    once = kind.fit([content], [], size).to_json()
    for at in range(len(content) + 1):
        two = [content[:at], content[at:]]
        assert np.concatenate(list(tokenizer.encode_stream(two))).tolist() == ids
        if at % 9 == 0:
            assert kind.fit(two, [], size).to_json() == once
    for length in (1, 2, 3, 5):
        parts = [content[start : start + length] for start in range(0, len(content), length)]
        assert np.concatenate(list(tokenizer.encode_stream(iter(parts)))).tolist() == ids
        assert kind.fit(iter(parts), iter(()), size).to_json() == once


@every_kind
def test_a_text_comes_back_whole_and_token_by_token(kind: type[Tokenizer]) -> None:
    tokenizer = fitted(kind)
    ids = tokenizer.encode(TEXT)
    stream = tokenizer.stream()
    assert tokenizer.decode(ids) == TEXT
    assert "".join(chain(map(stream.push, ids), [stream.finish()])) == TEXT
    assert tokenizer.encode_array(TEXT).tolist() == ids
    assert list(chain(*tokenizer.encode_stream([]))) == tokenizer.encode("") == []


@every_kind
def test_the_tokens_of_a_text_have_its_bytes(kind: type[Tokenizer]) -> None:
    tokenizer = fitted(kind)
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths[tokenizer.encode(TEXT)].sum() == len(TEXT.encode())
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(TEXT))) == TEXT.encode()
    assert [len(tokenizer.token_bytes(idx)) for idx in range(tokenizer.vocab_size)] == lengths.tolist()


@every_kind
def test_what_validates_can_be_encoded_too(kind: type[Tokenizer]) -> None:
    train, val = b"only these, ", "and those: é漢🙂".encode()
    tokenizer = kind.fit([train], [val], vocab_size(kind.kind))
    ids = [idx for part in tokenizer.encode_stream([val]) for idx in part.tolist()]
    assert tokenizer.decode(ids) == val.decode()


@every_kind
def test_a_saved_kind_is_the_same_when_loaded(tmp_path: Path, kind: type[Tokenizer]) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = fitted(kind)
    save_tokenizer(path, tokenizer)
    read_back = load_tokenizer(path)
    assert type(read_back) is kind
    assert read_back.to_json() == tokenizer.to_json()
    assert read_back.digest == tokenizer.digest
    assert read_back.encode(TEXT) == tokenizer.encode(TEXT)
    assert path.read_bytes() == json_bytes(tokenizer.to_json())


@every_kind
def test_what_is_not_in_the_saved_form_is_refused(kind: type[Tokenizer]) -> None:
    value = fitted(kind).to_json()
    for wrong in ({**value, "more": 1}, *({**value, name: None} for name in value), {}):
        with pytest.raises(DataError, match=r"^x: .*gptmodel prepare"):
            tokenizer_from_json(wrong, "x")


@pytest.mark.parametrize("tokenizer", [CharTokenizer("hé\r\n🙂"), ByteTokenizer()])
def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(path, tokenizer)
    read_back = load_tokenizer(path)
    assert type(read_back) is type(tokenizer)
    assert read_back.to_json() == tokenizer.to_json()
    assert read_back.digest == tokenizer.digest
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
        {"kind": "words", "tokens": ["ab"]},
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
