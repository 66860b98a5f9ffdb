"""Where studies are kept: a database of Optuna's, in the project or elsewhere, and the turns of workers there."""

import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from gptmodel.address import without_password
from gptmodel.errors import StudyError, missing_library

SQLITE = "sqlite:///"
KINDS = re.compile(r"(postgresql|postgresql\+psycopg)://.+|sqlite:///.+")
FORMS = "postgresql://USER@HOST/DATABASE or sqlite:////FOLDER/studies.db"
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 60
"""How often a worker says that it lives, and for how long it may be silent before another finishes its trial."""
WAIT_SECONDS = 60  # for another process that writes to a database file
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
TRIES = 5  # of workers that begin at once and all make the tables

FAILURES = (SQLAlchemyError, StorageInternalError)


def own_address(root: Path) -> str:
    """Return the address of the studies that a project keeps itself."""
    return f"{SQLITE}{(root.resolve() / 'studies.db').as_posix()}"


def is_missing(address: str) -> bool:
    """Whether an address is that of a file that is not there."""
    return address.startswith(SQLITE) and not Path(address.removeprefix(SQLITE)).exists()


class Storage:
    """An open database of studies."""

    def __init__(self, address: str) -> None:
        """Open it, and make its tables where there are none; StudyError where that cannot be done."""
        self.shown = without_password(address)
        if not KINDS.fullmatch(address):
            raise StudyError(f"OPTUNA_STORAGE = {self.shown!r}: is no address of studies; it has to look like {FORMS}")
        self._file = Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)  # a heartbeat is one to Optuna
        warnings.filterwarnings("ignore", module=r"optuna\.")
        with self.failures():
            self.rdb = self._opened(address)

    def _opened(self, address: str) -> RDBStorage:
        arguments: dict[str, Any] = (
            {"connect_args": {"timeout": WAIT_SECONDS}} if self._file is not None else {"pool_pre_ping": True}
        )
        for remaining in reversed(range(TRIES)):
            self._check(address, arguments)
            try:
                return RDBStorage(address, arguments, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)
            except DatabaseError:  # another worker made the same table at the same moment
                if not remaining:
                    raise
            except RuntimeError as error:
                raise StudyError(f"{self.shown}: {' '.join(str(error).split())}") from None
        raise AssertionError

    def _check(self, address: str, arguments: dict[str, Any]) -> None:
        """Refuse a database with the tables of something else, such as MLflow's: each would take them for its own."""
        engine = sqlalchemy.create_engine(address, **arguments)
        try:
            tables = sqlalchemy.inspect(engine).get_table_names()
        finally:
            engine.dispose()
        if "alembic_version" in tables and "studies" not in tables:
            raise StudyError(
                f"OPTUNA_STORAGE = {self.shown!r}: holds the tables of something else, such as MLflow; "
                "studies need a database of their own (in PostgreSQL: CREATE DATABASE studies)"
            )

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the database or its library raises in the block into a StudyError without a password."""
        try:
            yield
        except (*FAILURES, ImportError) as error:
            raise self.error(error) from None

    def error(self, error: BaseException) -> StudyError:
        """Return a failure of the database in words."""
        reason = missing_library(error) or without_password(_words(error))
        if isinstance(error, NoSuchModuleError | ArgumentError):
            reason = f"is no address of studies; it has to look like {FORMS}"
        mend = "nothing is lost: mend that, and run the same command again"
        if getattr(_original(error), "sqlite_errorcode", 0) & 0xFF in DAMAGED:  # above stands what is damaged of it
            mend = "move that file away, and its studies begin anew"
        return StudyError(f"the studies at {self.shown}: {reason}; {mend}")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep all other workers of this database from looking for a trial until the block ends."""
        if self._file is not None:
            lock = FileLock(f"{self._file}.lock")
            try:
                held = lock.acquire(timeout=WAIT_SECONDS)
            except Timeout:
                raise StudyError(
                    f"{lock.lock_file}: another worker holds it; wait until that ends, or stop it"
                ) from None
            with held:
                yield
            return
        with self.rdb.engine.connect() as connection:
            key = {"key": "gptmodel tune"}
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(hashtext(:key))"), key)
            try:
                yield
            finally:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(hashtext(:key))"), key)

    def beat(self, study: str, number: int) -> None:
        """Say that the worker of a trial lives."""
        study_id = self.rdb.get_study_id_from_name(study)
        self.rdb.record_heartbeat(self.rdb.get_trial_id_from_study_id_trial_number(study_id, number))


def _original(error: BaseException) -> BaseException:
    """Return what the database raised, or else what was raised for it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError) and cause.orig is not None:
            return cause.orig
        cause = cause.__cause__ or cause.__context__
    return error


def _words(error: BaseException) -> str:
    """Return the first line of what the database said, or all words of what was raised for it."""
    original = _original(error)
    if original is not error:
        return " ".join(f"{original} ".splitlines()[0].split())
    return " ".join(str(error).split()) or type(error).__name__
