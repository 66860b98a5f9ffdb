"""DVC remotes on real servers: what one clone pushes, another pulls, and then it has nothing left to do."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from pipeline_helpers import Project, ran, run_once
from projects import new_project as small_project
from real_servers import KEY, PASSWORD, Ssh, Store, needs
from recipes import recipe

pytestmark = pytest.mark.services
UP_TO_DATE = "Data and pipelines are up to date."
ANOTHER = "Work on another machine"


def typed(project: Project, commands: str, status: int = 0, **environment: str) -> str:
    """Run commands as in a shell in the project's folder, each has to succeed; return all that they say."""
    script = f'gptmodel() {{ python -m stages.cli "$@"; }}; set -e; {commands}'
    said = project.run("bash", "-c", script, status=status, **environment)
    return said.stdout + said.stderr


def line(number: int, commands: str) -> str:
    """Return one of the commands."""
    return commands.splitlines()[number]


def committed(factory: pytest.TempPathFactory, folder: Path, hub: Path) -> Project:
    """Return a project after `dvc repro` and a commit, whose git remote is an empty repository."""
    project = run_once(factory)[1].copy_to(folder)
    project.commit()
    project.git("init", "--quiet", "--bare", str(hub))
    project.git("remote", "set-url", "origin", str(hub))
    return project


def clone(project: Project, folder: Path, login: Mapping[str, str]) -> Project:
    """Return a clone of what the project has pushed to its git remote."""
    project.git("push", "--quiet", "origin", "main")
    hub = project.git("remote", "get-url", "origin").strip()
    project.git("clone", "--quiet", "--branch", "main", hub, str(folder))
    other = Project(folder)
    other.environment |= {**login, "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-site-cache")}
    other.sign()
    return other


@pytest.fixture(scope="module")
def on_s3(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A project that pushed to S3, and a clone that pulled from there."""
    needs("dvc_s3")
    folder = tmp_path_factory.mktemp("s3")
    project = committed(tmp_path_factory, folder / "project", folder / "hub")
    project.environment |= store.login
    names = {"BUCKET": store.bucket, "http://127.0.0.1:8333": store.endpoint}
    assert "files pushed" in typed(project, recipe("A DVC remote on S3", names))
    other = clone(project, folder / "other", store.login)
    assert "files fetched" in typed(other, line(0, recipe(ANOTHER, {})))
    return project, other


def test_after_a_pull_from_s3_nothing_is_left_to_do(on_s3: tuple[Project, Project]) -> None:
    project, other = on_s3
    assert UP_TO_DATE in typed(other, line(1, recipe(ANOTHER, {})))
    for name in ("models/model.pth", "reports/report.html", "evaluation/val_losses.npy", "data/prepared/train.bin"):
        assert other.sha256(name) == project.sha256(name)
    assert not (other.root / "data/input.txt").exists()
    assert not other.git("status", "--short")
    written = [path for folder in (project, other) for path in folder.root.rglob("*") if path.is_file()]
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes() or KEY.encode() in path.read_bytes()]


@pytest.mark.slow
def test_what_was_pulled_is_proven(on_s3: tuple[Project, Project]) -> None:
    assert "dvc.lock is proven" in typed(on_s3[1], line(2, recipe(ANOTHER, {})))


@pytest.mark.slow
def test_an_experiment_is_shared(on_s3: tuple[Project, Project]) -> None:
    project, other = on_s3
    typed(project, recipe("Share an experiment", {}))
    said = typed(other, recipe("Share an experiment", {}, block=1))
    assert ran(said) == []
    assert UP_TO_DATE in said
    assert other.sha256("samples/samples.txt") == project.sha256("samples/samples.txt")
    assert "temperature: 0.5" in (other.root / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_who_trained_at_the_same_time_merge(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """As one of them has it, with nothing to train; or with the settings of both, trained anew."""
    one = committed(tmp_path_factory, tmp_path / "one", tmp_path / "hub")
    typed(one, recipe("A DVC remote in a folder", {"/FOLDER": str(tmp_path / "store")}))
    other = clone(one, tmp_path / "other", {})
    typed(other, "dvc pull")
    for project, key in ((one, "train.seed"), (other, "train.learning_rate")):
        project.configure({key: 2})
        project.dvc("repro")
        project.commit()
    typed(other, "dvc push; git push")
    pull, trained, as_it_is = (recipe("Two trained at the same time", {}, block) for block in range(3))

    assert "CONFLICT" in typed(one, pull, status=1)
    told = typed(one, "gptmodel doctor", status=2)
    assert re.search(r"dvc.lock: not valid YAML: line \d+: git left a merge conflict here", told)
    typed(one, "git checkout HEAD -- dvc.lock")  # what doctor tells to do, and git restore refuses
    assert UP_TO_DATE in typed(one, as_it_is)
    assert one.sha256("models/model.pth") == other.sha256("models/model.pth")
    typed(one, "git merge --abort; dvc checkout")

    assert "CONFLICT" in typed(one, pull, status=1)
    assert ran(typed(one, trained)) == ["train", "evaluate", "sample", "report"]
    assert not one.git("status", "--short")
    settings = yaml.safe_load((one.root / "params.yaml").read_text(encoding="utf-8"))["train"]
    assert settings["seed"] == settings["learning_rate"] == 2
    assert "HEAD^2" in typed(one, "dvc fetch --all-commits; gptmodel compare HEAD^1 HEAD^2")


def test_a_text_in_a_bucket(store: Store, tmp_path: Path) -> None:
    """It is fetched by its sha256; a login that is none is one line, and neither is told."""
    project = small_project(tmp_path / "project")
    path = project.folder / "data" / "input.txt"
    content = path.read_bytes()
    path.unlink()
    store.client.put_object(Bucket=store.bucket, Key="text.txt", Body=content)
    names = {"BUCKET": store.bucket, "0" * 64: hashlib.sha256(content).hexdigest()}
    settings = yaml.safe_load(recipe("A text in a bucket", names))["fetch"]
    words = [word for key, value in settings.items() for word in ("-S", f"fetch.{key}={value}")]
    login = store.login | {"AWS_ENDPOINT_URL": store.endpoint}
    refused = project.run("fetch", *words, **login | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert refused.status == 2
    assert refused.error.splitlines()[-1].startswith(f"error: s3://{store.bucket}/text.txt: cannot be fetched: ")
    assert "Traceback" not in refused.error
    assert not path.exists()
    project.succeed("fetch", *words, **login)
    assert path.read_bytes() == content
    assert not [file for file in project.folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


@pytest.mark.slow
def test_a_text_of_ones_own_stays_at_home(
    ssh_server: Ssh, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Over SSH too everything comes but the text: what then is to be done is said, and it works."""
    project = committed(tmp_path_factory, tmp_path / "project", tmp_path / "hub")
    project.configure({"fetch.source": "own"})
    assert ran(project.dvc("repro")) == ["fetch", "prepare"]  # the text has another name now
    project.commit()
    server = ssh_server
    names = {"USER": server.user, "HOST": "127.0.0.1", ":22": f":{server.port}", "/PATH": str(server.folder)}
    assert "files pushed" in typed(
        project, recipe("A DVC remote over SSH", names | {"~/.ssh/id_ed25519": str(server.key)})
    )
    assert list(server.folder.rglob("*.dir"))

    other = clone(project, tmp_path / "other", {})
    typed(other, f"dvc remote modify --local store keyfile {server.key}")
    md5 = project_md5(project)
    assert f"goes on without it; or put the text there that has the md5 {md5} (its" in typed(other, "gptmodel doctor")
    typed(other, line(0, recipe(ANOTHER, {})))
    assert UP_TO_DATE in typed(other, line(1, recipe(ANOTHER, {})))

    mend = "`dvc repro --allow-missing` goes on without it; or put the text there that has the sha256 "
    mend += project.sha256("data/input.txt")
    refused = f"error: data/input.txt: no such file, and fetch.source is own; {mend}\n"
    assert refused in other.dvc("repro", status=255)
    assert other.gptmodel("fetch", status=2).stderr == refused
    assert f"data/input.txt is not here, and dvc.lock was written with it (fetch.source is own): {mend}" in typed(
        other, "gptmodel doctor"
    )
    other.configure({"train.max_iters": 3})
    assert ran(other.dvc("repro", "--allow-missing")) == ["train", "evaluate", "sample", "report"]
    other.git("checkout", "--", ".")
    other.dvc("checkout")  # else what the other settings made is still there
    unproven = typed(other, "gptmodel verify --stage fetch", status=2)
    assert (
        "your own text is not here, and DVC does not store it: put it there; `gptmodel doctor` says which" in unproven
    )
    (other.root / "data" / "input.txt").write_bytes((project.root / "data" / "input.txt").read_bytes())
    assert ran(other.dvc("repro")) == ["fetch"]  # which finds the text, and nothing behind it has changed
    assert "data/input.txt" not in typed(other, "gptmodel doctor")
    assert "dvc.lock is proven" in typed(other, line(2, recipe(ANOTHER, {})))


def project_md5(project: Project) -> str:
    """Return DVC's digest of the project's text."""
    lock = (project.root / "dvc.lock").read_text(encoding="utf-8")
    return lock.partition("path: data/input.txt")[2].partition("md5: ")[2].split()[0]
