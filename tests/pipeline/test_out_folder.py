"""--out, --params and the presets: a debugging run costs nothing that was trained."""

from pathlib import Path

import pytest
import yaml
from pipeline_helpers import REPOSITORY, TINY, Project

PRESETS = sorted(path.name for path in (REPOSITORY / "presets").glob("*.yaml"))
WRITES = {
    "fetch": {
        "data/input.txt",
        "data/.fetched.json",
        "data/fetch.source",
        "data/prepare.val_source",
        "data/train.init_from",
        "metrics/fetch.json",
    },
    "prepare": {
        "data/prepared/tokenizer.json",
        "data/prepared/train.bin",
        "data/prepared/val.bin",
        "metrics/prepare.json",
    },
    "train": {"models/model.pth", "models/run.json", "metrics/train.json", "metrics/history.csv"},
    "evaluate": {
        "metrics/evaluate.json",
        "metrics/loss_by_position.csv",
        "evaluation/passages.json",
        "evaluation/val_losses.npy",
        "plots/loss_curves.png",
        "plots/loss_by_position.png",
    },
    "sample": {"samples/samples.txt"},
}


def written(folder: Path) -> set[str]:
    """The files below a folder, but for the state of trainings."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if not name.startswith("runs/")}


@pytest.mark.parametrize("stage", ["fetch", "prepare"])
def test_out_takes_all_that_a_data_stage_writes(project: Project, stage: str) -> None:
    before = project.tree()
    project.gptmodel(stage, "--out", "elsewhere")
    assert project.tree(ignore={"elsewhere"}) == before
    assert written(project.root / "elsewhere") == WRITES[stage]


@pytest.mark.slow
def test_out_takes_all_that_a_model_stage_writes_and_later_stages_find_it(project: Project, tmp_path: Path) -> None:
    before, out = project.tree(), tmp_path / "elsewhere"
    project.gptmodel("train", "--out", str(out), "-S", "train.seed=9")
    expected = WRITES["train"]
    assert written(out) == expected
    assert len(list(out.glob("runs/ends/*/snapshot-*.pt"))) == 1  # from which a longer training goes on
    for stage in ("evaluate", "sample"):
        project.gptmodel(stage, "--out", str(out), "--model", str(out / "models/model.pth"))
        expected = expected | WRITES[stage]
        assert written(out) == expected
    assert project.tree() == before
    assert (out / "models/model.pth").read_bytes() != (project.root / "models/model.pth").read_bytes()
    (run,) = project.mlflow_runs()  # the pipeline's own
    assert len(project.points(run, "eval/val_loss")) == 1


@pytest.mark.slow
def test_a_params_file_of_ones_own(project: Project, tmp_path: Path) -> None:
    values = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    values["train"]["max_iters"] = 5
    values["train"]["eval_interval"] = 5
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    project.gptmodel("train", "--params", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    rows = (tmp_path / "out/metrics/history.csv").read_text(encoding="utf-8").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["iteration", "0", "5"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_end_to_end(fresh: Project, preset: str) -> None:
    import torch

    values = yaml.safe_load((fresh.root / "presets" / preset).read_text(encoding="utf-8"))
    if values["train"]["device"] == "cuda" and not torch.cuda.is_available():
        pytest.skip("made for a GPU")
    (fresh.root / "params.yaml").write_bytes((fresh.root / "presets" / preset).read_bytes())
    fresh.configure(
        {
            "fetch.source": TINY["fetch.source"],
            "fetch.sha256": None,
            "train.max_iters": 4,
            "train.warmup_iters": min(values["train"]["warmup_iters"], 1),
            "train.eval_interval": 2,
            "train.eval_iters": 1,
            "train.batch_size": 2,
            "sample.max_new_tokens": 5,
        }
    )
    fresh.dvc("repro")
    assert [row["iteration"] for row in fresh.history()] == ["0", "2", "4"]
    assert fresh.read_json("metrics/evaluate.json")["val"]["loss"] > 0
    assert (fresh.root / "samples/samples.txt").stat().st_size > 0
    (run,) = fresh.mlflow_runs()
    assert run.data.params["model.position"] == values["model"]["position"]
