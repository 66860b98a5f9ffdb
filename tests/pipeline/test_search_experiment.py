"""The best of a search as a DVC experiment: it starts finished, in the MLflow run of its trial."""

from pathlib import Path

from pipeline_helpers import Project
from tuning_helpers import write_search


def test_the_best_becomes_an_experiment_without_training_again(project: Project, tmp_path: Path) -> None:
    write_search(project.root, trials=3, space={"train.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}})
    project.commit()
    project.run("python", "-m", "stages.cli", "tune")
    best = project.run("python", "-m", "stages.cli", "tune", "--best").stdout.split()
    assert best[0] == "-S"
    table = project.run("python", "-m", "stages.cli", "tune", "--status").stdout.splitlines()
    number = table[2].split()[0]
    assert project.run("git", "status", "--porcelain").stdout == ""

    output = project.run("sh", "-c", "dvc exp run --name winner $(python -m stages.cli tune --best)")
    assert "for 200 iterations of 32 tokens, continued from iteration 200, in" in output.stdout + output.stderr
    assert f"val loss {table[2].split()[3]} (estimates)" in output.stdout

    (run,) = [run for run in project.mlflow_runs() if run.data.tags.get("gptmodel.trial") == number]
    assert run.info.status == "FINISHED"
    assert {"gptmodel.study": "tiny", "dvc.exp.name": "winner"}.items() <= run.data.tags.items()
    assert {"val_loss", "final/seconds", "eval/val_loss"} <= run.data.metrics.keys()
    assert [step for step, _ in project.points(run, "val_loss")] == [0, 40, 80, 120, 160, 200]
    project.gptmodel("train", *best, "--out", str(tmp_path / "fresh"))
    assert (tmp_path / "fresh" / "models" / "model.pth").read_bytes() == (
        project.root / "models/model.pth"
    ).read_bytes()
