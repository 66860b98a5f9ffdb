"""The list of documents that fetch writes and prepare takes over: only that of the very text, and only a whole one."""

from pathlib import Path

import pytest

from gptmodel.data.documents import Document
from gptmodel.data.manifest import documents_of, write_manifest

TEXT, OTHER = "a" * 64, "b" * 64
DOCUMENTS = (Document("b.txt", 3, "c" * 64), Document("a.txt", 2, "d" * 64))


def test_the_list_is_that_of_the_text_and_of_no_other(tmp_path: Path) -> None:
    path = tmp_path / "fetch.json"
    assert documents_of(TEXT, path) == ()
    write_manifest(path, 7, TEXT, DOCUMENTS)
    assert documents_of(TEXT, path) == DOCUMENTS
    assert documents_of(OTHER, path) == ()


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"sha256": 1}', f'{{"sha256": "{TEXT}", "documents": [{{"name": "a.txt"}}]}}']
)
def test_a_list_that_is_damaged_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "fetch.json").write_text(content, encoding="utf-8")
    assert documents_of(TEXT, tmp_path / "fetch.json") == ()
