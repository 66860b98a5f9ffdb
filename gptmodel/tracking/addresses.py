"""Which addresses can be one of an MLflow store: what `MLFLOW_TRACKING_URI` has to look like."""

import os
import re
from urllib.parse import urlsplit

from gptmodel.address import without_password
from gptmodel.errors import GptModelError
from gptmodel.tracking.servers import is_server, is_web

DATABASES = ("postgresql", "mysql", "mssql")
FORMS = "http://HOST:PORT, postgresql://HOST/DATABASE or sqlite:////FOLDER/mlflow.db"
HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/.*)?", re.ASCII)


def check_address(uri: str) -> None:
    """Raise GptModelError for an address that can be none, where MLflow would speak of a registry or of nothing."""
    try:
        wrong = _wrong_server(uri) if is_server(uri) else _wrong_database(uri)
    except ValueError:  # brackets that hold no address: its own words would show part of a password
        wrong = "is no address"
    if wrong is not None:
        raise GptModelError(
            f"MLFLOW_TRACKING_URI = {without_password(uri)!r}: {wrong}; it has to look like {FORMS}"
        ) from None


def _wrong_server(uri: str) -> str | None:
    if not is_web(uri):
        return None
    try:
        parts = urlsplit(uri)
        is_whole = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", uri)
    except ValueError:  # a port that is none
        is_whole = False
    return None if is_whole else "has no host, or a port that is none"


def _wrong_database(uri: str) -> str | None:
    kind = uri.partition(":")[0].partition("+")[0] if "://" in uri else ""
    is_folder = kind in ("", "file") and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if kind in DATABASES or uri.startswith("sqlite:///") or is_folder:
        return None
    if HOST_AND_PORT.fullmatch(uri):
        return f"does not begin with http://, did you mean http://{uri}"
    if kind == "postgres":
        return "postgres:// is no kind of store, postgresql:// is"
    if uri.startswith("sqlite:"):
        return "has too few slashes"
    return (
        "names a folder, where MLflow keeps no more runs" if kind in ("", "file") else f"{kind}:// is no kind of store"
    )
