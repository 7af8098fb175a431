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

from .checksums import check_tensors, checksum, read_run, write_run
from .console import readable
from .errors import CheckpointError
from .files import atomic_write

# Prefixes of the names of tensors that are not weights.
VELOCITY = "momentum_buffer."
STATISTICS = "data."


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
    write_file(path, safetensors.torch.save(saved, metadata))


def write_file(path: Path, content: bytes) -> None:
    """Write a file; at any moment `path` is all of the old one or all of the new one.

    Raises CheckpointError, with the reason, if it cannot be written.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        kept = "; the one before is intact" if path.is_file() else ""
        raise CheckpointError(f"cannot write {path}: {error.strerror}{kept}") from None


def load(path: Path) -> tuple[dict[str, Tensor], Run]:
    """Return the tensors of a checkpoint, and the state of its run.

    Raises CheckpointError if it is missing or damaged, or was not written by train.py.
    """
    if not path.is_file():
        if path.exists():
            raise CheckpointError(f"{path} is not a file")
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            run, checksums = read_run(file.metadata())
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except KeyError:
        raise CheckpointError(f"{path} was not written by train.py") from None
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    kinds = get_type_hints(Run)
    if not isinstance(run, dict) or run.keys() != kinds.keys():
        raise CheckpointError(f"{path} was not written by this train.py")
    wrong = [name for name, kind in kinds.items() if not fits(run[name], kind)]
    if wrong or len(run["sums"]) != 4:
        name = wrong[0] if wrong else "sums"
        value = json.dumps(run[name])[:40]  # ASCII, so without escape sequences
        raise CheckpointError(f"{path} is damaged: its {name} cannot be {value}")
    arrays = {name: as_bytes(tensor) for name, tensor in tensors.items()}
    if problems := check_tensors(arrays, checksums):
        raise CheckpointError(f"{path} is damaged: {problems[0]}")
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

    Raises CheckpointError unless the tensors, read from `path`, are those of a run of
    this network with `statistics` of these shapes.
    """
    weights = net.state_dict(keep_vars=True)
    here = {name: describe(weight) for name, weight in weights.items()}
    learned = [name for name, weight in weights.items() if weight.requires_grad]
    here |= {VELOCITY + name: here[name] for name in learned}
    for name, shape in statistics.items():
        here[STATISTICS + name] = describe(torch.empty(shape, dtype=torch.float32))
    there = {name: describe(tensor) for name, tensor in tensors.items()}
    refuse_differences(f"{path} is from another network", there, here)
    net.load_state_dict({name: tensors[name] for name in weights})


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
    """Return shape and type as text, like 96x3x11x11, or 96x3x11x11 float16."""
    shape = "x".join(map(str, tensor.shape)) or "one number"
    if tensor.dtype == torch.float32:
        return shape
    return f"{shape} {tensor.dtype}".replace("torch.", "")


def refuse_classes(there: Sequence[str], here: Sequence[str]) -> None:
    """Raise CheckpointError unless checkpoint and data have the same classes."""
    if there != here:
        lost = ", ".join(repr(name) for name in there if name not in here) or "none"
        new = ", ".join(repr(name) for name in here if name not in there) or "none"
        raise CheckpointError(
            "the classes of the checkpoint and of the data differ:  "
            f"missing now {lost}, new {new}"
        )


def refuse_differences(
    what: str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
    """Raise CheckpointError with `what` and the differences, if there are any."""
    here = json.loads(json.dumps(here))  # as in a checkpoint: lists, not tuples
    differences = [
        f"{readable(name)} is {show(there, name)} there and {show(here, name)} here"
        for name in {**here, **there}
        if there.get(name) != here.get(name)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CheckpointError(f"{what}: {', '.join(differences[:3])}{more}")


def show(values: Mapping[str, Any], name: str) -> str:
    """Return a value as text, escaped, since its source may be untrusted."""
    return readable(str(values[name])) if name in values else "missing"
