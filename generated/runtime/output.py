"""The folder that a run writes to: one run at a time, and no run over another."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from torch import nn

from . import console, parallel
from .console import shown
from .curves import METRICS, PICTURE
from .errors import UserError
from .files import amount, lock_folder, require_file, why_unusable

CHECKPOINT = "checkpoint.safetensors"


@parallel.rank_zero_only
def open_output(args: argparse.Namespace, net: nn.Module) -> Path | None:
    """Lock the output folder; return the checkpoint to resume from, if there is one.

    Raises UserError if there is none where the user asks to resume from, if another run
    writes to the folder, if it has a checkpoint other than that, or if it has no room
    for those of `net`.
    """
    if args.resume:
        require_file(Path(args.resume), "checkpoint")
    output: Path = args.output
    path = output / CHECKPOINT
    source = Path(args.resume or path)
    try:
        _has_checkpoint(path, args.resume)  # what is refused must not lock others out
        output.mkdir(parents=True, exist_ok=True)
        locked = lock_folder(output)
    except OSError as error:
        reason = why_unusable(output, error)
        raise UserError(f"cannot write to {shown(output)}: {reason}") from None
    if not locked:
        raise UserError(f"another run writes to {shown(output)}")
    # Once more: until it was locked, another run could still write one.
    exists = _has_checkpoint(path, args.resume)
    for name in (path.name, METRICS, PICTURE):
        if (output / name).is_dir():
            raise UserError(f"{shown(output / name)} is a folder: move it elsewhere")
    check_space(output, net, copies=1 if exists else 2)
    if args.resume or exists:
        return source
    if args.resume is not None:
        missing = f"there is no checkpoint {shown(path)} yet"
        console.say(f"{missing}: starting a new run")
    return None


def _has_checkpoint(path: Path, resume: str | None) -> bool:
    """Whether there is a checkpoint. Raises UserError if the run would replace it."""
    exists = path.exists()
    if exists and resume is None:
        raise UserError(f"{shown(path)} exists: give --resume, or another --output")
    if exists and resume and os.path.realpath(resume) != os.path.realpath(path):
        raise UserError(
            f"{shown(path)} exists, and {shown(resume)} is another checkpoint: give "
            "another --output, or --resume alone to go on with the first"
        )
    return exists


def check_space(output: Path, net: nn.Module, copies: int) -> None:
    """Refuse a disk without room for two checkpoints: the last one and the next one."""
    weights = sum(weight.nbytes for weight in net.parameters())
    buffers = sum(buffer.nbytes for buffer in net.buffers())
    size = 2 * weights + buffers  # with velocities
    free = shutil.disk_usage(output).free
    if free < copies * size:
        have = f"{shown(output)} has {amount(free)} free"
        raise UserError(
            f"{have}, and checkpoints need {amount(copies * size)}: "
            f"one takes {amount(size)}, and is kept until the next is written"
        )
