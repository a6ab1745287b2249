"""Joins the processes that train one run together, each of them a rank, and says what they exchange.

The `accumulate` batches of a step stand at the places 0, 1, ... and are dealt to the ranks in turn. Whatever depends on
several batches is added up over the places, in one binary tree that does not depend on the number of ranks: so neither
does a run, bit for bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
import typer
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from loaders.exit_status import FAILED

T = TypeVar("T")

SECONDS = int(os.environ.get("HMTL_RANKS_TIMEOUT", "300"))
"""How long a rank waits for the others."""
STORE_SECONDS = 5
"""How long a rank that ends waits for the store that says whether another has told of the error."""


class LostRankError(RuntimeError):
    """Says that another rank is gone, or has not answered in time."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Names one rank and what it exchanges with the others; alone nothing is sent."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Number of this rank on its host."""
    store: Any = None
    """torch's key-value store, which all ranks see."""

    @property
    def first(self) -> bool:
        """Says whether this is the rank that writes the run folder."""
        return self.rank == 0

    def device(self, name: str | None) -> str | None:
        """Names the device of this rank: of several GPUs its own."""
        own = self.world > 1 and name in (None, "cuda") and torch.cuda.is_available()
        return f"cuda:{self.local}" if own else name

    def share(self, batch_size: int, accumulate: int) -> int:
        """Counts the batches of a step that each rank computes.

        Raises:
            ValueError: The batches of a step cannot be dealt to so many ranks.
        """
        world, power = self.world, self.world & (self.world - 1) == 0
        if power and accumulate % world == 0:
            return accumulate // world
        possible = ", ".join(str(2**i) for i in range(accumulate.bit_length()) if accumulate % 2**i == 0)
        more = world // math.gcd(world, accumulate)
        same = (
            f"; --set batch_size={batch_size // more} --set accumulate={accumulate * more} keeps a step of "
            f"{batch_size * accumulate} faces"
            if power and batch_size % more == 0
            else ""
        )
        raise ValueError(
            f"ranks: world (={world}) must be a power of two that divides accumulate (={accumulate}), the batches of a "
            f"step; start {possible}{same}"
        )

    def add_up(self, make: Callable[[int], Shaped[Tensor, " n"]], places: int) -> Shaped[Tensor, " n"]:
        """Adds up what is made for each place of a step, each on its own rank; gives every rank the same sum.

        Args:
            make: Called in turn with the places of this rank. What it gives is changed.
            places: A multiple of `world`.
        """
        total = add_up(make, range(places)[self.rank :: self.world])
        if self.world == 1:
            return total
        # Each rank adds up one slice for all: 2 (world - 1) / world times the vector is sent, as by any all-reduce.
        sent = F.pad(total, (0, -len(total) % self.world)).view(self.world, -1)
        received = torch.empty_like(sent)
        with _waiting(self):
            dist.all_to_all_single(received, sent)
            dist.all_gather(list(sent.unbind()), add_up(lambda rank: received[rank], range(self.world)))
        return sent.flatten()[: len(total)]

    def gather(self, value: T) -> list[T]:
        """Gives the values of all ranks."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        with _waiting(self):
            dist.all_gather_object(gathered, value)
        return gathered

    def in_order(self, values: Sequence[T]) -> list[T]:
        """Gives what all ranks made of the batches dealt to them, in the order of the batches."""
        return [value for dealt in zip(*self.gather(values), strict=True) for value in dealt]

    def from_first(self, make: Callable[[], T]) -> T:
        """Gives every rank what is made on the first one."""
        if self.world == 1:
            return make()
        box = [make() if self.first else None]
        with _waiting(self):
            dist.broadcast_object_list(box, src=0)
        made: Any = box[0]
        return made  # type: ignore[no-any-return]

    def any(self, flag: Callable[[], bool]) -> Callable[[], bool]:
        """Asks whether a flag is set on any rank; ranks are waited for where the answer is called for."""
        if self.world == 1:
            return flag
        told = torch.tensor(int(flag()))
        with _waiting(self):
            work: Any = dist.all_reduce(told, op=dist.ReduceOp.MAX, async_op=True)

        def answer() -> bool:
            with _waiting(self):
                work.wait()
            return bool(told)

        return answer

    def agree(self, facts: Callable[[], Mapping[str, str]]) -> None:
        """Compares facts that must be the same on all ranks, by name.

        Raises:
            ValueError: A rank has something else than the first one.
        """
        if self.world == 1:
            return
        gathered = self.gather((socket.gethostname(), dict(facts())))
        where, expected = gathered[0]
        for rank, (host, found) in enumerate(gathered):
            for name, value in expected.items():
                if found[name] != value:
                    raise ValueError(
                        f"ranks: {name} of rank {rank} on {host} (={found[name]}) must be that of rank 0 on {where} "
                        f"(={value}); make them the same"
                    )

    def speaks(self) -> str | None:
        """Gives the words that the error of this rank begins with, to the first rank that asks; None to the others."""
        if self.world == 1:
            return ""
        told: list[bool] = []

        def ask() -> None:
            with suppress(RuntimeError):  # the host of the store is gone
                told.append(self.store.add("told", 1) > 1)

        # Behind a cable that is cut the store is asked for as long as TCP sends again: a quarter of an hour.
        asking = Thread(target=ask, daemon=True)
        asking.start()
        asking.join(STORE_SECONDS)
        return None if told == [True] else f"rank {self.rank} of {self.world} on {socket.gethostname()}: "


def add_up(make: Callable[[int], Shaped[Tensor, " n"]], places: range) -> Shaped[Tensor, " n"]:
    """Adds up what is made for each place: the sum of the even ones plus that of the odd ones, as long as these are as
    many, and those that are then left one after another. A rank of a power of two holds whole branches of this tree."""
    if len(places) % 2 == 0:
        even = add_up(make, places[::2])
        return even.add_(add_up(make, places[1::2]))
    total = make(places[0])
    for place in places[1:]:
        total += make(place)
    return total


def seed_place(seed: int, step: int, place: int) -> None:
    """Seeds torch's generators, which dropout and stochastic depth draw from, for one place of a step."""
    key = hashlib.sha256(f"{seed} {step} {place}".encode()).digest()[:8]
    torch.manual_seed(int.from_bytes(key, "little") >> 1)


@contextmanager
def joined(device: str | None, threads: int | None = None) -> Iterator[Ranks]:
    """Joins the ranks that `torchrun` has started this process among, and leaves them at the end of the block.

    An error that nobody has told of is told with its rank; the others end without a word when they lose that rank.

    Args:
        device: What the user asked for; with "cpu" nothing is exchanged between GPUs.
        threads: Threads of this rank; None divides the cores of the host among its ranks.
    """
    rank, world, local, here = _told()
    _set_threads(threads, here)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with_torchrun()
    if world == 1:
        yield Ranks()
        return
    limit = timedelta(seconds=SECONDS)
    store, _, _ = next(rendezvous("env://", rank, world, timeout=limit))
    store.set_timeout(limit)
    gpus = device != "cpu" and torch.cuda.is_available()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo", store=store, rank=rank, world_size=world, timeout=limit
    )
    ranks = Ranks(rank, world, local, store)
    try:
        yield ranks
    except typer.Exit:
        raise
    except Exception as error:
        if (words := ranks.speaks()) is not None:
            error.add_note(f"{words}the traceback above")
            traceback.print_exc()
        raise typer.Exit(FAILED) from error
    finally:
        dist.destroy_process_group()  # gloo aborts a process that ends without


def check_restarts(resume: bool) -> None:
    """Refuses restarts by `torchrun` that could not go on.

    Raises:
        ValueError: `--resume` is not given, or restarted ranks would be told the addresses of those that are gone.
    """
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return
    if not resume:
        raise ValueError(
            "ranks: torchrun's --max-restarts needs --resume, or a run that is started again finds its folder taken; "
            "add --resume"
        )
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise ValueError(
            "ranks: torchrun's --max-restarts must not share its store, in which restarted ranks find the addresses of "
            "those that are gone (pytorch issue 135712); set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
        )


def _told() -> tuple[int, int, int, int]:
    """Reads what torchrun tells: number of this rank, of all ranks, of this one on its host, of those of its host."""
    told = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    rank, world, local, here = (int(os.environ.get(name, alone)) for name, alone in told.items())
    return rank, world, local, here


def _set_threads(threads: int | None, ranks: int) -> None:
    """Gives torch, and with it numba, the threads of one of the ranks of this host."""
    chosen = os.environ.get("OMP_NUM_THREADS", "1") != "1"  # torchrun sets 1 where the user sets nothing
    if threads is None and ranks > 1 and not chosen:
        threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    if threads is not None:
        torch.set_num_threads(threads)


def _end_with_torchrun() -> None:
    """Has SIGTERM sent to this rank when torchrun is killed, lest it goes on and writes beside a run started anew."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextmanager
def _waiting(ranks: Ranks) -> Iterator[None]:
    """Turns what gloo and NCCL say of a rank that does not answer into a sentence.

    Raises:
        LostRankError: An exchange has failed.
    """
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[.*?\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise LostRankError(
            f"another of the {ranks.world} ranks has ended, or has not answered for {SECONDS} s "
            f"({reason}); see what it said last, and go on with --resume"
        ) from error
