"""Use a preset for the model and its training, and keep all else that params.yaml says."""

from typing import Annotated

import typer

from stages.command import say
from stages.options import PARAMS_FILE

NameArgument = Annotated[str | None, typer.Argument(metavar="NAME", help="One of the presets.", show_default=False)]


def preset(name: NameArgument = None) -> None:
    """Use the model and the training of a preset. Without a name, lists the presets."""
    from gptmodel.presets import PRESETS, use
    from gptmodel.section import plain

    if name is None:
        for each, known in PRESETS.items():
            say(f"{each:<8}  {known.parameters:>10,} parameters  {known.megabytes:>3} MB  {known.words}")
        say("sizes are those for the default text; `gptmodel preset NAME` changes params.yaml")
        return
    changes = use(PARAMS_FILE, name)
    for key, (former, value) in changes.items():
        say(f"{key}: {plain(former)} -> {plain(value)}")
    if changes:
        say(f"{PARAMS_FILE}: {len(changes)} keys changed, all else kept; `gptmodel plan` says what a run will take")
    else:
        say(f"{PARAMS_FILE}: has the model and the training of {name} already")
