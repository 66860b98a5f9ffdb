"""`gptmodel export` as a user runs it: a folder that is whole or not there, and what it says."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from export_helpers import PRE, model_file, needs, small_language_model
from model_helpers import ROOT

from gptmodel.errors import ConfigError, ExportError
from gptmodel.export import bundle, huggingface, libraries
from gptmodel.export.bundle import FORMS, export
from gptmodel.files import whole_folder
from stages.export import FormatArgument


def test_the_help_names_every_format() -> None:
    (argument,) = FormatArgument.__metadata__
    assert all(name in argument.help for name in FORMS)


@pytest.mark.export
def test_a_folder_for_transformers_comes_with_its_certificate(tmp_path: Path) -> None:
    """In a process of its own, which asks no hub and leaves nothing beside the folder."""
    needs(*huggingface.LIBRARIES)
    model_file(tmp_path, small_language_model(**PRE))
    result = subprocess.run(
        [sys.executable, "-m", "stages.cli", "export", "huggingface", "--model", "model.pth", "--out", "a/b"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "exporting takes up to a minute ...\n")
    first, second = result.stdout.splitlines()
    assert first.startswith("a/b: GPT2LMHeadModel, 12 kB; as read back, logits differ by at most ")
    assert first.endswith("40 of 40 greedy tokens are the same")
    assert second.endswith('AutoModelForCausalLM.from_pretrained("a/b")')
    certificate = json.loads((tmp_path / "a/b/certificate.json").read_bytes())
    assert certificate["model_sha256"] == hashlib.sha256((tmp_path / "model.pth").read_bytes()).hexdigest()
    assert set(certificate["libraries"]) == {"torch", "transformers", "safetensors"}
    for name, digest in certificate["files"].items():
        assert hashlib.sha256((tmp_path / "a/b" / name).read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["a", "b", "model.pth", "certificate.json", *certificate["files"]]
    )


@pytest.mark.export
def test_what_differs_when_it_is_read_back_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("safetensors")
    file = model_file(tmp_path, small_language_model())
    monkeypatch.setattr(bundle, "LIMIT", -1.0)
    with pytest.raises(ExportError, match="as read back, logits differ"):
        export(file, "safetensors", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = model_file(tmp_path, small_language_model(**PRE))
    monkeypatch.setattr(libraries, "find_spec", lambda _name: None)
    for name, missing in (("huggingface", "transformers and safetensors"), ("onnx", "onnx and onnxscript and onnxrun")):
        with pytest.raises(ExportError) as error:
            export(file, name, tmp_path / "out")
        assert str(error.value).startswith(missing)
        assert "`pip install -r requirements-export.txt`" in str(error.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_library_that_a_package_of_another_name_brings_has_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onnxruntime-gpu brings onnxruntime."""
    (tmp_path / "fast").mkdir()
    (tmp_path / "fast" / "__init__.py").touch()
    facts = tmp_path / "fast_gpu-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: fast-gpu\nVersion: 1.2\n")
    (facts / "RECORD").write_text("fast/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert libraries.require(["fast"]) == {"fast": "1.2"}


def test_what_is_there_is_left_alone_and_what_cannot_be_made_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "load_model", lambda _: pytest.fail("the work has begun"))
    file = tmp_path / "model.pth"
    file.touch()
    for name in ("empty", "mounted"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.setattr("os.path.ismount", lambda path: path.name == "mounted")
    monkeypatch.chdir(tmp_path / "empty")
    # nothing can take the place of the last three: a link, a volume, and the folder that the shell stands in
    for out in (tmp_path, file, tmp_path / "link", tmp_path / "mounted", Path()):
        with pytest.raises(ConfigError, match="is there already; name a folder that is not"):
            export(file, "safetensors", out)
    with pytest.raises(ConfigError, match=r"--out /proc/x: cannot be made: .+; name another place"):
        export(file, "safetensors", Path("/proc/x"))


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError), whole_folder(target) as folder:
        (folder / "file").write_text(str(1 // 0))
    assert list(tmp_path.iterdir()) == []
    target.mkdir(parents=True)  # an empty one gives its place
    with whole_folder(target) as folder:
        (folder / "file").write_text("x")
        assert not list(target.iterdir())
    assert (target / "file").read_text() == "x"
    assert target.stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
