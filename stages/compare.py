"""Say which of some trained models is better, with the noise of the text and of the seed."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gptmodel.errors import ConfigError
from gptmodel.project.layout import Layout
from stages.command import note, say
from stages.contenders import find, scored

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="Model files, git revisions, DVC experiments, MLflow runs (id or name), or models:/NAME@ALIAS of MLflow.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print plain values, in nats per byte, instead of sentences.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page that shows where they differ most.")
]


def compare(names: Names, as_json: JsonOption = False, html: HtmlOption = None) -> None:
    """Compare trained models on their held-out text. Each is set beside the first: better, worse, or cannot be told."""
    if len(names) < 2:
        raise ConfigError(f"{names[0]}: give two models or more; the first one is what the others are compared with")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{repeated}: is given twice; give two different models")

    from gptmodel.data.prepared import load_prepared
    from gptmodel.files import atomic_write, json_bytes
    from gptmodel.reporting.comparison import Comparison, page

    data = load_prepared(Layout().prepared) if Layout().prepared.is_dir() else None
    with tempfile.TemporaryDirectory() as folder:
        runs, text = scored([find(name, Path(folder)) for name in names], data)
    comparison = Comparison.of(runs)
    if as_json:
        say(json_bytes(comparison.values()).decode(), end="")
    else:
        for line in comparison.lines():
            say(line)
    if html is not None:
        atomic_write(html, page(comparison, text).encode())
        note(f"note: {html} shows where they differ most")
