"""The evaluate stage: a model file is all that it needs of a training."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from projects import Project


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics" / "evaluate.json").read_text(encoding="utf-8")))


def test_a_model_file_that_stands_alone_is_judged(alone: "Project", tmp_path: Path) -> None:
    """Of a file in a folder of its own nothing else is looked for: no history, and no run of another model."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(alone.model, tmp_path / "elsewhere" / "model.pth")
    before = [journal.read()[0] for journal in alone.journals]
    by_itself = alone.succeed(
        "evaluate", "--model", str(tmp_path / "elsewhere" / "model.pth"), "--out", str(tmp_path / "a")
    )
    assert [journal.read()[0] for journal in alone.journals] == before
    assert sorted(path.name for path in (tmp_path / "a" / "plots").iterdir()) == ["loss_by_position.png"]
    in_place = alone.succeed("evaluate", "--out", str(tmp_path / "b"), "-S", "runtime.mlflow=false")
    assert by_itself.output == in_place.output
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert (tmp_path / "b" / "plots" / "loss_curves.png").is_file()


def test_a_model_without_its_history_is_judged_too(alone: "Project", tmp_path: Path) -> None:
    (tmp_path / "c" / "models").mkdir(parents=True)
    shutil.copy(alone.model, tmp_path / "c" / "models" / "model.pth")
    result = alone.succeed(
        "evaluate", "--model", str(tmp_path / "c" / "models" / "model.pth"), "--out", str(tmp_path / "c")
    )
    assert "val" in result.output
    assert not (tmp_path / "c" / "plots" / "loss_curves.png").exists()
