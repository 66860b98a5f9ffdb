"""`gptmodel evaluate --data TEXT`: the loss of a model on any text, without a verdict, and written with --out only."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptmodel.project.layout import Layout
from stages.command import say, tell

if TYPE_CHECKING:
    from gptmodel.config import Params

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="TEXT", help="Score this text file instead, and judge nothing.")
]


def evaluate_text(text: Path, model_file: Path, params: "Params", out: Path) -> None:
    """Score a text, which the model's own tokenizer encodes, as one split."""
    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.evaluation.report import split_line
    from gptmodel.evaluation.scores import score_text
    from gptmodel.files import write_json

    place = Place.of(params, "evaluate")
    split = score_text(load_model(model_file, place.device), text, place, params.evaluate.max_tokens)
    if out != Path():
        write_json(Layout(out).metrics("evaluate"), {"text": split.metrics()}, in_order=True)
    (say if out == Path() else tell)(split_line("text", split))
