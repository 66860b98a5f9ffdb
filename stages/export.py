"""Write a trained model for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from stages.command import note, say
from stages.options import MODEL_FILE, ModelOption

FormatArgument = Annotated[
    str, typer.Argument(metavar="FORMAT", help="huggingface, safetensors, onnx or gguf.", show_default=False)
]
FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make.", show_default=False)]


def export(name: FormatArgument, out: FolderOption, model_file: ModelOption = MODEL_FILE) -> None:
    """Write a model for other programs. It is read back, and has to compute the same there (docs/EXPORT.md)."""
    from gptmodel.export.bundle import export
    from gptmodel.units import size

    note("exporting takes up to a minute ...")
    bundle = export(model_file, name, out)
    say(f"{out}: {bundle.kind}, {size(bundle.bytes)}; as read back, {bundle.certificate.words()}")
    say(bundle.use)
