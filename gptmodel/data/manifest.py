"""metrics/fetch.json: the documents that a text was made of, as fetch writes them and prepare reads them."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from gptmodel.data.documents import Document
from gptmodel.files import read_json, write_json


def write_manifest(path: Path, size: int, sha256: str, documents: Iterable[Document]) -> None:
    """Write what a text of this size and digest was made of."""
    listed = [asdict(document) for document in documents]
    write_json(path, {"bytes": size, "sha256": sha256, "documents": listed}, in_order=True)


def documents_of(sha256: str, path: Path) -> tuple[Document, ...]:
    """Return what the text of this digest was made of; nothing where fetch has written nothing of this very text."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        manifest = read_json(path)
        if manifest["sha256"] == sha256:
            return tuple(Document(**entry) for entry in manifest["documents"])
    return ()
