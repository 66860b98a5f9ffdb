"""The address of the store, and what can be seen and mended of a database file without MLflow.

MLflow stores where artifacts lie as absolute addresses. A copy or a move of the project makes them wrong: a copy would
write into the folder of the first one. So the project's own database remembers the folder that it is at home in. When
it finds itself in another folder, all that was below the old one is looked for below the new one.
"""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from gptmodel.address import without_password
from gptmodel.errors import GptModelError

SQLITE = "sqlite:///"
HOME_TAG = "gptmodel.home"
FIRST_EXPERIMENT = "0"
LOCATIONS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""The columns of MLflow's tables that hold the address of a folder of artifacts."""


def artifacts_folder(root: Path) -> Path:
    """Return the folder of all artifacts that the project stores itself."""
    return root / "mlartifacts"


def own_database(root: Path) -> Path:
    """Return the database that a project has for itself."""
    return root / "mlflow.db"


def store_uri(root: Path) -> str:
    """Return the address of the store: $MLFLOW_TRACKING_URI, or the project's own database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{own_database(root.resolve()).as_posix()}"


def store_address(root: Path) -> str:
    """Return the address of the store as it may be shown."""
    return without_password(store_uri(root))


def database_file(uri: str) -> Path | None:
    """Return the file behind an address; None for one that is no file."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_empty(database: Path) -> bool:
    """Whether there is no database yet."""
    return not database.exists() or database.stat().st_size == 0


def is_own(database: Path, root: Path) -> bool:
    """Whether a database is that of the project at `root` alone, which has to be resolved: no link shares it."""
    own = own_database(root)
    return database.resolve() == own and own.stat().st_nlink == 1


def check_database(database: Path, *, to_write: bool) -> None:
    """Fail in a second where MLflow would retry for minutes: a locked or foreign file, or a read-only one `to_write`.

    A link to a database is followed. GptModelError for what can never be one, sqlite3.Error for the rest.
    """
    if "?" in str(database):
        raise GptModelError(f"a sqlite address cannot hold a question mark: {SQLITE}{database}; move the project")
    filled = database.is_file() and database.stat().st_size > 0
    if not filled and os.path.lexists(database) and not stat.S_ISREG(database.lstat().st_mode):
        # a new database would take its place
        raise GptModelError(f"{database} is no regular file; move it away, or set MLFLOW_TRACKING_URI to another place")
    with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE" if to_write else "PRAGMA schema_version")


def settle(database: Path, root: Path) -> None:
    """Let the artifacts of a project's own database lie below `root`, which has to be resolved; else do nothing.

    One that is shared with another project, by a link of either kind, stays as it is. So do the artifacts that somebody
    keeps outside the project on purpose. Raises sqlite3.Error.
    """
    own = own_database(root)
    if is_empty(database) or not is_own(database, root):
        return
    with closing(sqlite3.connect(own, timeout=5.0, isolation_level=None)) as connection:
        if _home(connection) == root:
            return
        connection.execute("BEGIN IMMEDIATE")
        for former in _former_homes(connection, root):
            _move(connection, former.as_uri(), root.as_uri())
            _move(connection, former.as_posix(), root.as_posix())
        connection.execute(
            "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
            (HOME_TAG, root.as_posix(), FIRST_EXPERIMENT),
        )
        connection.execute("COMMIT")


def _home(connection: sqlite3.Connection) -> Path | None:
    question = "SELECT value FROM experiment_tags WHERE key = ? AND experiment_id = ?"
    row = connection.execute(question, (HOME_TAG, FIRST_EXPERIMENT)).fetchone()
    return Path(row[0]) if row else None


def _former_homes(connection: sqlite3.Connection, root: Path) -> set[Path]:
    """Return the folders that the database was at home in before.

    One that remembers none was filled by an older version, which put the artifacts of each experiment below the folder
    of the day.
    """
    home = _home(connection)
    if home is not None:
        return {home}
    ending = f"/{artifacts_folder(root).name}"
    locations = [str(row[0]) for row in connection.execute("SELECT artifact_location FROM experiments")]
    folders = [unquote(each.removeprefix("file://")) for each in locations if each.startswith("file:///")]
    homes = {Path(folder).parent for folder in folders if folder.endswith(ending)}
    return set() if root in homes else homes


def _move(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, columns in LOCATIONS.items():
        for column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
            )
