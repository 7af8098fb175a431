"""Processes that train together.

    torchrun --nproc-per-node 4 train.py --data DIR

Each owns a whole network on devices of its own, and learns from its share of every
batch; DistributedDataParallel averages the gradients. In a single process these
functions do nothing, and there is no group.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from . import console
from .errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

# Of the processes on this machine, as torchrun counts them.
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", 0))
LOCAL_WORLD = int(os.environ.get("LOCAL_WORLD_SIZE", 1))

LOST = (
    "error: a process of this run was lost: start all of them again, with --resume, "
    "to go on from the last checkpoint"
)


def rank() -> int:
    """Return the number of this process: the first, 0, prints and writes for all."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def launch_command() -> list[str]:
    """Return the command that starts as many processes on one machine."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(LOCAL_WORLD)]
    return [sys.executable, *(torchrun if world_size() > 1 else [])]


def run(main: Callable[[], None]) -> None:
    """Run `main` as console.run does, alone or with the processes torchrun started.

    Of all processes only the first that fails says why: in a sentence, if its user can
    mend it, or if it is the loss of another process.
    """
    console.escape_output()
    code: Any = None
    store: Any = None
    try:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            store = _join()
        with open(os.devnull, "w") as nowhere:
            out = nowhere if rank() else sys.stdout
            with contextlib.redirect_stdout(out):
                main()
    except console.EXPECTED as error:
        code = console.explain(error)
    except KeyboardInterrupt:
        code = 130  # as a program that Ctrl-C ended
    except SystemExit as end:
        code = end.code
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        code = LOST
    if store:
        # What DistributedDataParallel left must be gone before the group is, or now
        # and then the process aborts.
        gc.collect()
        if isinstance(code, str) and not _is_first(store, without=code == LOST):
            code = 1
        distributed.destroy_process_group()
    sys.exit(code)


def _join() -> Any:
    """Join the other processes; return the store that they share."""
    store, rank, world = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    return store


def _is_loss(error: RuntimeError) -> bool:
    """Return whether a process cannot be reached: gloo has no error class for it."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _is_first(store: Any, without: bool) -> bool:
    """Return whether no other process has asked this before.

    `without` is the answer where the store has gone with its process: one that was
    lost has said nothing, one that has ended has.
    """
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:
        return without


def compile_network(net: nn.Module) -> nn.Module:
    """Return the network compiled. Raises UserError where that is not possible."""
    if world_size() > 1:  # their shares of a batch change in size, down to none
        raise UserError("--compile is for one process")
    device = next(net.parameters()).device
    try:  # something small first: the network would fail at its first step, at length
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"--compile does not work here: {reason}") from None
    return cast(nn.Module, torch.compile(net))


def replicate(net: nn.Module) -> nn.Module:
    """Return the network with gradients that are averaged over processes.

    Raises UserError if the processes cannot do that on their devices.
    """
    if world_size() == 1:
        return net
    devices = {weight.device for weight in net.parameters()}
    types = sorted({device.type for device in devices})
    if len(types) > 1:
        named = " and ".join(types)
        raise UserError(f"several processes want one type of device, not {named}")
    used = all_gather([(socket.gethostname(), str(device)) for device in devices])
    if types == ["cuda"] and len(set(used)) < len(used):
        raise UserError("two processes cannot share a CUDA device: see --devices")
    return DistributedDataParallel(net, gradient_as_bucket_view=True)


def accumulate(net: nn.Module, parts: Iterable[T]) -> Iterator[T]:
    """Yield the parts of a batch; gradients are averaged once, after the last one."""
    *others, last = parts
    alone = contextlib.nullcontext()
    with net.no_sync() if isinstance(net, DistributedDataParallel) else alone:
        yield from others
    yield last


def rank_zero_only(function: Callable[P, T]) -> Callable[P, T]:
    """Run in the first process only; all return, or raise, what it does."""

    @functools.wraps(function)
    def shared(*args: P.args, **kwargs: P.kwargs) -> T:
        if world_size() == 1:
            return function(*args, **kwargs)
        outcome: list[Any] = [None, None]  # a result, or an error
        if rank() == 0:
            try:
                outcome[0] = function(*args, **kwargs)
            except Exception as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(T, outcome[0])

    return shared


def all_reduce(sums: Tensor) -> Tensor:
    """Return the sum over all processes of tensors of one shape."""
    if world_size() > 1:
        distributed.all_reduce(sums)
    return sums


def all_gather(items: list[T]) -> list[T]:
    """Return the items of all processes, by rank."""
    if world_size() == 1:
        return items
    lists: list[list[T]] = [[]] * world_size()
    distributed.all_gather_object(lists, items)
    return [item for its in lists for item in its]


def all_equal(value: object) -> bool:
    """Return whether the value is the same, as text, in all processes."""
    return (
        world_size() == 1
        or len(set(all_gather([zlib.crc32(repr(value).encode())]))) == 1
    )


def stop_on_signals() -> Callable[[], bool]:
    """Return a function that tells all processes whether one of them should stop.

    The first Ctrl-C or SIGTERM asks a process to; the second one kills it.
    """
    asked = threading.Event()

    def handle(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(all_reduce(torch.tensor(int(asked.is_set()))))
