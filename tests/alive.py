"""Measures the most memory that is alive at once, storage by storage."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from specgen.verify.devices import CPU


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Logs every storage that ops make while entered, and when it is freed."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {x.untyped_storage()._cdata: x for x in known}
        self._alive: dict[int, Any] = {}
        self._labels: list[str] = []  # by the number of the storage
        self._events: list[tuple[int, int]] = []  # its number, bytes more or less

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._look_again()
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self._log(x.untyped_storage())
        return result

    def peaks(self) -> dict[str, int]:
        """The most bytes that were alive at once, by device."""
        self._look_again()
        now: Counter[str] = Counter()
        most: Counter[str] = Counter()
        for number, size in self._events:
            device = self._labels[number]
            now[device] += size
            most[device] = max(most[device], now[device])
        return dict(most)

    def _log(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address in self._known or address in self._alive:
            return
        number, size = len(self._labels), storage.nbytes()

        def gone(_: object) -> None:
            self._events.append((number, -size))
            del self._alive[address]

        self._alive[address] = number, weakref.ref(storage, gone)
        self._labels.append(getattr(storage, "label", CPU))
        self._events.append((number, size))

    def _look_again(self) -> None:
        """A copy gets its label only after the op that made it."""
        for number, reference in self._alive.values():
            if (storage := reference()) is not None:
                self._labels[number] = getattr(storage, "label", CPU)
