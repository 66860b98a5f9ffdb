"""Serve trained models to OpenAI's clients and to a browser, on this machine, until Ctrl-C."""

from typing import Annotated

import typer

from gptmodel.project.layout import Layout
from stages.command import note, say
from stages.options import MODEL_FILE

ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help=f"Model files, or of MLflow runs:/ID and models:/NAME@ALIAS.  [default: {MODEL_FILE}]",
        show_default=False,
    ),
]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")]


def serve(models: ModelsArgument = None, port: PortOption = 8000) -> None:
    """Serve models to a browser and to OpenAI's clients. Runs on this machine only, until Ctrl-C."""
    from gptmodel.port import HOST, listening
    from gptmodel.serving.app import Api
    from gptmodel.serving.models import Shelf
    from gptmodel.serving.server import Server

    try:
        with listening(port) as listener:  # before the models are loaded, which takes seconds
            shelf = Shelf(models or [str(MODEL_FILE)], Layout().prepared)
            names = ", ".join(model.name for model in shelf.models)
            address = f"http://{HOST}:{port}"
            say(f"open {address} (Ctrl-C stops it); OpenAI's clients take {address}/v1, and as model: {names}")
            Server(Api(shelf)).serve_on(listener)
    except KeyboardInterrupt:
        note("stopped")
