"""What holds for servers: which addresses are some, and that those on this machine are spoken to without a proxy."""

import ipaddress
import json
import os
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

SCHEMES = {"http", "https", "databricks", "databricks-uc", "uc"}
LOCAL = ("localhost", "127.0.0.1", "::1")


def is_server(uri: str) -> bool:
    """Whether an address of MLflow's names a server, which knows itself where artifacts go, and no database."""
    return urlsplit(uri).scheme in SCHEMES or uri in SCHEMES


def is_web(uri: str) -> bool:
    """Whether a browser can open this address of MLflow's."""
    return uri.startswith(("http://", "https://"))


def pass_proxy_by(uri: str) -> None:
    """Let this process, and those that it starts, speak to servers on this machine without a proxy.

    A proxy that `http_proxy` names, perhaps on another machine, would look for them there.
    """
    host = urlsplit(uri).hostname or ""
    hosts = {*LOCAL, host} if _is_local(host) else {*LOCAL}
    names = [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["no_proxy"]
    for name in names:
        value = os.environ.get(name, "")
        if value.strip() != "*":  # all addresses: it has to stand alone
            listed = [each.strip() for each in value.split(",") if each.strip()]
            os.environ[name] = ",".join([*listed, *sorted(hosts - {*listed})])


def read_directly(url: str, seconds: float, content: Mapping[str, Any] | None = None) -> bytes:
    """Read what a server on this machine answers, without a proxy; OSError when it does not answer in time.

    `content` is sent to it as JSON.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    with opener.open(request, timeout=seconds) as answer:
        return bytes(answer.read())


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
