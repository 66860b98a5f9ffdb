"""The examination of what the project needs around it: what is installed, git, DVC, the disk, the MLflow store."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from gptmodel.doctor.disk import freeing_cache
from gptmodel.doctor.finding import Finding
from gptmodel.doctor.installation import installation
from gptmodel.errors import GptModelError
from gptmodel.params_file import load_params
from gptmodel.project.dvc_config import is_set
from gptmodel.project.git import git
from gptmodel.project.inputs import source_in_lock, text_elsewhere
from gptmodel.project.layout import Layout, leads_to_files, source_path
from gptmodel.project.lock import read_lock, read_pipeline
from gptmodel.tracking.addresses import check_address
from gptmodel.tracking.database import is_empty, own_database
from gptmodel.tracking.journal import journals
from gptmodel.units import listed, size

LITTLE_SPACE, TOO_LITTLE_SPACE = 2_000_000_000, 200_000_000  # bytes


def environment(root: Path) -> Iterator[Finding]:
    """Examine what the project needs around it."""
    yield from installation(root)
    yield from _repository(root)
    yield from _settings(root)
    yield from _text(root)
    for link in (Layout(root).source, Layout(root).val_source, Layout(root).init_from):
        yield from _source(link)
    yield from _space(root)
    yield from _store(root)


def _source(link: Path) -> Iterator[Finding]:
    """See whether the file is still where it was that a setting names, after which fetch calls the link."""
    if link.is_symlink() and not link.exists():
        text = f"data/{link.name}: {os.path.realpath(link)}, to which it is a link, is gone"
        yield Finding("problem", f"{text}: put that file back, or change {link.name}; `dvc repro` stops until then")


def _repository(root: Path) -> Iterator[Finding]:
    if not (root / "dvc.yaml").is_file():
        yield Finding("problem", f"{root} has no dvc.yaml: run this in the project's folder")
        return
    if not (root / ".dvc" / "config").is_file():
        yield Finding("problem", "DVC is not set up here: `git restore .dvc`, or `dvc init`")
    try:
        git(root, "rev-parse", "--git-dir")
    except GptModelError as error:
        if not is_set(root, "core", "no_scm"):
            its_own = "safe.directory" in str(error)  # of a folder that another user owns, git says itself what to do
            mend = "" if its_own else ": `git init`, or without git `dvc config core.no_scm true`"
            yield Finding("problem", f"{error}{mend}")
            return
    for name, read in (("dvc.yaml", read_pipeline), ("dvc.lock", read_lock)):
        try:
            if (root / name).is_file():
                read(root / name)
        except GptModelError as error:
            yield Finding("problem", f"{error}; `git checkout HEAD -- {name}` brings the committed one back")
            return
    text = "there is no dvc.lock yet: `dvc repro`" if not (root / "dvc.lock").is_file() else "dvc.lock is valid"
    yield Finding("ok", f"git and DVC are set up; {text}")


def _settings(root: Path) -> Iterator[Finding]:
    """See whether the stages take the settings: those of an older version lack what came since."""
    try:
        load_params(root / "params.yaml")
    except GptModelError as error:
        yield Finding("problem", str(error))
    else:
        yield Finding("ok", "params.yaml has all settings")


def _text(root: Path) -> Iterator[Finding]:
    """See whether a text of the user's own is missing, or what it was made of, which DVC does not bring."""
    source = source_in_lock(root) or "shakespeare"
    where = Layout().text if source == "own" else source_path(source)
    if where is None or os.path.lexists(root / where) or leads_to_files(root / where):
        return
    mend, is_watched = text_elsewhere(source, root), Layout(root).source.is_symlink()  # then it is told of the link
    if mend is not None and not is_watched:
        yield Finding(
            "note", f"{where} is not here, and dvc.lock was written with it (fetch.source is {source}): {mend}"
        )


def _space(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free
    if free < LITTLE_SPACE:
        text = f"{size(free)} are free on the disk. DVC's cache: {freeing_cache(root)}"
        yield Finding("problem" if free < TOO_LITTLE_SPACE else "note", text)
    else:
        yield Finding("ok", f"{size(free)} are free on the disk")


def _store(root: Path) -> Iterator[Finding]:
    """See whether plain `mlflow ui` in the project shows its runs."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        try:
            check_address(uri)
        except GptModelError as error:
            yield Finding("problem", str(error))
        else:
            yield Finding("ok", "MLFLOW_TRACKING_URI names the MLflow store, which is not examined")
        return
    if old := [path.parent.name for path in (root / "mlruns").glob("[0-9]*/meta.yaml")]:
        text = f"mlruns/ holds runs of an older MLflow ({listed(old)}), which `mlflow ui` opens in place of mlflow.db"
        yield Finding("problem", f"{text}: move the folder away")
    database = own_database(root)
    if os.path.lexists(database) and not database.is_file():
        yield Finding("problem", f"mlflow.db is no regular file: move it away; {_refill(root)}")
        return
    if is_empty(database):
        if any(journal.run() for journal in journals(root)):
            text = "there is no mlflow.db: it is gone, or its runs are in another store (MLFLOW_TRACKING_URI)"
            yield Finding("note", f"{text}; {_refill(root)}")
        else:
            yield Finding("ok", "there is no MLflow store yet: train makes it")
        return
    try:
        schema, newest = _schema(database), _newest_schemas()
    except sqlite3.Error as error:
        yield Finding("problem", f"mlflow.db cannot be read ({error}): move it away; {_refill(root)}")
        return
    if newest and schema not in newest:
        mend = f"make a copy of it, then run `mlflow db upgrade sqlite:///{database}`"
        yield Finding("problem", f"mlflow.db has the schema {schema} of another version of MLflow: {mend}")
    else:
        yield Finding("ok", f"mlflow.db ({size(database.stat().st_size)}) fits this version of MLflow")


def _refill(root: Path) -> str:
    """Say what brings the runs back."""
    runs = len(journals(root))
    return f"`gptmodel sync` fills a new one with the {runs} run{'' if runs == 1 else 's'} recorded in runs/tracking"


def _schema(database: Path) -> str | None:
    """Return the version of a database; sqlite3.Error for one of which a part is damaged."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
        result = str(connection.execute("pragma quick_check(1)").fetchone()[0])
        if result != "ok":
            raise sqlite3.DatabaseError(" ".join(result.split()))
        row = connection.execute("select version_num from alembic_version").fetchone()
    return str(row[0]) if row else None


def _newest_schemas() -> set[str]:
    """Return the schemas that the installed MLflow wants, read from its files: to import it takes seconds."""
    spec = find_spec("mlflow")
    if spec is None or spec.origin is None:
        return set()
    revisions: set[str] = set()
    upgraded: set[str] = set()
    for file in (Path(spec.origin).parent / "store" / "db_migrations" / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revisions |= set(re.findall(r"(?m)^revision\s*=\s*['\"](\w+)", text))
        upgraded |= set(re.findall(r"(?m)^down_revision\s*=\s*['\"](\w+)", text))
    return revisions - upgraded
