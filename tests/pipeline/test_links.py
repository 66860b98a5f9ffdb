"""DVC may put links into its cache in the place of outs: no stage writes through one."""

import hashlib
import stat

import pytest
from pipeline_helpers import Project


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_no_stage_writes_into_dvcs_cache(project: Project, kind: str) -> None:
    project.dvc("config", "cache.type", kind)
    project.dvc("checkout", "--relink")
    picture = (project.root / "plots" / "loss_curves.png").lstat()
    assert picture.st_nlink > 1 or stat.S_ISLNK(picture.st_mode)
    cache = project.root / ".dvc" / "cache" / "files" / "md5"
    cached = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".dir"]
    assert len(cached) >= 7  # three prepared files, a model, its run, two pictures, samples
    other = ("-S", "prepare.train_fraction=0.8")
    project.gptmodel("prepare", *other)
    project.gptmodel("train", "-S", "train.seed=3", "-S", "runtime.mlflow=false")
    project.gptmodel("evaluate", "-S", "evaluate.overfit_gap=0.2", "-S", "runtime.mlflow=false")
    project.gptmodel("sample", "-S", "sample.seed=3", DVC_STAGE="sample")  # by hand it only prints
    for path in cached:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert digest == path.parent.name + path.name.removesuffix(".dir"), path
