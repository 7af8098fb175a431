"""Processes that train together.

    torchrun --nproc-per-node 4 train.py --data DIR

Each has a whole network on its own devices, and learns from its share of every
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
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from . import console
from .errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

JOIN_SECONDS = 300  # to wait for the other processes
NOTICE_SECONDS = 10  # until a message says so

LOST = (
    "a process of this run was lost: start all of them again; train.py continues from "
    "the last checkpoint with --resume"
)

# What torch says of an operation that only --deterministic refuses.
NO_KERNEL = "does not have a deterministic implementation"


class JoinError(UserError):
    """The other processes did not connect."""


class LossError(UserError):
    """One of the other processes has ended."""


def rank() -> int:
    """Return the number of this process: the first, 0, prints and writes for all."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_world_size() -> int:
    """Return the number of processes on this machine, as torchrun counts them."""
    return variable("LOCAL_WORLD_SIZE", 1, world_size(), 1) if world_size() > 1 else 1


def variable(name: str, least: int, most: int, default: int) -> int:
    """Return the number in an environment variable, or the default if unset or empty.

    Raises UserError if it is something else.
    """
    text = os.environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(
            f"the environment variable {name} cannot be {text!r}, only {least} to "
            f"{most}: unset it, or start with torchrun, which sets it"
        )
    return int(text)


def launch_command() -> list[str]:
    """Return the command that starts this many processes on one machine."""
    count = str(local_world_size())
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", count]
    return [sys.executable, *(torchrun if world_size() > 1 else [])]


def run(main: Callable[[], None], *, must_be_read: bool = True) -> None:
    """Run `main` as console.run does, alone or with the processes torchrun started.

    Only the first process that fails says why: in a sentence, if the user can fix it or
    if another process was lost. Unless its output `must_be_read`, it continues when its
    output cannot be written.
    """
    code: Any = None
    wrong: Exception | None = None
    store: Any = None
    agreed = False  # whether all processes end here, in the same way
    try:
        store = join()
        shown = console.output(must_be_read=must_be_read, silent=rank() > 0)
        with shown, console.interruptible():
            main()
        agreed = True
    except console.EXPECTED as error:
        wrong = error
    except KeyboardInterrupt:
        code = console.INTERRUPTED
    except SystemExit as end:
        code = end.code
        agreed = code in [console.SIGNALED + number for number in stop_signals()]
    except Exception as error:
        if _is_loss(error):
            wrong = LossError(LOST)
        elif isinstance(error, RuntimeError) and NO_KERNEL in str(error):
            reason = str(error).partition(",")[0]
            wrong = UserError(f"--deterministic cannot work: {reason}")
        elif store is None:
            raise
        else:
            traceback.print_exc()
            code = 1
    if wrong is not None:
        code = console.status(wrong)
        if store is None or _is_first(store, without=isinstance(wrong, LossError)):
            console.complain(console.explain(wrong))
    if store is not None or isinstance(wrong, JoinError):
        _leave(code, agreed)
    sys.exit(code)


def join() -> Any:
    """Join the processes of WORLD_SIZE; return the store they share, None if alone.

    Raises UserError if what a launcher left in the environment makes no sense, and
    JoinError if the others do not show up.
    """
    count = variable("WORLD_SIZE", 1, 2**20, 1)
    if count == 1:
        return None
    alone = "to run in one process, unset WORLD_SIZE; to run in several, use torchrun"
    others = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in others if not os.environ.get(name, "").strip()]:
        unset = f"WORLD_SIZE is {count}, but not set: {', '.join(missing)}"
        raise UserError(f"{unset}; {alone}")
    number = variable("RANK", 0, count - 1, 0)
    port = variable("MASTER_PORT", 1, 2**16 - 1, 0)
    variable("LOCAL_WORLD_SIZE", 1, count, 1)
    where = f"{os.environ['MASTER_ADDR']}:{port}"
    said = f"waiting at {where} for all {count} processes of WORLD_SIZE; {alone}"
    notice = threading.Timer(
        NOTICE_SECONDS, print, [console.wrap(said)], {"file": sys.stderr, "flush": True}
    )
    notice.daemon = True
    notice.start()
    try:
        timeout = timedelta(seconds=JOIN_SECONDS)
        # The store belongs to torchrun, or else to the first process.
        if number > 0 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _await_server(os.environ["MASTER_ADDR"], port)
        store, *_ = next(rendezvous("env://", timeout=timeout))
        store.set(f"here {number}", "")
        store.wait([f"here {each}" for each in range(count)], timeout)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=number, world_size=count
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise JoinError(
            f"cannot join the {count} processes of WORLD_SIZE at {where}: {reason}",
            help=alone,
        ) from None
    finally:
        notice.cancel()
    return store


def _await_server(host: str, port: int) -> None:
    """Wait until something listens there; torch would log stack traces meanwhile.

    Raises OSError if nothing does in time.
    """
    end = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=10).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def _leave(code: int | None, agreed: bool) -> None:
    """End this process of several; does not return unless all have `agreed` to end.

    Otherwise the group is not destroyed, since nccl may wait forever for a process that
    was lost.
    """
    if agreed:
        # What DistributedDataParallel left must be gone before the group is, or now
        # and then the process aborts.
        gc.collect()
        distributed.destroy_process_group()
        return
    os._exit(code or 0)


def _is_loss(error: Exception) -> bool:
    """Return whether a process cannot be reached.

    nccl raises a DistError. gloo, in torch 2.11 and 2.13, raises a plain RuntimeError
    that names its source, like [/pytorch/third_party/gloo/gloo/.../pair.cc:547].
    """
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


def _is_first(store: Any, without: bool) -> bool:
    """Return whether this is the first process to ask.

    `without` is the answer if the store is gone, along with its process: if that was
    lost, it has said nothing; if it ended, it has.
    """
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:
        return without


def replicate(net: nn.Module, *, deterministic: bool = False) -> nn.Module:
    """Return the network with gradients that are averaged over processes.

    torch averages them in groups that it rebuilds after the first step, and again after
    a restart, which changes the order of sums. If `deterministic`, each is averaged by
    itself.

    Raises UserError if the processes cannot do that on their devices.
    """
    if world_size() == 1:
        return net
    devices = {weight.device for weight in net.parameters()}
    types = sorted({device.type for device in devices})
    if len(types) > 1:
        named = " and ".join(types)
        raise UserError(f"several processes must have devices of one type, not {named}")
    used = all_gather([identity(device) for device in devices])
    if types == ["cuda"] and len(set(used)) < len(used):
        raise UserError(
            "two processes cannot share a GPU: start fewer, or see --devices"
        )
    # Before each pass, it also gives all processes the buffers of the first: a batch
    # norm with too few images reads them, and a resumed run begins with these.
    replica = DistributedDataParallel(net, gradient_as_bucket_view=True)
    if deterministic:
        replica.register_comm_hook(None, lambda _, bucket: _average_each(bucket))
    return replica


def _average_each(bucket: Any) -> Future[Tensor]:
    """Average each gradient of a group by itself."""
    works = [
        distributed.all_reduce(gradient.div_(world_size()), async_op=True)
        for gradient in bucket.gradients()
    ]
    buffer: Tensor = bucket.buffer()  # of all these gradients

    def averaged(_: Any) -> Tensor:
        for work in works[:-1]:
            work.wait()
        return buffer

    future: Future[Tensor] = works[-1].get_future().then(averaged)
    return future


def accumulate(net: nn.Module, parts: Iterable[T]) -> Iterator[T]:
    """Yield the parts of a batch; gradients are averaged once, after the last part."""
    *others, last = parts
    alone = contextlib.nullcontext()
    with net.no_sync() if isinstance(net, DistributedDataParallel) else alone:
        yield from others
    yield last


def rank_zero_only(function: Callable[P, T]) -> Callable[P, T]:
    """Run in the first process only; all of them return or raise the same."""

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


def identity(device: str | torch.device) -> str:
    """Return what identifies a device among those of all machines."""
    device = torch.device(device)
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).uuid)
    return f"{device} of {socket.gethostname()}"


def place_among_equals(value: object) -> tuple[int, int]:
    """Return this process's index among those with this value, and their number."""
    values = all_gather([value])
    return values[: rank()].count(value), values.count(value)


def largest(numbers: list[int]) -> list[int]:
    """Return, for each number, the largest of all processes."""
    found = torch.tensor(numbers)
    if world_size() > 1:
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return found.tolist()


def stop_signals() -> list[int]:
    """Return the signals that ask a run to stop; Windows has no SIGHUP."""
    names = "SIGINT", "SIGTERM", "SIGHUP"
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def catch_signals() -> Callable[[], int]:
    """Return a function that tells which signal asks this process to stop, 0 if none.

    Ctrl-C, SIGTERM and SIGHUP, as from a closed terminal, do; a second one of a kind
    ends it at once. What was ignored at the start, as under nohup, stays ignored.
    """
    received = [0]

    def handle(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in stop_signals():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)
    return lambda: received[-1]
