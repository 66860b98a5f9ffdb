"""Processes that train one model together: who they are, and what they tell each other by torch.distributed.

torchrun starts them, or `stages.train` by the same means. Each holds all weights and makes all updates, unless they are
in shards (`gptmodel.training.sharded`); they share out the parts of a batch and the batches of an evaluation. What they
add up is added in the order of the ranks, up the tree of `gptmodel.compute.tree`: so the bytes are those of one process
that computes all parts.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from gptmodel.compute.tree import TreeSum
from gptmodel.errors import CommonError, ConfigError, PeerError

STORE_VARIABLE = "GPTMODEL_RANKS"
"""The file by which processes of one machine find each other, so that none listens to the network."""
PARENT_VARIABLE = "GPTMODEL_RANKS_PARENT"
"""The process that starts them, by its id, where that is known."""
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


@dataclass(frozen=True)
class World:
    """The processes of a training, seen by that of `rank`."""

    rank: int = 0
    size: int = 1
    local_size: int = 1
    """How many of them compute on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and tells the user and the tracker."""
        return self.rank == 0

    @property
    def words(self) -> str:
        """What to say behind a figure that counts all processes of this machine; nothing of one."""
        return f" for {self.local_size} processes here" if self.local_size > 1 else ""

    def share(self, parts: int) -> range:
        """Return which parts of a batch this process computes.

        Raises ConfigError unless each process gets as many, and a power of two, so that they are a half of the tree.
        """
        number = parts // self.size
        if self.size > 1 and (parts % self.size or not _is_power_of_two(number)):
            sizes = [size for size in range(2, parts + 1) if parts % size == 0 and _is_power_of_two(parts // size)]
            raise ConfigError(
                f"train.parts = {parts}: cannot be shared by {self.size} processes; set it to {self.size} or "
                f"{2 * self.size}, or take {' or '.join(map(str, [1, *sizes]))} of them"
            )
        return range(self.rank * number, (self.rank + 1) * number)

    def agree(self, *, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any process is to stop, and whether the first one wants to save: the same for all of them."""
        if self.size == 1:
            return stop, save
        flags = self._gathered(torch.tensor([stop, save], dtype=torch.uint8))  # (size, 2)
        return bool(flags[:, 0].any()), bool(flags[0, 1])

    def same(self, facts: Mapping[str, str]) -> None:
        """Compare what all processes have to have alike, and raise CommonError in all of them where one differs.

        `facts` are digests, each by the words that say what another process has otherwise, and what to do.
        """
        if self.size == 1:
            return
        content = "\n".join(facts.values()).encode()
        texts = [bytes(row.tolist()).rstrip(b"\0").split(b"\n") for row in self._gathered(_padded(content, self))]
        for number, words in enumerate(facts):
            for rank, values in enumerate(texts):
                if values[number : number + 1] != texts[0][number : number + 1]:
                    raise CommonError(f"process {rank} of {self.size} (counted from 0) {words}")

    def from_first(self, content: bytes | None) -> bytes | None:
        """Return to all processes what the first one has."""
        if self.size == 1:
            return content
        length = torch.tensor([-1 if content is None else len(content)])
        with talking():
            dist.broadcast(length, 0)
            if length.item() < 0:
                return None
            sent = self.is_first and content is not None
            data = torch.frombuffer(bytearray(content or b""), dtype=torch.uint8) if sent else None
            if data is None:
                data = torch.empty(int(length.item()), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def filled(self, numbers: Tensor) -> Tensor:
        """Return numbers of which each process has some, and zeros in place of the others."""
        if self.size > 1:
            with talking():
                dist.all_reduce(numbers)  # adding zeros is exact in any order
        return numbers

    def summed(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the sums of what all processes have, added up the tree of the ranks.

        Dense tensors of one type and sparse ones with one index may be mixed.
        """
        if self.size == 1:
            return tensors
        dense = [number for number, tensor in enumerate(tensors) if not tensor.is_sparse]
        flat = self._flat_sum(torch.cat([tensors[number].flatten() for number in dense]))
        pieces = torch.split(flat, [tensors[number].numel() for number in dense])
        sums = dict(zip(dense, pieces, strict=True))
        return [
            sums[number].view_as(tensor) if number in sums else self._sparse_sum(tensor)
            for number, tensor in enumerate(tensors)
        ]

    def _flat_sum(self, flat: Tensor) -> Tensor:
        with talking():
            if self.size == 2:  # a + b is b + a
                dist.all_reduce(flat)
                return flat
            length = len(flat)
            padded = torch.nn.functional.pad(flat, (0, -length % self.size))
            pieces = torch.empty_like(padded)
            dist.all_to_all_single(pieces, padded)
            tree = TreeSum(self.size, torch.add)
            for rank, piece in enumerate(pieces.view(self.size, -1)):
                tree.put(rank, piece)
            dist.all_gather_single(padded, tree.total())
        return padded[:length]

    def _sparse_sum(self, rows: Tensor) -> Tensor:
        """Return the sum of sparse (V, C) tensors, of which each process has as many rows as it has."""
        index, values = rows._indices()[0], rows._values()  # (n,), (n, C)
        counts = self._gathered(torch.tensor([len(index)])).flatten().tolist()
        missing = max(counts) - len(index)
        indices = self._gathered(torch.nn.functional.pad(index, (0, missing)))  # (size, N)
        every = self._gathered(torch.nn.functional.pad(values, (0, 0, 0, missing)))  # (size, N, C)
        tree = TreeSum(self.size, torch.add)
        for rank, count in enumerate(counts):
            parts = indices[rank, None, :count], every[rank, :count]
            tree.put(rank, torch.sparse_coo_tensor(*parts, rows.shape, check_invariants=False))
        return tree.total()

    def _gathered(self, tensor: Tensor) -> Tensor:
        """Return the tensors (...) of all processes as (size, ...)."""
        every = tensor.new_empty(self.size, *tensor.shape)
        with talking():
            dist.all_gather_single(every.view(-1), tensor.contiguous().view(-1))
        return every


ALONE_WORLD = World()


@contextmanager
def joined(timeout: float) -> Iterator[World]:
    """Join the processes that torchrun started this one with, or none if it did not.

    Who does not answer for `timeout` seconds is given up. On Linux the process stops when the one that started it is
    gone.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE_WORLD
        return
    stop_with_parent()
    rank, size, local_size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store = None
    if path := os.environ.get(STORE_VARIABLE):
        store = dist.FileStore(f"{path}.{os.environ['TORCHELASTIC_RESTART_COUNT']}", size)  # type: ignore[attr-defined]
    with talking():
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout), store=store, rank=rank, world_size=size)
    try:
        yield World(rank, size, local_size)
    finally:
        dist.destroy_process_group()


def stop_with_parent() -> None:
    """Have this process, on Linux, asked to stop (SIGTERM) when the one that started it is gone; `exec` keeps that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        parent = str(os.getppid())
        if os.environ.get(PARENT_VARIABLE, parent) != parent:  # it was gone before that was asked for
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def talking() -> Iterator[None]:
    """Turn the failure of a connection into one line: what is wrong is said by the process that failed first."""
    try:
        yield
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        words = re.sub(r"^\[.*?\] ", "", str(error)).partition(". ")[0].partition("\n")[0]
        raise PeerError(f"another process of this training has ended, or does not answer ({words})") from error


def _is_of_connection(error: RuntimeError) -> bool:
    """Tell whether torch could not reach a process, as its own kinds of errors or, by gloo, a plain one say."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _padded(content: bytes, world: World) -> Tensor:
    """Return bytes with zeros behind them, as many as the longest content of all processes has."""
    longest = int(world._gathered(torch.tensor([len(content)])).max())
    return torch.frombuffer(bytearray(content.ljust(longest, b"\0")), dtype=torch.uint8)


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
