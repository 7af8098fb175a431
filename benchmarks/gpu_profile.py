"""Where the time of a training step goes, and what bounds it: a part of gpu.py."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROWS = 8  # operations in a table
BYTES = 2  # of a number in bfloat16


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations read and write while entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        returned = (r.alias_info for r in function._schema.returns)
        if not any(alias and not alias.is_write for alias in returned):  # not a view
            tensors = tree_leaves((args, kwargs, result))
            self.bytes += sum(x.nbytes for x in tensors if isinstance(x, Tensor))
        return result


def traffic(net: nn.Module, size: tuple[int, int], count: int) -> float:
    """Return the bytes that a step moves for each of `count` images, in bfloat16.

    Each operation reads its inputs and writes its outputs once, forward and backward. A
    norm is counted as the kernels that CUDA gets for it, which move nine tensors: x and
    y; x, the gradient and a term; these and the gradient of x.
    """
    norms: int = 0

    def see(_: nn.Module, args: Any, y: Tensor) -> None:
        nonlocal norms
        norms += 9 * BYTES * y.numel()

    for name, module in list(net.named_modules()):
        if type(module).__name__ == "LocalResponseNorm":
            net.set_submodule(name, nn.Identity())
            net.get_submodule(name).register_forward_hook(see)
    net = net.to("meta", torch.bfloat16)  # shapes only
    x = torch.empty(count, 3, *size, dtype=torch.bfloat16, device="meta")
    with Traffic() as counted:
        logits = net(x)
        labels = torch.zeros(count, dtype=torch.int64, device="meta")
        torch.autograd.backward(F.cross_entropy(logits, labels))
    moved: int = counted.bytes + norms
    return moved / count


def compiled_traffic(net: nn.Module, size: tuple[int, int], count: int) -> float:
    """Return what `traffic` does, for the network under torch.compile, on its device.

    Kernels count once what they read and write, as often as they may do so.
    """
    device = next(net.parameters()).device
    net = net.to(dtype=torch.bfloat16)
    x = torch.zeros(count, 3, *size, dtype=torch.bfloat16, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    with kernels() as moved:
        compiled = torch.compile(net, dynamic=False)
        logits = compiled(x.contiguous(memory_format=torch.channels_last))
        torch.autograd.backward(F.cross_entropy(logits.float(), labels))
    return sum(moved) / count


@contextlib.contextmanager
def kernels() -> Iterator[list[int]]:
    """Let torch.compile plan kernels, and collect the bytes that each of them moves.

    It does not write them: what is compiled runs as it was before.
    """
    from torch._inductor import config, graph  # takes seconds

    moved: list[int] = []

    def plan(lowered: Any) -> Any:
        lowered._update_scheduler()
        for node in lowered.scheduler.nodes:
            moved.append(node.get_read_write_buffers_sizes())
        return SimpleNamespace(call=lambda xs: lowered.module(*xs))

    with (
        config.patch(force_disable_caches=True),
        patch.object(graph.GraphLowering, "compile_to_module", plan),
        warnings.catch_warnings(action="ignore"),  # that there is no cache
    ):
        yield moved


def compared(moved: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Yield a table of the bytes that networks move, uncompiled and compiled."""
    (baseline, _), *_ = moved.values()
    yield (
        "What a step reads and writes for an image, forward and backward, in bfloat16, "
        "and the speeds that would follow if only that counted. Compiled, it is what "
        "Inductor's kernels and the operations between them would move."
    )
    yield "\n| network | MB | speed | MB, compiled | speed |"
    yield "|---|--:|--:|--:|--:|"
    for name, sizes in moved.items():
        figures = (f"{size / 1e6:.1f} | {baseline / size:.2f}" for size in sizes)
        yield f"| {name} | {' | '.join(figures)} |"


def operations(steps: Mapping[str, Callable[[], object]], gpu: bool) -> Iterator[str]:
    """Yield a table of the operations of a step that take the most time."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    yield "| network | operation | calls | ms |"
    yield "|---|---|--:|--:|"
    for name, step in steps.items():
        for _ in range(3):  # what is compiled or tried is so only once
            step()
        with profile(activities=kinds) as found:
            step()
            if gpu:
                torch.cuda.synchronize()
        events = {
            e.key: (e.count, e.self_device_time_total if gpu else e.self_cpu_time_total)
            for e in found.key_averages()
            if e.key.startswith("aten::") or e.key.startswith("triton")
        }
        longest = sorted(events.items(), key=lambda event: -event[1][1])
        for key, (calls, microseconds) in longest[:ROWS]:
            yield f"| {name} | `{key[:60]}` | {calls} | {microseconds / 1e3:.2f} |"
