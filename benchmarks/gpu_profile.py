"""Where the time of a training step goes, and what bounds it: a part of gpu.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
    norm is counted as one kernel each way, which saves only its input: five tensors.
    """
    norms: int = 0

    def see(_: nn.Module, args: Any, y: Tensor) -> None:
        nonlocal norms
        norms += 5 * BYTES * y.numel()

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


def compared(moved: Mapping[str, float], baseline: str) -> str:
    """Return what the bytes that networks move say about their speeds."""
    parts = [f"{name} {size / 1e6:.1f} MB" for name, size in moved.items()]
    ratios = [
        f"{name} {moved[baseline] / size:.2f}"
        for name, size in moved.items()
        if name != baseline
    ]
    return (
        "What operations read and write for an image, forward and backward, in "
        f"bfloat16: {'; '.join(parts)}. If nothing but bandwidth counted, speeds would "
        f"be, as shares of the first one: {'; '.join(ratios)}."
    )


def operations(steps: Mapping[str, Callable[[], object]], gpu: bool) -> Iterator[str]:
    """Yield a table of the operations of a step that take the most time."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    yield "\n| network | operation | calls | ms |"
    yield "|---|---|--:|--:|"
    for name, step in steps.items():
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
            yield f"| {name} | `{key}` | {calls} | {microseconds / 1e3:.2f} |"
