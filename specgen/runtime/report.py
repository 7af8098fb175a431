"""What a run of train.py reports: progress, metrics.csv, and TensorBoard.

In a row, `top1` is the share of images whose class is the most probable one, and `top5`
of those whose class is among the five most probable, or among all if there are fewer.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from . import parallel
from .checkpoint import Row, Split
from .files import write_file

LINE_SECONDS = 20  # between lines of progress, where there is no terminal for a bar


class Board:
    """The run in TensorBoard, if it is installed: `tensorboard --logdir OUTPUT`."""

    def __init__(self, output: Path, history: Sequence[Row]) -> None:
        self.writer: Any = None
        if parallel.rank() == 0:
            with contextlib.suppress(ImportError):
                tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
                # A killed run may have taken steps after its last checkpoint.
                after = history[-1]["step"] + 1 if history else 0
                self.writer = tensorboard.SummaryWriter(output, purge_step=after)

    def add(self, train: Row, val: Row) -> None:
        """Add the rows of an epoch."""
        if self.writer is None:
            return
        for row in (train, val):
            for name in ("loss", "top1", "top5"):
                figure = dict(row)[name]
                self.writer.add_scalar(f"{name}/{row['split']}", figure, row["step"])
        self.writer.add_scalar("lr", train["lr"], train["step"])
        self.writer.flush()


class Progress:
    """The progress bar of a run, or lines without a terminal, and an epoch's sums.

    The sums (see tally) stay on the device between updates, so as not to wait for it.
    """

    def __init__(self, step: int, last: int) -> None:
        self.bar: tqdm[Any] = tqdm(
            total=last,
            initial=step,
            unit="step",
            disable=parallel.rank() > 0 or None,
            dynamic_ncols=True,
        )
        self.step, self.last = step, last
        self.diverged = False  # whether it has shown a loss that is not a number

    def start(self, sums: Sequence[float]) -> None:
        """Begin an epoch, or continue one with these sums."""
        self.sums = torch.tensor(sums, dtype=torch.float64)
        self.first_step, self.first_image = self.step, sums[3]
        self.began = self.shown = time.monotonic()

    def add(self, sums: Tensor) -> None:
        """Add the sums of a step; now and then show the means."""
        self.sums = self.sums.to(sums) + sums
        self.step += 1
        self.bar.update()
        if time.monotonic() - self.shown > (LINE_SECONDS if self.bar.disable else 1):
            self.shown = time.monotonic()
            self.show()

    def images_per_second(self) -> float:
        """Return the mean speed since the last start."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        return (float(self.sums[3]) - self.first_image) / seconds

    def show(self) -> None:
        """Show the means over the epoch so far, or note that they are not numbers."""
        loss, top1, _, count = self.sums.tolist()
        self.diverged = not math.isfinite(loss)
        means = f"loss {loss / count:.3f}, top-1 {top1 / count:.3f}"
        self.bar.set_postfix_str(means)
        if self.bar.disable:
            pace = (time.monotonic() - self.began) / (self.step - self.first_step)
            left = tqdm.format_interval(pace * (self.last - self.step))
            print(f"step {self.step} of {self.last}: {means}, {left} left", flush=True)


def row(
    epoch: int,
    step: int,
    split: Split,
    scores: Sequence[float],
    lr: float,
    images_per_second: float,
) -> Row:
    """Return a row of metrics.csv; `scores` are the mean loss, top-1 and top-5."""
    loss, top1, top5 = scores
    return Row(
        epoch=epoch,
        step=step,
        split=split,
        loss=loss,
        top1=top1,
        top5=top5,
        lr=lr,
        images_per_second=round(images_per_second, 1),
    )


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """Write all of metrics.csv: after a kill it can be ahead of the checkpoint."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(Row.__annotations__))
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, table.getvalue().encode())


def describe(train: Row, val: Row) -> str:
    """Return the two lines that sum up an epoch, one below the other."""
    scores = [
        f"loss {row['loss']:.3f}, top-1 {row['top1']:.3f}, top-5 {row['top5']:.3f}"
        for row in (train, val)
    ]
    name = f"epoch {train['epoch']}: "
    speed = f"lr {train['lr']:.3g}, {train['images_per_second']:.0f} img/s"
    below = f"{'':{len(name)}}val   {scores[1]}"
    return f"{name}train {scores[0]}; {speed}\n{below}"
