"""Send the runs that MLflow could not take when they were made."""

import typer

from gptmodel.project.layout import project_root


def sync() -> None:
    """Send to MLflow what it missed. Also marks there the runs that were killed."""
    from gptmodel.tracking.send_to_mlflow import sync as send

    for line in send(project_root()):
        typer.echo(line)
