"""The section `runtime` of params.yaml: who computes, and how it is watched."""

from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from gptmodel.section import Section, key


def _number_or_auto(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 0 < value <= 1024):
        return value
    raise ValueError("has to be auto, or a whole number from 1 to 1024")


Threads = Annotated[int | Literal["auto"], PlainValidator(_number_or_auto)]


class RuntimeParams(Section):
    """Settings that cannot change a result: no stage depends on this section."""

    threads: Threads = key("auto", "CPU threads that train; auto = one a part, up to one a core; 1 does all alone")
    processes: int = key(1, "processes of this machine that train together, sharing train.parts", gt=0, le=1024)
    launcher: str | None = key(
        None, "command before `-m stages.train`, for several machines (docs/PROCESSES.md); null = none", min_length=1
    )
    restarts: int = key(0, "times that the processes are started again when one of them dies", ge=0, le=1000)
    rank_timeout: float = key(600, "seconds after which a process that does not answer is given up", gt=0.0, le=1e6)
    snapshot_seconds: float = key(30, "seconds between two snapshots for resuming a killed run", gt=0.0)
    progress: Literal["auto", "bar", "lines", "none"] = key(
        "auto", "how progress is shown; auto = a bar on a terminal, else lines"
    )
    mlflow: bool = key(True, "track runs in MLflow")
    experiment: str = key("gptmodel", "name of the MLflow experiment", min_length=1)
