"""How a checkpoint differs from a network, without torch: export.py needs none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .console import readable

# Prefixes of the names of tensors in a checkpoint that are not a network's.
VELOCITY = "momentum_buffer."
STATISTICS = "data."
VARIANCE = ".running_var"  # and the end of those of a batch norm's variances
SHOWN = 3  # items of a kind; the others are counted


def describe(shape: Sequence[int], dtype: str) -> str:
    """Return shape and type as text, like 96x3x11x11, or 96x3x11x11 float16."""
    size = "x".join(map(str, shape)) or "one number"
    return size if dtype in ("float32", "F32") else f"{size} {dtype}"


def tensor_differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return which tensors are missing, unexpected, or different; "" if none are.

    `there` describes those of a checkpoint and `here` those that are needed, by name.
    Velocities and statistics are named only if the network's own tensors are the same.
    """
    return _compare(_own(there), _own(here)) or _compare(there, here)


def _own(described: Mapping[str, str]) -> dict[str, str]:
    others = VELOCITY, STATISTICS
    return {k: v for k, v in described.items() if not k.startswith(others)}


def _compare(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    kinds = {
        "missing": [name for name in here if name not in there],
        "unexpected": [readable(name) for name in there if name not in here],
        "different": [
            f"{name} is {there[name]} there and {what} here"
            for name, what in here.items()
            if there.get(name, what) != what
        ],
    }
    return "; ".join(f"{kind}: {shorten(its)}" for kind, its in kinds.items() if its)


def impossible(tensors: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return what no training gives: values that are not finite, negative variances."""
    kinds = {
        "values that are not finite": [
            name for name, array in tensors.items() if not np.isfinite(array).all()
        ],
        "negative variances": [
            name
            for name, array in tensors.items()
            if name.endswith(VARIANCE) and (array < 0).any()
        ],
    }
    return [f"{kind} in {shorten(names)}" for kind, names in kinds.items() if names]


def are_classes(value: object) -> bool:
    """Return whether a JSON value is the names of classes, all of them different."""
    names = value if isinstance(value, list) else []
    if not all(isinstance(name, str) for name in names):
        return False
    return 0 < len(names) == len(set(names))


def shorten(items: Sequence[str]) -> str:
    """Return the first few items as text, and how many more there are."""
    more = f", and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{', '.join(items[:SHOWN])}{more}"
