"""A port of this machine alone, for the servers that a person starts here."""

import os
import socket

from gptmodel.errors import ConfigError

HOST = "127.0.0.1"
BACKLOG = 256
"""Connections that may wait to be taken."""


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port, which no other machine can reach; ConfigError if the port is taken.

    Port 0 is any that is free.
    """
    listener = socket.socket()
    if os.name == "posix":  # a server that has just ended leaves its port free; on Windows so would one that runs
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        other = port + 1 if port < 65535 else port - 1
        raise ConfigError(f"--port {port}: {error.strerror}; name another, such as --port {other}") from None
    return listener
