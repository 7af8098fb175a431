"""Checkpoints of AlexNet: weights, optimizer, data statistics and progress.

A checkpoint is one safetensors file of whole tensors, wherever they were trained:
`conv1.weight`, its velocity `optimizer.conv1.weight`, the mean image `data.mean`. All
else is JSON under the one metadata key `run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import fsync
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn


class CheckpointError(Exception):
    """A checkpoint that cannot be written, read or used; str() is one sentence."""


def save(path: Path, tensors: Mapping[str, Tensor], run: Mapping[str, Any]) -> None:
    """Write a checkpoint; at any moment `path` is the old one or the new one, whole.

    Raises CheckpointError, with the reason, if it cannot be written.
    """
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(safetensors.torch.save(whole, {"run": json.dumps(run)}))
            file.flush()
            fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        kept = "; the one before is intact" if path.exists() else ""
        raise CheckpointError(f"cannot write {path}: {error.strerror}{kept}") from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the JSON of a checkpoint.

    Raises CheckpointError if it is missing or damaged, or was not written by train.py.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            run = json.loads((file.metadata() or {})["run"])
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, run
    except KeyError:
        raise CheckpointError(f"{path} was not written by train.py") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def restore(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights among `tensors` into `net`, whatever its placement.

    Raises CheckpointError if they, read from `path`, are another network's.
    """
    others = ("optimizer.", "data.")
    weights = {name: t for name, t in tensors.items() if not name.startswith(others)}
    there, here = describe(weights), describe(net.state_dict())
    refuse_differences(f"{path} is of another network", there, here)
    net.load_state_dict(weights)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def describe(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the shape of each tensor as text, like 96x3x11x11."""
    return {name: "x".join(map(str, tensor.shape)) for name, tensor in tensors.items()}


def refuse_classes(there: Sequence[str], here: Sequence[str]) -> None:
    """Raise CheckpointError unless checkpoint and data have the same classes."""
    if there != here:
        lost = ", ".join(repr(name) for name in there if name not in here) or "none"
        new = ", ".join(repr(name) for name in here if name not in there) or "none"
        raise CheckpointError(
            "the checkpoint was trained on other classes than the data has: "
            f"missing now {lost}, new {new}"
        )


def refuse_differences(
    what: str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
    """Raise CheckpointError that says `what`, and what differs, if anything does."""
    here = json.loads(json.dumps(here))  # as a checkpoint has it: lists, no tuples
    differences = [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in {**here, **there}
        if there.get(name) != here.get(name)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CheckpointError(f"{what}: {', '.join(differences[:3])}{more}")
