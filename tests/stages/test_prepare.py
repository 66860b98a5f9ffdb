import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tokenizer_helpers import vocab_size

from gptmodel.data.documents import Document
from gptmodel.data.manifest import write_manifest
from gptmodel.data.tokens import open_tokens
from gptmodel.tokenizers.kinds import KINDS, load_tokenizer

ROOT = Path(__file__).parents[2]
TEXT = "To be, or not to be — that is the question\r\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages.prepare", "--params", str(ROOT / "params.yaml"), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DVC_STAGE": "prepare"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "input.txt").write_bytes(TEXT.encode())
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("out", [".", "elsewhere"])
def test_the_files_and_the_metrics_agree(project: Path, kind: str, out: str) -> None:
    size = "null" if vocab_size(kind) is None else vocab_size(kind)
    settings = ("-S", f"prepare.tokenizer={kind}", "-S", f"prepare.vocab_size={size}")
    result = run(project, *settings, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert (" of 300, since no pair is left to be joined) from " in result.stdout) == (kind == "bpe")
    metrics = json.loads((project / out / "metrics" / "prepare.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(project / out / "data" / "prepared" / "tokenizer.json")
    train, val = (open_tokens(project / out / "data" / "prepared" / f"{split}.bin") for split in ("train", "val"))
    content = TEXT.encode()
    assert metrics == {
        "tokenizer": kind,
        "tokenizer_digest": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "characters": len(TEXT),
        "bytes": len(content),
        "train_tokens": len(train.ids),
        "val_tokens": len(val.ids),
        "text_sha256": hashlib.sha256(content).hexdigest(),
    }
    assert tokenizer.decode([*train.ids.tolist(), *val.ids.tolist()]) == TEXT
    assert (project / "data" / "input.txt").read_bytes() == content


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_byte_order_mark_that_is_left_out_is_stated(project: Path, kind: str) -> None:
    text = project / "data" / "input.txt"
    text.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    result = run(project, "-S", f"prepare.tokenizer={kind}")
    assert (result.returncode, result.stderr) == (0, "")
    assert "its byte order mark is left out" in result.stdout
    assert result.stdout.count("\n") == 1
    metrics = json.loads((project / "metrics" / "prepare.json").read_text(encoding="utf-8"))
    assert metrics["bytes"] == len(TEXT.encode()) + 3
    assert metrics["train_tokens"] + metrics["val_tokens"] == (len(TEXT) if kind == "char" else len(TEXT.encode()))
    assert "mark_left_out" not in metrics


def test_the_documents_are_listed_where_the_text_is_made_of_several(project: Path) -> None:
    """As fetch wrote them, and only of this very text."""
    documents = [Document(name, size, digit * 64) for name, size, digit in (("b.txt", 20, "b"), ("a.txt", 28, "a"))]
    text_sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    for sha256, listed in ((text_sha256, documents), (text_sha256, documents[:1]), ("0" * 64, documents)):
        write_manifest(project / "metrics" / "fetch.json", 50, sha256, listed)
        result = run(project)
        assert (result.returncode, result.stderr) == (0, "")
        metrics = json.loads((project / "metrics" / "prepare.json").read_text(encoding="utf-8"))
        if sha256 == text_sha256 and len(listed) > 1:
            assert metrics["documents"] == [asdict(document) for document in documents]
        else:
            assert "documents" not in metrics


@pytest.mark.parametrize(("content", "message"), [(None, "no such text"), (b"", "is empty"), (b"ab\xff", "byte 2 ")])
def test_a_text_that_cannot_be_used_is_one_line_and_status_2(
    project: Path, content: bytes | None, message: str
) -> None:
    text = project / "data" / "input.txt"
    text.unlink() if content is None else text.write_bytes(content)
    result = run(project)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: data/input.txt: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (project / "metrics").exists()
    assert not (project / "data" / "prepared").exists()


def test_prepare_needs_no_torch() -> None:
    code = "import sys, gptmodel.data.corpus, gptmodel.data.sources, stages.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
