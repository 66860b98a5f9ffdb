"""Import a model that another program trained."""

from pathlib import Path
from typing import Annotated

import typer

from stages.command import note, say

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder with a GPT-2 that transformers saved.", show_default=False)
]
FileOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The model file to make.")]
OUT = Path("models/imported.pth")


def import_model(folder: FolderArgument, out: FileOption = OUT) -> None:
    """Make a model file of a GPT-2 that transformers saved.

    No code in the folder is run (docs/EXPORT.md)."""
    from gptmodel.pretrained.folder import import_folder

    note("importing takes up to a minute ...")
    model = import_folder(folder, out)
    parameters = sum(weight.numel() for weight in model.transformer.parameters())
    say(f"{out}: GPT-2 with {parameters:,} parameters and blocks of {model.params.block_size} tokens")
    say(f"gptmodel sample --model {out} --prompt 'To be, or'")
