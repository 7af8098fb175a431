"""A stand-in for several CUDA devices on a machine that may have none.

Every value is real and on the CPU. Its storage carries the label of the device that it
was sent to, an op on two labels is refused as CUDA would refuse it, and every copy
between labels is logged. (FakeTensorMode does not help here: in a CPU build of torch, a
convolution across two devices passes silently.)

    with Devices() as devices:
        model = Net(("cuda:0", "cuda:1"))
        model(images)
    devices.copies  # from, to, bytes; in the order in which they ran
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = "cpu"


class WrongDeviceError(RuntimeError):
    """An op got values from two devices."""


class Copy(NamedTuple):
    """One copy between devices, as it ran."""

    source: str
    target: str
    bytes: int


def label(x: Tensor) -> str:
    """The device that x was sent to."""
    return getattr(x.untyped_storage(), "label", CPU)


class Devices:
    """While entered, torch runs as if the devices that code asks for were there."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self._modes = ExitStack()

    def __enter__(self) -> Self:
        self._modes.enter_context(_Requests(self))
        self._modes.enter_context(_Guard(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._modes.close()

    def copy(self, x: Tensor, target: str) -> Tensor:
        """Return x on the target; its gradient travels back."""
        copied = x.clone()
        _stick(copied, target)
        self.log(x, target)
        return copied

    def log(self, x: Tensor, target: str) -> None:
        """Note that x is copied to the target."""
        self.copies.append(Copy(label(x), target, x.nbytes))


class _Requests(TorchFunctionMode):
    """Answers what code asks of devices: `device=`, `.to`, `.cpu`, `.device`."""

    def __init__(self, devices: Devices) -> None:
        super().__init__()
        self.devices = devices

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = list(args), dict(kwargs or {})
        if function == torch.Tensor.device.__get__:
            return torch.device(label(args[0]))
        if function is torch.Tensor.cpu:
            return self._send(args[0], CPU)
        if function is torch.Tensor.to:
            return self._to(args[0], args[1:], kwargs)
        target = kwargs.pop("device", None)
        result = function(*args, **kwargs)
        if target is not None:
            _stick(result, _name(target))
        return result

    def _to(self, x: Tensor, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
        """The device may be anywhere, even in a tensor; the rest goes to torch."""
        targets = [a for a in args if isinstance(a, str | torch.device)]
        targets += [label(a) for a in args if isinstance(a, Tensor)]
        targets += [kwargs.pop("device")] if kwargs.get("device") else []
        args = [a for a in args if not isinstance(a, str | torch.device)]
        if args or kwargs:
            x = x.to(*args, **kwargs)
        return self._send(x, _name(targets[0])) if targets else x

    def _send(self, x: Tensor, target: str) -> Tensor:
        if label(x) == target:
            return x
        sent = _Send.apply(x, target, self.devices)  # type: ignore[no-untyped-call]
        assert isinstance(sent, Tensor)
        return sent


class _Send(torch.autograd.Function):
    """The copy that `.to` makes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: str, devices: Devices) -> Tensor:
        ctx.source, ctx.devices = label(x), devices
        return devices.copy(x, target)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return ctx.devices.copy(grads[0], ctx.source), None, None


class _Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses an op on two labels, and gives its outputs the label of its inputs."""

    def __init__(self, devices: Devices) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.devices = devices

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if function is torch.ops.aten.copy_.default and len(inputs) == 2:
            to, x = inputs
            if label(to) != label(x):
                self.devices.log(x, label(to))
            return function(*args, **kwargs)
        # As in torch, a number that is a CPU tensor may join any device. So may zeros
        # that autograd makes for a part of a tensor that has no gradient.
        backward = torch._C._current_graph_task_id() >= 0
        labels = {
            label(x)
            for x in inputs
            if label(x) != CPU or (x.dim() and not (backward and _is_fresh(x)))
        }
        if len(labels) > 1:
            raise WrongDeviceError(f"{function} met {' and '.join(sorted(labels))}")
        result = function(*args, **kwargs)
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and labels:
                _stick(x, *labels)
        return result


def _is_fresh(x: Tensor) -> bool:
    """Whether x has never been sent anywhere."""
    return not hasattr(x.untyped_storage(), "label")


def _name(device: Any) -> str:
    return str(torch.device(device))


def _stick(x: Tensor, name: str) -> None:
    # The label lives as long as the storage: torch keeps a storage's Python object.
    x.untyped_storage().label = name  # type: ignore[attr-defined]
