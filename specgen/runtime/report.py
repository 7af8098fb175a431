"""What a run of train.py reports: progress, metrics.csv and its curves.

    python -m runtime.report runs/NAME/metrics.csv

draws the curves as curves.png beside the table, also while the run goes on.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from tqdm import tqdm

from . import console, parallel
from .checkpoint import Row, write_file
from .errors import CheckpointError

LINE_SECONDS = 20  # between lines of progress, where there is no terminal for a bar


class Board:
    """The run in TensorBoard, if that is installed: `tensorboard --logdir OUTPUT`."""

    def __init__(self, output: Path, history: Sequence[Row]) -> None:
        self.writer: Any = None
        if parallel.rank() == 0:
            with contextlib.suppress(ImportError):
                tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
                # A run that was killed may have gone on after its last checkpoint.
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
    """The bar of a run, or lines where there is no terminal, and an epoch's sums.

    The sums (see tally) stay on the device between two looks, so as not to wait for it.
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

    def start(self, sums: Sequence[float]) -> None:
        """Begin an epoch, or go on with one that has these sums."""
        self.sums = torch.tensor(sums, dtype=torch.float64)
        self.first_step, self.first_image = self.step, sums[3]
        self.began = self.shown = time.monotonic()

    def add(self, sums: Tensor) -> None:
        """Add the sums of a step; now and then show the means."""
        self.sums = self.sums.to(sums.device) + sums
        self.step += 1
        self.bar.update()
        if time.monotonic() - self.shown > (LINE_SECONDS if self.bar.disable else 1):
            self.shown = time.monotonic()
            self.show()

    def read(self) -> list[float]:
        """Return the sums. Raises FloatingPointError if the loss is not a number."""
        sums: list[float] = self.sums.tolist()
        if not math.isfinite(sums[0]):
            raise FloatingPointError(
                f"the loss is not a number any more at step {self.step}: lower lr"
            )
        return sums

    def images_per_second(self) -> float:
        """Return the mean speed since the last start."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        return (self.read()[3] - self.first_image) / seconds

    def show(self) -> None:
        """Show the means over the epoch so far."""
        loss, top1, _, count = self.read()
        means = f"loss {loss / count:.3f}, top-1 {top1 / count:.3f}"
        self.bar.set_postfix_str(means)
        if self.bar.disable:
            pace = (time.monotonic() - self.began) / (self.step - self.first_step)
            left = tqdm.format_interval(pace * (self.last - self.step))
            print(f"step {self.step} of {self.last}: {means}, {left} left", flush=True)


def row(
    epoch: int,
    step: int,
    split: Literal["train", "val"],
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
    """Write metrics.csv anew: after a kill it can be ahead of the checkpoint."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(Row.__annotations__))
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, table.getvalue().encode())


def describe(train: Mapping[str, Any], val: Mapping[str, Any], top: int) -> str:
    """Return the line that sums up an epoch."""
    scores = [
        f"{row['split']} loss {row['loss']:.3f}, top-1 {row['top1']:.3f}, "
        f"top-{top} {row['top5']:.3f}"
        for row in (train, val)
    ]
    speed = f"lr {train['lr']:.3g}, {train['images_per_second']:.0f} images/s"
    return f"epoch {train['epoch']}: " + "; ".join([*scores, speed])


def draw(metrics: Path) -> Path:
    """Draw loss and accuracy over the epochs of a metrics.csv; return the picture."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="tight")
    losses, accuracies = figure.subplots(1, 2)
    for split, color in (("train", "tab:gray"), ("val", "tab:blue")):
        points = [row for row in rows if row["split"] == split]
        epochs = [int(row["epoch"]) for row in points]
        loss, top1, top5 = (
            [float(row[name]) for row in points] for name in ("loss", "top1", "top5")
        )
        losses.plot(epochs, loss, ".-", color=color, label=split)
        accuracies.plot(epochs, top1, ".-", color=color, label=f"{split} top-1")
        accuracies.plot(epochs, top5, ".:", color=color, label=f"{split} top-5")
    losses.set(xlabel="epoch", ylabel="loss", yscale="log")
    accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    losses.yaxis.set_major_formatter("{x:g}")  # 2 and 0.5, no powers of 10
    losses.yaxis.set_minor_formatter("{x:g}")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(metrics.absolute().parent.name)
    picture = metrics.with_name("curves.png")
    content = io.BytesIO()
    figure.savefig(content, dpi=120)
    write_file(picture, content.getvalue())
    return picture


def main() -> None:
    """Draw the curves of the run that is named."""
    parser = console.parser("Draw the curves of a run.")
    parser.add_argument("metrics", type=Path, metavar="METRICS", help="its metrics.csv")
    path = parser.parse_args().metrics
    try:
        print(draw(path))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} is not a metrics.csv of train.py") from None


if __name__ == "__main__":
    console.run(main)
