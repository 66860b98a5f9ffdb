"""A port that is taken, for every server that a person starts."""

import os
import socket
from pathlib import Path

import pytest

from gptmodel.errors import ConfigError
from gptmodel.port import listening
from gptmodel.tracking.ui_server import UiServer


def test_a_port_that_is_taken_is_told_with_another() -> None:
    with listening(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: .*in use; name another, such as --port {port + 1}$"):
            listening(port)


@pytest.mark.parametrize("start", [listening, lambda port: UiServer(Path(), port)], ids=["serve", "ui"])
def test_the_last_port_has_none_after_it(start: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket.socket, "bind", taken)
    with pytest.raises(ConfigError, match=r"such as --port 65534$"):
        start(65535)  # type: ignore[operator]


@pytest.mark.parametrize(("system", "options"), [("posix", [socket.SO_REUSEADDR]), ("nt", [])])
def test_two_servers_on_one_port_are_allowed_nowhere(
    system: str, options: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What frees the port of a server that has ended on POSIX lets another server have it on Windows."""
    set_there: list[int] = []
    monkeypatch.setattr(socket.socket, "setsockopt", lambda _self, _level, option, _value: set_there.append(option))
    monkeypatch.setattr(os, "name", system)
    listening(0).close()
    assert set_there == options
