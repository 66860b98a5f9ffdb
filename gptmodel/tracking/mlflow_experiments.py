"""The experiment in MLflow that a run goes to: found by its name, made where there is none, refused where deleted."""

from typing import Any

from gptmodel.tracking.store import ExperimentDeletedError

DELETED = "deleted"
LIVING_AND_DELETED = 3
"""`ViewType.ALL` of mlflow.entities."""


def experiment_number(client: Any, name: str, location: str | None) -> str:
    """Return the number of the experiment of a name, made with its artifacts at `location` where there is none."""
    existing = living_experiment(client, name)
    if existing is not None:
        return str(existing.experiment_id)
    try:
        return str(client.create_experiment(name, location))
    except Exception as error:  # MLflow's own, if it was made from elsewhere since it was asked for
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(living_experiment(client, name).experiment_id)


def living_experiment(client: Any, name: str) -> Any:
    """Return the experiment of a name, or None; raise ExperimentDeletedError for a deleted one."""
    existing = client.get_experiment_by_name(name)
    check_alive(existing)
    return existing


def run_tagged(client: Any, experiment: str, tag: str, value: str) -> Any:
    """Return the run of an experiment that has a tag, or None; a deleted one only where there is no other."""
    existing = living_experiment(client, experiment)
    if existing is None:
        return None
    runs = client.search_runs([existing.experiment_id], f"tags.`{tag}` = '{value}'", LIVING_AND_DELETED)
    return min(runs, key=lambda run: run.info.lifecycle_stage == DELETED, default=None)


def check_alive(experiment: Any) -> None:
    """Raise ExperimentDeletedError for a deleted experiment; its message says how that is undone."""
    if experiment is not None and experiment.lifecycle_stage == DELETED:
        restore = f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        raise ExperimentDeletedError(
            f"experiment {experiment.name} was deleted in MLflow: restore it ({restore}), "
            "or set runtime.experiment to another name"
        )
