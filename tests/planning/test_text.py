"""A plan finds the text however far the pipeline has come, and counts what prepare then counts."""

from pathlib import Path

import numpy as np
import pytest
from model_helpers import small_params
from tokenizer_helpers import prepare_settings

from gptmodel.data.corpus import PrepareReport, prepare
from gptmodel.errors import DataError
from gptmodel.fetch_params import FetchParams
from gptmodel.planning.text import SHAKESPEARE_BYTES, PlannedText, find_text
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.kinds import KINDS

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n" * 9
OWN, SHAKESPEARE = (
    FetchParams.model_validate(FetchParams.defaults() | {"source": source}) for source in ("own", "shakespeare")
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "input.txt"


def settings(tokenizer: str = "char", train_fraction: float = 0.9) -> PrepareParams:
    return small_params(prepare={**prepare_settings(tokenizer), "train_fraction": train_fraction}).prepare


def find(text: Path, params: PrepareParams, fetch: FetchParams = OWN) -> PlannedText:
    return find_text(fetch, params, text.parent / "prepared", text)


def prepared(text: Path, params: PrepareParams) -> PrepareReport:
    return prepare(text, text.parent / "prepared", params)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_counts_are_those_of_prepare_before_and_after_it(text: Path, kind: str, mark: str) -> None:
    text.write_text(mark + TEXT, encoding="utf-8")
    before = find(text, settings(kind))
    report = prepared(text, settings(kind))
    after = find(text, settings(kind))
    assert "not prepared yet" in before.origin
    assert after.origin == str(text.parent / "prepared")
    for planned in (before, after):
        assert (planned.train_tokens, planned.val_tokens) == (report.train_tokens, report.val_tokens)
        assert planned.tokenizer.digest == report.tokenizer_digest
    assert np.array_equal(before.ids, after.ids)
    assert before.file_bytes == after.file_bytes


@pytest.mark.parametrize("change", ["tokenizer", "train_fraction", "text"])
def test_data_that_would_be_prepared_again_is_not_used(text: Path, change: str) -> None:
    prepared(text, settings())
    params = settings("byte" if change == "tokenizer" else "char", 0.5 if change == "train_fraction" else 0.9)
    if change == "text":
        text.write_text(TEXT * 2, encoding="utf-8")
    planned = find(text, params)
    assert "not prepared yet" in planned.origin
    assert (planned.train_tokens, planned.val_tokens) == (
        (report := prepared(text, params)).train_tokens,
        report.val_tokens,
    )


def test_prepared_data_is_enough(text: Path) -> None:
    prepared(text, settings())
    text.unlink()
    assert find(text, settings()).origin == str(text.parent / "prepared")


def test_prepared_data_is_not_enough_for_another_cut(text: Path) -> None:
    prepared(text, settings())
    text.unlink()
    with pytest.raises(DataError, match="no such text"):
        find(text, settings(train_fraction=0.8))


def test_a_text_as_long_that_is_cut_elsewhere_is_another(text: Path) -> None:
    """One character of two bytes changes places with two of one byte: the sizes are the same, the splits are not."""
    text.write_text("é" * 10 + "a" * 80 + "b" * 10, encoding="utf-8")
    prepared(text, settings())
    text.write_text("a" * 80 + "b" * 10 + "é" * 10, encoding="utf-8")
    assert "not prepared yet" in find(text, settings()).origin


def test_a_text_that_cannot_be_prepared_cannot_be_planned(text: Path) -> None:
    prepared(text, settings())
    text.write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(DataError, match="its byte order mark says UTF-16"):
        find(text, settings())


def test_damaged_data_is_an_error(text: Path) -> None:
    prepared(text, settings())
    (text.parent / "prepared" / "train.bin").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"train\.bin: not a token file"):
        find(text, settings())


def test_a_local_source_is_read_where_it_lies(text: Path) -> None:
    fetch = FetchParams.model_validate(FetchParams.defaults() | {"source": str(text)})
    planned = find_text(fetch, settings(), text.parent / "none", text.parent / "none.txt")
    assert planned.train_tokens + planned.val_tokens == len(TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_assumed_is_one_that_the_tokenizer_knows(tmp_path: Path, kind: str) -> None:
    planned = find(tmp_path / "input.txt", settings(kind), SHAKESPEARE)
    assert planned.tokenizer.kind == kind
    assert len(set(planned.ids.tolist())) >= 78
    assert planned.ids.max() < planned.tokenizer.vocab_size


@pytest.mark.parametrize(("kind", "vocab_size"), [("char", 78), ("byte", 256)])
def test_the_default_text_is_assumed_before_it_is_fetched(tmp_path: Path, kind: str, vocab_size: int) -> None:
    planned = find(tmp_path / "input.txt", settings(kind), SHAKESPEARE)
    assert "random token ids stand in for it" in planned.origin
    assert planned.train_tokens + planned.val_tokens == SHAKESPEARE_BYTES
    assert planned.train_tokens == 4_498_341
    assert planned.tokenizer.vocab_size == vocab_size
    assert planned.ids.max() < vocab_size


@pytest.mark.parametrize("source", ["own", "https://example.org/a.txt", "none.txt"])
def test_a_text_nothing_is_known_of_is_an_error(tmp_path: Path, source: str) -> None:
    fetch = FetchParams.model_validate(FetchParams.defaults() | {"source": source, "sha256": "0" * 64})
    with pytest.raises(DataError, match=rf"input\.txt: no such text.*{source}.*dvc repro prepare"):
        find(tmp_path / "input.txt", settings(), fetch)
