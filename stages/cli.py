"""The `gptmodel` command: every stage, and what one needs around them."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from gptmodel.errors import GptModelError
from stages import (
    baselines,
    compare,
    doctor,
    evaluate,
    export,
    fetch,
    importing,
    plan,
    prepare,
    preset,
    register,
    report,
    sample,
    serve,
    sync,
    train,
    tune,
    ui,
    verify,
)
from stages.command import main, new_app, say

app = new_app(help="Train, evaluate and sample a GPT on your own text. `dvc repro` runs all stages.")
for stage in (fetch, prepare, baselines, train, evaluate, sample, report, plan):  # as they are by themselves
    app.registered_commands += stage.app.registered_commands
for command in (serve.serve, compare.compare, export.export, register.register, preset.preset, ui.ui, sync.sync):
    app.command()(command)
for command in (tune.tune, verify.verify, doctor.doctor):
    app.command()(command)
app.command("import")(importing.import_model)


def _say_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        say(version("gptmodel"))
    except PackageNotFoundError:
        raise GptModelError("gptmodel has no version here, as it is not installed: `pip install -e .`") from None
    raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def run() -> None:
    """Entry point of the installed command."""
    main(app)


if __name__ == "__main__":
    run()
