"""One tiny pipeline, run once with the real `dvc repro`; tests that change it work on copies."""

import random
from pathlib import Path

import pytest
from pipeline_helpers import Project, new_project

TINY = {
    "fetch.source": "source.txt",
    "fetch.sha256": None,
    "model.block_size": 8,
    "model.n_embd": 16,
    "model.n_head": 2,
    "model.n_layer": 1,
    "train.batch_size": 4,
    "train.max_iters": 200,
    "train.eval_interval": 40,
    "train.eval_iters": 2,
    "train.threads": 1,
    "train.device": "cpu",
    "evaluate.threads": 1,
    "evaluate.device": "cpu",
    "sample.threads": 1,
    "sample.device": "cpu",
    "sample.max_new_tokens": 10,
    "sample.num_samples": 2,
    "runtime.progress": "lines",
}


def text(seed: int) -> str:
    """Return some lines of invented words; its first characters are all it has."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 6))) for _ in range(60)]
    return "abcdefghij\n" + "\n".join(" ".join(draw.choices(words, k=8)) for _ in range(150)) + "\n"


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project with tiny settings in which nothing was run yet; do not change it."""
    project = new_project(tmp_path_factory.mktemp("pipeline") / "origin")
    (project.root / "source.txt").write_text(text(0), encoding="utf-8")
    project.configure(TINY)
    project.commit()
    return project


@pytest.fixture(scope="session")
def finished(origin: Project) -> Project:
    """A clone of the project after `dvc repro`; do not change it."""
    project = origin.clone_to(origin.root.with_name("finished"))
    project.dvc("repro")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project to change."""
    return finished.copy_to(tmp_path / "project")


@pytest.fixture
def fresh(origin: Project, tmp_path: Path) -> Project:
    """A fresh clone, in which nothing was run yet."""
    return origin.clone_to(tmp_path / "clone")
