"""`gptmodel evaluate --data TEXT` and `--test`: the loss of a model on one text, without a verdict or a tracker."""

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
TestOption = Annotated[
    bool, typer.Option("--test", help="Score the test split instead, which nothing else looks at.", show_default=False)
]


def evaluate_text(text: Path | None, model_file: Path, params: "Params", out: Path) -> None:
    """Score a text, which the model's own tokenizer encodes, as one split; without one, the test split."""
    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.data.prepared import load_prepared
    from gptmodel.evaluation.report import split_line
    from gptmodel.evaluation.scores import score_test, score_text
    from gptmodel.files import write_json

    place, most = Place.of(params, "evaluate"), params.evaluate.max_tokens
    model = load_model(model_file, place.device)
    if text is not None:
        name, split = "text", score_text(model, text, place, most)
    else:
        name, split = "test", score_test(model, load_prepared(Layout().prepared), place, most)
    if out != Path():
        write_json(Layout(out).metrics("evaluate"), {name: split.metrics()}, in_order=True)
    (say if out == Path() else tell)(split_line(name, split))
