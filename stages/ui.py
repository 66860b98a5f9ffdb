"""Show the project's runs in the browser, until Ctrl-C."""

from typing import Annotated

import typer

from gptmodel.project.layout import check_project, project_root
from stages.command import note, say

PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")]


def ui(port: PortOption = 5000) -> None:
    """Show the runs in the browser, until Ctrl-C."""
    from gptmodel.tracking.ui_server import UiServer

    root = project_root()
    check_project(root)
    server = UiServer(root, port)
    note(f"starting mlflow ui for {server.address}; it takes about 15 seconds")
    with server.running() as process:
        try:
            say(f"open {server.page(process)} (Ctrl-C stops it)")
            server.wait(process)
        except KeyboardInterrupt:
            note("stopped")
