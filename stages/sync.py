"""Send the runs that MLflow could not take when they were made."""

import typer

from gptmodel.project.layout import project_root


def sync() -> None:
    """Send to MLflow what it could not take before, and mark runs that were killed."""
    from gptmodel.tracking.send_to_mlflow import UnsentError
    from gptmodel.tracking.send_to_mlflow import sync as send

    try:
        lines = send(project_root())
    except UnsentError as error:
        typer.echo("".join(f"{line}\n" for line in error.lines), nl=False)
        raise
    for line in lines:
        typer.echo(line)
