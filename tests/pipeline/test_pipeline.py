"""What `dvc repro` leaves behind: the files, the numbers DVC shows, and the run in MLflow."""

import math
from typing import Any

import pytest
import yaml
from pipeline_helpers import Project, ran

TRAIN_KEYS = {"iterations", "tokens", "seconds", "tokens_per_second", "train_loss", "val_loss", "parameters"}
SPLIT_KEYS = {"loss", "perplexity", "bits_per_byte", "tokens"}
HISTORY_KEYS = ["iteration", "tokens", "seconds", "learning_rate", "train_loss", "val_loss"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def settings(finished: Project) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((finished.root / "params.yaml").read_text(encoding="utf-8"))


def test_each_stage_writes_its_files(finished: Project, settings: dict[str, dict[str, Any]]) -> None:
    text = (finished.root / "data/input.txt").read_bytes()
    assert text == (finished.root / "source.txt").read_bytes()
    assert {path.name for path in (finished.root / "data/prepared").iterdir()} == {
        "tokenizer.json",
        "train.bin",
        "val.bin",
    }
    prepared, trained, judged = (
        finished.read_json(f"metrics/{name}.json") for name in ("prepare", "train", "evaluate")
    )
    assert prepared["train_tokens"] + prepared["val_tokens"] == prepared["bytes"] == len(text)
    assert trained.keys() == TRAIN_KEYS
    assert trained["iterations"] == settings["train"]["max_iters"]
    assert trained["tokens"] == trained["iterations"] * 4 * 8
    assert {"train", "val", "gap", "verdict"} <= judged.keys()
    for split, count in (("train", prepared["train_tokens"]), ("val", prepared["val_tokens"])):
        assert judged[split].keys() == SPLIT_KEYS
        assert judged[split]["tokens"] == count - 1
        assert judged[split]["perplexity"] == pytest.approx(math.exp(judged[split]["loss"]))
    assert judged["gap"] == pytest.approx(judged["val"]["loss"] - judged["train"]["loss"])
    plots = sorted((finished.root / "plots").glob("*.png"))
    assert [path.name for path in plots] == ["loss_by_position.png", "loss_curves.png"]
    assert all(path.read_bytes().startswith(PNG) for path in plots)
    samples = (finished.root / "samples/samples.txt").read_text(encoding="utf-8")
    assert [samples.count(f"--- sample {number} of 2 ---") for number in (1, 2)] == [1, 1]


def test_the_history_has_a_row_for_each_evaluation(finished: Project) -> None:
    rows, trained = finished.history(), finished.read_json("metrics/train.json")
    assert list(rows[0]) == HISTORY_KEYS
    assert [int(row["iteration"]) for row in rows] == [0, 40, 80, 120, 160, 200]
    assert float(rows[-1]["val_loss"]) == trained["val_loss"] < float(rows[0]["val_loss"])
    assert float(rows[-1]["train_loss"]) == trained["train_loss"]


def test_the_model_file_holds_no_code_and_all_it_needs(finished: Project) -> None:
    import torch

    from gptmodel.checkpoint.model_file import load_model

    path = finished.root / "models/model.pth"
    assert isinstance(torch.load(path, weights_only=True), dict)
    checkpoint = load_model(path, torch.device("cpu"))
    assert (
        sum(weight.numel() for weight in checkpoint.transformer.parameters())
        == (finished.read_json("metrics/train.json")["parameters"])
    )
    assert checkpoint.tokenizer.digest == finished.read_json("metrics/prepare.json")["tokenizer_digest"]


def test_a_second_repro_has_nothing_to_do(finished: Project) -> None:
    before = finished.tree()
    assert finished.dvc("repro").splitlines()[-1] == "Data and pipelines are up to date."
    assert finished.tree() == before


def test_git_is_offered_only_the_lock_and_the_metrics(finished: Project) -> None:
    changed = finished.git("status", "--porcelain", "--untracked-files=all").splitlines()
    names = {line[3:] for line in changed} - {"dvc.lock"}
    assert names <= {f"metrics/{name}" for name in ("train.json", "evaluate.json", "history.csv")}


def test_dvc_shows_the_numbers(finished: Project) -> None:
    table = finished.dvc("metrics", "show", "--json")
    assert "sha256" not in table  # digests and sizes of the text compare nothing
    assert str(finished.read_json("metrics/evaluate.json")["val"]["loss"]) in table
    assert str(finished.read_json("metrics/train.json")["val_loss"]) in table


def test_dvc_compares_with_a_commit(project: Project) -> None:
    project.commit()
    losses = {"loss": 0.5, "perplexity": 1.6, "bits_per_byte": 0.7, "tokens": 1}
    (project.root / "metrics/evaluate.json").write_text(yaml.safe_dump({"val": losses}), encoding="utf-8")
    project.configure({"train.learning_rate": 0.0077})
    assert "val.loss" in project.dvc("metrics", "diff", "--md")
    assert "0.0077" in project.dvc("params", "diff")


def test_dvc_draws_the_curves_and_the_pictures(project: Project) -> None:
    project.dvc("plots", "show")
    page = (project.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "Loss during training" in page
    assert "train_loss" in page
    assert "loss_by_position.png" in page
    assert "dvc_plots" not in project.git("status", "--porcelain")


def test_each_stage_depends_on_its_own_section_only(project: Project) -> None:
    changes = {
        "prepare": {"prepare.train_fraction": 0.8},
        "train": {"train.seed": 7, "model.n_layer": 2},
        "evaluate": {"evaluate.overfit_gap": 0.3},
        "sample": {"sample.seed": 7},
    }
    former = (project.root / "params.yaml").read_text(encoding="utf-8")
    for stage, settings in changes.items():
        project.configure(settings)
        assert set(yaml.safe_load(project.dvc("status", "--json"))) == {stage}
        (project.root / "params.yaml").write_text(former, encoding="utf-8")
    project.configure({"runtime.snapshot_seconds": 1, "runtime.progress": "none", "runtime.experiment": "other"})
    assert ran(project.dvc("repro")) == []


@pytest.fixture(scope="module")
def run(finished: Project) -> Any:
    (run,) = finished.mlflow_runs()
    return run


def test_the_run_has_ended_well(finished: Project, run: Any) -> None:
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert finished.read_json("models/run.json")["journal"] == run.data.tags["gptmodel.journal"]


def test_the_run_has_the_settings(run: Any, settings: dict[str, dict[str, Any]]) -> None:
    for section in ("model", "train"):
        names = {f"{section}.{key}" for key in settings[section]}
        assert names <= run.data.params.keys()
    assert run.data.params["train.learning_rate"] == "0.001"
    assert run.data.params["model.ngram_orders"] == "[]"


def test_the_run_has_the_curves_of_the_history(finished: Project, run: Any) -> None:
    for key in ("train_loss", "val_loss", "learning_rate"):
        rows = [(int(row["iteration"]), float(row[key])) for row in finished.history()]
        assert finished.points(run, key) == rows


def test_the_run_has_the_final_numbers(finished: Project, run: Any) -> None:
    trained = finished.read_json("metrics/train.json")
    for key in ("seconds", "tokens_per_second"):
        assert run.data.metrics[f"final/{key}"] == pytest.approx(trained[key])
    judged = finished.read_json("metrics/evaluate.json")
    for split in ("train", "val"):
        for key in ("loss", "perplexity", "bits_per_byte"):
            assert run.data.metrics[f"eval/{split}_{key}"] == pytest.approx(judged[split][key])
    assert run.data.metrics["eval/gap"] == pytest.approx(judged["gap"])


@pytest.mark.parametrize(
    ("folder", "file", "same_as"),
    [
        ("model", "model.pth", "models"),
        ("metrics", "history.csv", "metrics"),
        ("metrics", "evaluate.json", "metrics"),
        ("evaluation", "val_losses.npy", "evaluation"),
        ("evaluation", "passages.json", "evaluation"),
        ("plots", "loss_curves.png", "plots"),
        ("plots", "loss_by_position.png", "plots"),
        ("samples", "samples.txt", "samples"),
        ("metrics", "memorisation.json", "metrics"),
        ("reports", "report.html", "reports"),
    ],
)
def test_the_run_has_the_files(finished: Project, run: Any, folder: str, file: str, same_as: str) -> None:
    client = finished.client()
    assert f"{folder}/{file}" in {entry.path for entry in client.list_artifacts(run.info.run_id, folder)}
    artifact = finished.root / "mlartifacts" / run.info.run_id / "artifacts" / folder / file
    assert artifact.read_bytes() == (finished.root / same_as / file).read_bytes()


def test_the_run_names_code_data_and_model(finished: Project, run: Any) -> None:
    from gptmodel.files import digest

    tags = run.data.tags
    assert tags["text.sha256"] == finished.sha256("data/input.txt")
    assert tags["mlflow.source.git.commit"] == finished.git("rev-parse", "HEAD").strip()
    assert tags["gptmodel.git.dirty"] == "false"
    for split in ("train", "val"):
        assert tags[f"data.{split}.md5"] == digest(finished.root / f"data/prepared/{split}.bin", "md5")
    assert tags["model.md5"] == digest(finished.root / "models/model.pth", "md5")
    assert tags["verdict"] == finished.read_json("metrics/evaluate.json")["verdict"]
    assert tags["mlflow.note.content"].count(tags["verdict"]) == 1
    assert "this model" in tags["mlflow.note.content"]
    assert run.info.run_name == f"commit {finished.git('rev-parse', '--short', 'HEAD').strip()}"  # no setting differs


def test_the_run_names_the_dataset(run: Any) -> None:
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "source.txt"
    assert {tag.key: tag.value for tag in dataset.tags}["mlflow.data.context"] == "training"
