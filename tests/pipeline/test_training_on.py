"""A model to start from and more iterations, by real DVC: what changed trains again, and nothing else does."""

import pytest
from pipeline_helpers import Project, ran


def test_a_changed_model_to_start_from_trains_again_wherever_it_runs(project: Project) -> None:
    """And `gptmodel verify` proves what was trained from a file that git does not have."""
    start = project.root / "start.pth"
    start.write_bytes((project.root / "models" / "model.pth").read_bytes())
    (project.root / ".gitignore").write_text("/start.pth\n/runs/\n/mlflow.db*\n/mlartifacts/\n", encoding="utf-8")
    project.configure({"train.init_from": "start.pth", "train.max_iters": 80})
    assert ran(project.dvc("repro", "train")) == ["fetch", "train"]
    assert "Data and pipelines are up to date." in project.dvc("repro", "train")
    run = project.mlflow_runs()[-1]
    assert run.data.tags["init_from.sha256"] == project.sha256("start.pth")
    assert run.data.params["train.init_from"] == "start.pth"
    project.commit()
    assert project.run("python", "-m", "stages.verify", "--stage", "fetch", "--stage", "train").returncode == 0
    first = project.sha256("models/model.pth")
    start.write_bytes((project.root / "models" / "model.pth").read_bytes())
    assert "data/train.init_from" in project.dvc("status", "train")
    output = project.dvc("exp", "run", "--temp", "train", "--name", "apart")
    assert ", from the weights of start.pth" in output
    assert project.sha256("models/model.pth") == first
    project.dvc("exp", "apply", "apart")
    apart = project.sha256("models/model.pth")
    assert apart != first
    project.dvc("repro", "--force", "--single-item", "train")
    assert project.sha256("models/model.pth") == apart


@pytest.mark.timeout(300)
def test_more_iterations_go_on_and_the_whole_course_is_tracked(project: Project, finished: Project) -> None:
    project.configure({"train.max_iters": 260})
    output = project.dvc("repro", "train")
    assert "continued from iteration 200, where a shorter training ended" in output
    assert "Data and pipelines are up to date." in project.dvc("repro", "train")
    made_longer, run = project.sha256("models/model.pth"), project.mlflow_runs()[-1]
    steps = [0, 40, 80, 120, 160, 200, 240, 260]
    assert [step for step, _ in project.points(run, "val_loss")] == steps
    assert [int(row["iteration"]) for row in project.history()] == steps
    project.remove("runs/ends")
    project.dvc("repro", "--force", "--single-item", "train")
    assert project.sha256("models/model.pth") == made_longer
    project.configure({"train.max_iters": 300})
    project.remove("runs/ends")
    assert f"note: starts anew: {project.root / 'runs' / 'ends'} has no state after 260 iterations" in project.dvc(
        "repro", "train"
    )
