"""A process that was forked from one in which torch computed."""

import os
import sys
from functools import cache

import torch


@cache  # once in a process
def compute_after_forks() -> None:
    """Let processes that are forked from this one compute, with one thread each until they ask for more.

    A pool of processes forks on Linux. Of torch's threads the child has only the one that forked, and its first tensor
    of some size would wait for the others for ever.
    """
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)
