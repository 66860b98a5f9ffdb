"""What runs again after a change, what comes from the run cache, and that bytes depend on the inputs alone."""

import shutil
from typing import Any

import pytest
from pipeline_helpers import Project, ran, restored

EXACT = ["models/model.pth", "data/prepared/tokenizer.json", "data/prepared/train.bin", "data/prepared/val.bin"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({"sample.seed": 2, "sample.max_new_tokens": 5}, ["sample", "report"]),
        ({"evaluate.max_tokens": 300}, ["evaluate", "report"]),
        ({"evaluate.overfit_gap": 0.3}, ["evaluate"]),  # the verdict is the same, so nothing new is to be reported
    ],
)
def test_a_later_stage_reruns_alone_but_for_the_report_and_adds_to_the_same_run(
    project: Project, settings: dict[str, Any], stages: list[str]
) -> None:
    (before,) = project.mlflow_runs()
    project.configure(settings)
    assert ran(project.dvc("repro")) == stages
    (after,) = project.mlflow_runs()
    assert after.info.run_id == before.info.run_id
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)
    for key in ("train_loss", "val_loss"):
        assert len(project.points(after, key)) == len(project.history())


@pytest.mark.slow
def test_another_seed_trains_anew_and_the_former_one_comes_back_with_its_run(project: Project) -> None:
    assert len(project.mlflow_runs()) == 1
    model, run_json = project.sha256("models/model.pth"), project.read_json("models/run.json")
    project.configure({"train.seed": 2})
    assert ran(project.dvc("repro")) == ["train", "evaluate", "sample", "report"]
    assert project.sha256("models/model.pth") != model
    runs = project.mlflow_runs()
    assert len(runs) == 2
    assert project.read_json("models/run.json")["journal"] == runs[1].data.tags["gptmodel.journal"]
    assert runs[1].data.params["train.seed"] == "2"
    assert "eval/val_loss" in runs[1].data.metrics

    project.configure({"train.seed": 1337})
    output = project.dvc("repro")
    assert (ran(output), restored(output)) == ([], ["train", "evaluate", "sample", "report"])
    assert project.sha256("models/model.pth") == model
    assert project.read_json("models/run.json") == run_json
    assert len(project.mlflow_runs()) == 2

    project.configure({"sample.max_new_tokens": 5})  # what is added now goes to the run the model was trained in
    assert ran(project.dvc("repro")) == ["sample", "report"]
    samples = [project.root / "mlartifacts" / run.info.run_id / "artifacts/samples/samples.txt" for run in runs]
    new = (project.root / "samples/samples.txt").read_bytes()
    assert [path.read_bytes() == new for path in samples] == [True, False]


@pytest.mark.slow
def test_a_fresh_clone_makes_the_same_bytes(finished: Project, fresh: Project) -> None:
    assert ran(fresh.dvc("repro", "train")) == ["fetch", "prepare", "train"]
    assert {path: fresh.sha256(path) for path in EXACT} == {path: finished.sha256(path) for path in EXACT}


@pytest.mark.slow
def test_watching_a_run_does_not_change_its_bytes(finished: Project, project: Project) -> None:
    shutil.rmtree(project.root / "models")
    settings = ["runtime.mlflow=false", "runtime.snapshot_seconds=0.001", "runtime.progress=none"]
    project.gptmodel("train", *(word for setting in settings for word in ("-S", setting)))
    assert project.sha256("models/model.pth") == finished.sha256("models/model.pth")


@pytest.mark.slow
def test_a_training_of_committed_code_is_tagged_as_such_though_dvc_removes_what_is_committed(project: Project) -> None:
    project.commit()
    project.dvc("repro", "--single-item", "--force", "train")
    assert [run.data.tags["gptmodel.git.dirty"] for run in project.mlflow_runs()] == ["false", "false"]
    assert "metrics/train.json" in project.git("status", "--porcelain")
