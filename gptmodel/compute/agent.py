"""Starting and watching the processes of a training on this machine, by the elastic agent that torchrun has."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gptmodel.compute.ranks import STORE_VARIABLE
from gptmodel.errors import GptModelError

SECONDS_TO_SAVE = 60  # after a signal, until a process is killed


def run_agent(processes: int, restarts: int, command: Sequence[str]) -> int:
    """Run a command in so many processes, which find each other by `ranks.joined`, and return the exit status.

    That is the status of the process that failed first; all are started again before, as often as `restarts` says. A
    signal to this process is passed on to them, and then the status is 128 and its number. Raises GptModelError where
    one of them was killed, which could not tell why.
    """
    logging.disable(logging.CRITICAL)  # the agent's own words on what the processes tell
    with tempfile.TemporaryDirectory(prefix="gptmodel-ranks-") as folder:
        os.environ[STORE_VARIABLE] = str(Path(folder, "store"))
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="gptmodel",
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder, "rendezvous")),
            rdzv_configs={"store_type": "file"},
            local_addr="localhost",
            max_restarts=restarts,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=SECONDS_TO_SAVE,
        )
        try:
            elastic_launch(config, command[0])(*command[1:])
        except SignalException as stop:
            return 128 + stop.sigval
        except ChildFailedError as error:
            return _status(error.failures, processes)
        finally:
            logging.disable(logging.NOTSET)
    return 0


def _status(failures: Mapping[int, ProcessFailure], processes: int) -> int:
    """Return the exit status of the process that failed first; GptModelError if it was killed."""
    # whoever is killed makes the others fail, and the agent ends them by SIGTERM
    killed = {rank: it for rank, it in failures.items() if it.exitcode < 0 and it.exitcode != -signal.SIGTERM}
    rank, failure = min((killed or failures).items(), key=lambda item: item[1].timestamp)
    if failure.exitcode >= 0:
        return failure.exitcode
    name = signal.Signals(-failure.exitcode).name
    raise GptModelError(
        f"process {rank} of {processes} (counted from 0) was ended by {name}; what was saved last is kept: run the "
        "same command to go on"
    )
