"""Send the runs that MLflow could not take when they were made."""

from gptmodel.project.layout import project_root
from stages.command import say


def sync() -> None:
    """Send to MLflow what it missed. Also marks there the runs that were killed."""
    from gptmodel.tracking.send_to_mlflow import UnsentError
    from gptmodel.tracking.send_to_mlflow import sync as send

    try:
        lines = send(project_root())
    except UnsentError as error:
        for line in error.lines:
            say(line)
        raise
    for line in lines:
        say(line)
