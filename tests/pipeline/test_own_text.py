"""A text the user puts at data/input.txt: no command deletes, replaces or restores over it."""

import pytest
from pipeline_helpers import Project, ran, text

REFUSAL = "error: data/input.txt: was not written by fetch, so it is not replaced; set fetch.source to own"


@pytest.fixture
def overwritten(project: Project) -> Project:
    """The finished project with another text in the place of the one that fetch wrote."""
    project.commit()
    (project.root / "data/input.txt").write_text(text(1), encoding="utf-8")
    return project


@pytest.mark.slow
def test_commands_leave_it_alone(overwritten: Project) -> None:
    own = overwritten.sha256("data/input.txt")
    refused = overwritten.gptmodel("fetch", status=2)
    assert refused.stderr.startswith(REFUSAL)
    assert refused.stderr.count("\n") == 1
    for command in (("repro",), ("repro", "--force", "fetch"), ("checkout", "--force"), ("pull",), ("commit", "-f")):
        output = overwritten.dvc(*command, status=None)
        assert overwritten.sha256("data/input.txt") == own, command
        if command[0] == "repro":
            assert REFUSAL in output
            assert "failed" in output


def test_with_own_it_is_used_and_each_change_of_it_seen(overwritten: Project) -> None:
    overwritten.configure({"fetch.source": "own"})
    for seed in (1, 2):
        (overwritten.root / "data/input.txt").write_text(text(seed), encoding="utf-8")
        own = overwritten.sha256("data/input.txt")
        assert "prepare" in ran(overwritten.dvc("repro", "prepare"))
        assert overwritten.read_json("metrics/prepare.json")["text_sha256"] == own
        assert overwritten.sha256("data/input.txt") == own
    assert ran(overwritten.dvc("repro", "prepare")) == []


@pytest.mark.slow
def test_with_own_a_changed_text_trains_anew(overwritten: Project) -> None:
    overwritten.configure({"fetch.source": "own"})
    former = overwritten.sha256("models/model.pth")
    assert ran(overwritten.dvc("repro"))[-4:] == ["train", "evaluate", "sample", "report"]
    assert overwritten.sha256("models/model.pth") != former
    assert len(overwritten.mlflow_runs()) == 2
    assert overwritten.mlflow_runs()[1].data.tags["fetch.source"] == "own"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["source.txt", "own"])
@pytest.mark.parametrize(
    "command", [("exp", "run"), ("exp", "run", "-S", "train.seed=3"), ("exp", "run", "--temp", "-S", "train.seed=3")]
)
def test_experiments_leave_it_alone(overwritten: Project, source: str, command: tuple[str, ...]) -> None:
    overwritten.configure({"fetch.source": source})
    own = overwritten.sha256("data/input.txt")
    output = overwritten.dvc(*command, status=None)
    assert overwritten.sha256("data/input.txt") == own
    if source == "own":
        assert "Ran experiment" in output
        assert overwritten.mlflow_runs()[-1].data.tags["fetch.source"] == "own"
    elif "--temp" not in command:  # there the experiment's own folder has no other text, and the source is trained on
        assert REFUSAL in output
