"""`gptmodel compare` finds what users call by a revision, an experiment or a run, in git, DVC's cache and MLflow."""

import shutil

from pipeline_helpers import Project


def test_a_revision_an_experiment_and_a_run_are_found_by_name(project: Project) -> None:
    project.commit()
    project.dvc("exp", "save", "--name", "saved")
    (run,) = project.mlflow_runs()
    names = ["HEAD", "saved", run.info.run_name, run.info.run_id, "models/model.pth"]
    result = project.gptmodel("compare", *names)
    assert "scoring" not in result.stderr  # the losses of evaluate bear the model's mark, wherever they come from
    lines = result.stdout.splitlines()
    told = [line.removeprefix(name).lstrip() for name, line in zip(names, lines, strict=False)]
    assert told == ["no passage was scored"] * len(names)  # of so short a text
    assert lines.count("settings that differ: none") == len(names) - 1


def test_a_model_that_is_not_in_the_cache_and_a_name_of_two_runs(project: Project) -> None:
    project.commit()
    client, (run,) = project.client(), project.mlflow_runs()
    client.create_run(run.info.experiment_id, run_name=run.info.run_name)
    compare = ["compare", "models/model.pth"]
    twice = project.gptmodel(*compare, run.info.run_name, status=2)
    assert f"{run.info.run_name}: 2 runs in MLflow have this name; give the id of one: " in twice.stderr
    assert run.info.run_id in twice.stderr
    shutil.rmtree(project.root / ".dvc" / "cache" / "files")
    gone = project.gptmodel(*compare, "HEAD", status=2)
    assert "HEAD: the models/model.pth of its dvc.lock is not in DVC's cache" in gone.stderr
    unknown = project.gptmodel(*compare, "0" * 32, status=2)
    assert "has no such run" in unknown.stderr
