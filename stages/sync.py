"""Send the runs that MLflow could not take when they were made."""

from gptmodel.errors import GptModelError
from gptmodel.project.layout import check_project, project_root
from stages.command import say
from stages.options import PARAMS_FILE


def sync() -> None:
    """Send to MLflow what it missed. Also marks there the runs that were killed."""
    from gptmodel.params_file import load_params
    from gptmodel.tracking.sync import sync as send

    root = project_root()
    check_project(root)
    try:
        experiment = load_params(root / PARAMS_FILE).runtime.experiment
    except GptModelError:  # needed only where a run's own experiment was deleted
        experiment = None
    for line in send(root, experiment):
        say(line)
