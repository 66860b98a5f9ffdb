"""`gptmodel compare`, from model files to the word, the JSON and the page."""

import json
import os
import shutil
from pathlib import Path

import pytest
from made_once import made_once
from projects import JOURNAL_ONLY, Project, new_project, write_text

pytestmark = pytest.mark.thorough
MARKUP = "\n<script>alert(1)</script> <img src=x onerror=alert(2)>\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with models of one text: short, long, another seed of short, bytes; and one of another text."""

    def make(folder: Path) -> None:
        project = new_project(folder / "project", prepare={"train_fraction": 0.5}, runtime={"snapshot_seconds": 60})
        text = project.folder / "data" / "input.txt"
        write_text(text, seed=1, size=60_000)
        words = text.read_text(encoding="ascii")
        text.write_text(MARKUP.join(words[start : start + 500] for start in range(0, 60_000, 500)), encoding="ascii")
        settings = {
            "short": (),
            "long": ("-S", "train.max_iters=400", "-S", "train.learning_rate=0.01"),
            "reseeded": ("-S", "train.seed=2"),
        }

        def train(name: str, *changes: str) -> None:
            project.succeed("train", *changes, injuries=JOURNAL_ONLY)
            shutil.copy(project.model, project.folder / f"{name}.pth")

        bytewise = ("-S", "prepare.tokenizer=byte")
        project.succeed("prepare", *bytewise)
        train("bytes")
        project.succeed("prepare")
        for name, changes in settings.items():
            train(name, *changes)
        kept = text.read_text(encoding="ascii")
        text.write_text(kept.replace("a", "b", 5000), encoding="ascii")
        project.succeed("prepare")
        train("foreign")
        text.write_text(kept, encoding="ascii")
        project.succeed("prepare")

    return Project(made_once(tmp_path_factory, "compared", make) / "project")


def test_the_better_one_is_named_with_its_error_and_the_settings_that_differ(models: Project) -> None:
    output = models.succeed("compare", "short.pth", "long.pth").output
    assert "settings that differ: train.learning_rate 0.001 -> 0.01, train.max_iters 24 -> 400" in output
    assert "\nlong.pth is better than short.pth: -" in output
    assert " passages of 1 kB; -" in output
    assert "this rests on the noise of the text alone, so it is about these two models; for a word about" in output
    assert output.endswith("with the settings of each: `dvc exp run -S train.seed=1`\n")
    assert "\nshort.pth is worse than long.pth: +" in models.succeed("compare", "long.pth", "short.pth").output


def test_seeds_are_grouped_and_their_noise_is_told_apart(models: Project) -> None:
    output = models.succeed("compare", "short.pth", "reseeded.pth", "long.pth").output
    assert "short.pth (2 seeds): the seeds' losses have a standard deviation of 0.0" in output
    assert "long.pth is" in output
    assert "this rests on the noise of the text and of train.seed, so it is about the settings: that of" in output
    alone = models.succeed("compare", "short.pth", "reseeded.pth").output
    assert "they differ in train.seed alone: this is about these two models, and other seeds may turn it round" in alone


def test_models_of_characters_and_of_bytes_compare(models: Project) -> None:
    values = json.loads(models.succeed("compare", "--json", "bytes.pth", "long.pth").output)
    (pair,) = values["comparisons"]
    assert pair["word"] == "better"
    assert pair["settings"]["prepare.tokenizer"] == ["byte", "char"]
    assert pair["interval_95"][0] < pair["nats_per_byte"] < pair["interval_95"][1] < 0
    bits = [run["bits_per_byte"] for run in values["runs"]]
    assert bits[1] - bits[0] == pytest.approx(pair["nats_per_byte"] / 0.6931471805599453)


def test_another_text_is_refused(models: Project) -> None:
    attempt = models.run("compare", "short.pth", "foreign.pth")
    assert attempt.status == 2
    assert "error: foreign.pth: its held-out text is not the one in data/prepared" in attempt.error


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["short.pth"], "error: short.pth: give two models or more"),
        (["short.pth", "short.pth"], "error: short.pth: is given twice"),
        (
            ["short.pth", "nowhere"],
            "error: nowhere: there is no such model file, no such git revision",
        ),
        (["short.pth", "params.yaml"], "error: params.yaml: not a model file, or damaged"),
    ],
)
def test_what_is_wrong_is_one_line(models: Project, arguments: list[str], line: str) -> None:
    attempt = models.run("compare", *arguments)
    assert attempt.status == 2
    assert attempt.error.startswith(line)
    assert attempt.error.count("\n") == 1


def test_the_page_shows_where_they_differ_most_and_runs_nothing(models: Project, tmp_path: Path) -> None:
    models.succeed("compare", "short.pth", "long.pth", "--html", str(tmp_path / "compared.html"))
    page = (tmp_path / "compared.html").read_text(encoding="utf-8")
    assert page.count('<div class="text">') == 10
    assert "long.pth is better than short.pth" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<img" not in page


def test_the_losses_that_evaluate_wrote_are_taken_for_that_very_model(models: Project, tmp_path: Path) -> None:
    """Not for one that was moved into its place, with its old time or not."""
    trial = tmp_path / "trial"
    model, losses = trial / "models" / "model.pth", trial / "evaluation" / "val_losses.npy"
    model.parent.mkdir(parents=True)
    shutil.copy(models.folder / "long.pth", model)
    models.succeed("evaluate", "--model", str(model), "--out", str(trial))
    assert f"scoring {trial}" not in models.succeed("compare", "short.pth", str(trial)).error
    shutil.copy(models.folder / "short.pth", model)
    os.utime(model, (0, 0))
    moved = models.succeed("compare", "short.pth", str(trial))
    assert f"scoring {trial}" in moved.error
    first, second = (line.split()[1:] for line in moved.output.splitlines()[:2])
    assert first == second
    losses.write_bytes(b"no array")
    damaged = models.run("compare", "short.pth", str(trial))
    assert (damaged.status, "no losses of a text" in damaged.error) == (2, True)
