"""Checkpoints, and the state of a run.

A checkpoint is one safetensors file of whole tensors, wherever they were trained:
`conv1.weight`, its velocity `momentum_buffer.conv1.weight`, the mean image `data.mean`.
Everything else is JSON under the one metadata key `run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import compare
from .checksums import (
    check_tensors,
    checksum,
    read_run,
    why_unreadable,
    write_run,
)
from .compare import STATISTICS, VELOCITY, shorten
from .console import readable, shown
from .errors import OTHER_CODE, CheckpointError
from .files import require_file, write_file

Split = Literal["train", "val"]


class Row(TypedDict):
    """A row of metrics.csv."""

    epoch: int
    step: int
    split: Split
    loss: float
    top1: float
    top5: float
    lr: float
    images_per_second: float


@dataclass
class Run:
    """The state of a run: what its checkpoint contains besides tensors."""

    recipe: dict[str, Any]
    data: dict[str, Any]  # how images become input
    classes: list[str]
    bad: dict[str, str]  # images left out, and why
    images: int  # that it learns from
    deterministic: bool = False  # whether all steps were taken with --deterministic
    names: int = 0  # a checksum of these and of the validation images: see fingerprint
    epoch: int = 0  # epochs completed
    step: int = 0  # steps taken
    lr: float = 0.0  # of the last step
    # Sums over the epoch so far (see tally), and the rows of metrics.csv.
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    history: list[Row] = field(default_factory=list)


def save(path: Path, tensors: Mapping[str, Tensor], run: Run) -> None:
    """Write a checkpoint, as write_file does."""
    saved = {
        name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())
    }
    checksums = {name: checksum(as_bytes(tensor)) for name, tensor in saved.items()}
    metadata = write_run(asdict(run), checksums)
    # This takes the size of the file twice in memory. save_file would not, but since
    # safetensors 0.8 it renames a file of its own, which is neither locked nor synced.
    write_file(path, safetensors.torch.save(saved, metadata))


def load(path: Path) -> tuple[dict[str, Tensor], Run]:
    """Return the tensors of a checkpoint, and the state of its run.

    Raises CheckpointError if it is missing or damaged, or was not written by train.py.
    """
    require_file(path, "checkpoint")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            run, checksums = read_run(file.metadata())
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except KeyError:
        raise CheckpointError(f"{shown(path)} was not written by train.py") from None
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        why = why_unreadable(path, error)
        raise CheckpointError(f"{shown(path)} cannot be read: {why}") from None
    kinds = get_type_hints(Run)
    if run.keys() != kinds.keys():
        parts = [f"without {name}" for name in kinds if name not in run]
        parts += [f"with {readable(name)}" for name in run if name not in kinds]
        what = f"{shown(path)} was written by another version of train.py"
        raise CheckpointError(f"{what}: {shorten(parts)}", help=OTHER_CODE)
    wrong = [name for name, kind in kinds.items() if not fits(run[name], kind)]
    wrong += [] if compare.are_classes(run["classes"]) else ["classes"]
    if wrong or len(run["sums"]) != 4:
        name = wrong[0] if wrong else "sums"
        value = json.dumps(run[name])[:40]  # ASCII, so without escape sequences
        raise CheckpointError(f"{shown(path)} is damaged: its {name} cannot be {value}")
    arrays = {name: as_bytes(tensor) for name, tensor in tensors.items()}
    if damaged := check_tensors(arrays, checksums):
        names = shorten([readable(name) for name in damaged])
        raise CheckpointError(f"{shown(path)} is damaged: wrong checksums of {names}")
    return tensors, Run(**run)


def as_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """Return the bytes of a tensor on the CPU, of any type; numpy has no bfloat16."""
    array: NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
    return array


def fits(value: Any, kind: Any) -> bool:
    """Return whether a JSON value has a type. Whole numbers are from 0 to 2**32."""
    parts = get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(item, *parts) for item in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(
            fits(item, parts[1]) for item in value.values()
        )
    if kind is Row:
        kinds = get_type_hints(Row)
        same = isinstance(value, dict) and value.keys() == kinds.keys()
        return same and all(fits(value[name], kinds[name]) for name in kinds)
    if get_origin(kind) is Literal:
        return value in parts
    if type(value) is int and kind in (int, float):
        return 0 <= value < 2**32
    return kind is Any or type(value) is kind


def restore(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    statistics: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Load the tensors of `net` among `tensors`, whatever its placement.

    Raises CheckpointError as check_network does.
    """
    check_network(net, tensors, statistics, path)
    load_weights(net, tensors)


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of `net` among `tensors`."""
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})


def check_network(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    statistics: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Raise CheckpointError if the tensors of `path` are from another network.

    They must be those of a run of this network with `statistics` of these shapes, and
    finite.
    """
    weights = net.state_dict(keep_vars=True)
    here = {name: describe(weight) for name, weight in weights.items()}
    learned = [name for name, weight in weights.items() if weight.requires_grad]
    here |= {VELOCITY + name: here[name] for name in learned}
    for name, shape in statistics.items():
        here[STATISTICS + name] = describe(torch.empty(shape, dtype=torch.float32))
    there = {name: describe(tensor) for name, tensor in tensors.items()}
    refuse_another_network(path, there, here)
    arrays = {name: tensors[name].numpy() for name in here}
    if problems := compare.impossible(arrays):
        raise CheckpointError(*(f"{shown(path)} is damaged: {it}" for it in problems))


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names that begin with `prefix`."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def describe(tensor: Tensor) -> str:
    """Return shape and type as text."""
    return compare.describe(tensor.shape, str(tensor.dtype).removeprefix("torch."))


def refuse_another_network(
    path: Path, there: Mapping[str, str], here: Mapping[str, str]
) -> None:
    """Raise CheckpointError if the tensors of a file, as text, are not those here."""
    if different := compare.tensor_differences(there, here):
        what = f"{shown(path)} is from another network"
        raise CheckpointError(f"{what}: {different}", help=OTHER_CODE)


def refuse_classes(there: Sequence[str], here: Sequence[str]) -> None:
    """Raise CheckpointError unless checkpoint and data have the same classes."""
    if there != here:
        lost = shorten([repr(name) for name in there if name not in here])
        new = shorten([repr(name) for name in here if name not in there])
        parts = [f"only the checkpoint has {lost}"] if lost else []
        parts += [f"only the data has {new}"] if new else []
        raise CheckpointError(
            "the classes of the checkpoint and of the data differ: "
            f"{'; '.join(parts) or 'their order'}",
            help="give the data that it was trained with",
        )


def refuse_differences(
    what: str,
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    help: str = OTHER_CODE,
) -> None:
    """Raise CheckpointError with `what`, the differences and help, if they differ."""
    differences = [
        f"{readable(name)} is {show(there, name)} there and {show(here, name)} here"
        for name in differing(there, here)
    ]
    if differences:
        raise CheckpointError(f"{what}: {shorten(differences)}", help=help)


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return the names of values that differ. Those from `there` were read as JSON."""
    here = json.loads(json.dumps(here))  # lists, not tuples
    return [n for n in {**here, **there} if there.get(n) != here.get(n)]


def show(values: Mapping[str, Any], name: str) -> str:
    """Return a value as text, escaped, since its source may be untrusted."""
    return readable(str(values[name])) if name in values else "missing"
