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

from gptmodel.compute.ranks import PARENT_VARIABLE, STORE_VARIABLE
from gptmodel.errors import PEER_LOST, GptModelError

SECONDS_TO_SAVE = 60  # after a signal at least, until a process is killed
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run_agent(processes: int, restarts: int, patience: float, command: Sequence[str]) -> int:
    """Run a command in so many processes, which find each other by `ranks.joined`, and return the exit status.

    That is the status of the process that failed first. Where one was killed or did not answer, all are started again
    before, as often as `restarts` says; `patience` is the seconds that one has to save what it does. A signal to this
    process is passed on to them, and then the status is 128 and its number. Raises GptModelError where one of them was
    killed, which could not tell why.
    """
    former = {number: signal.getsignal(number) for number in SIGNALS}
    logging.disable(logging.CRITICAL)  # the agent's own words on what the processes tell
    try:
        for left in range(restarts, -1, -1):
            failures = _run(processes, patience, command)
            if isinstance(failures, int):
                return failures
            # whoever is killed makes the others fail, and the agent ends them by SIGTERM
            killed = {rank: it for rank, it in failures.items() if it.exitcode < 0 and it.exitcode != -signal.SIGTERM}
            told = {rank: it for rank, it in failures.items() if it.exitcode > 0 and it.exitcode != PEER_LOST}
            if told and not killed:
                return min(told.values(), key=lambda failure: failure.timestamp).exitcode
            if killed and not left:
                rank, failure = min(killed.items(), key=lambda item: item[1].timestamp)
                name = signal.Signals(-failure.exitcode).name
                raise GptModelError(
                    f"process {rank} of {processes} (counted from 0) was ended by {name}; what was saved last is kept: "
                    "run the same command to go on"
                )
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in former.items():
            signal.signal(number, handler)
    return 2  # each said that another did not answer


def _run(processes: int, patience: float, command: Sequence[str]) -> int | Mapping[int, ProcessFailure]:
    """Run the processes once; return the exit status, or what is known of those that failed."""
    with tempfile.TemporaryDirectory(prefix="gptmodel-ranks-") as folder:
        os.environ[STORE_VARIABLE] = str(Path(folder, "store"))
        os.environ[PARENT_VARIABLE] = str(os.getpid())
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
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(it.name for it in SIGNALS if signal.getsignal(it) is not signal.SIG_IGN),
            shutdown_timeout=int(max(SECONDS_TO_SAVE, patience)),
        )
        try:
            elastic_launch(config, command[0])(*command[1:])
        except SignalException as stop:
            return 128 + stop.sigval
        except ChildFailedError as error:
            return error.failures
    return 0
