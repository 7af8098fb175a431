"""Draw the curves of runs of train.py, and print the best of each.

    python generated/runtime runs/NAME
    python generated/runtime runs/A runs/B --picture comparison.png

This also works during training. For a single run, the picture is curves.png in its
folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, LogLocator, MaxNLocator

from . import console
from .console import shown
from .errors import CheckpointError
from .files import open_file, write_file

METRICS = "metrics.csv"
PICTURE = "curves.png"
HEAD = ("run", "epochs", "loss", "top-1", "top-5", "images/s")


class Epoch(NamedTuple):
    """A row of metrics.csv: an epoch on the training or the validation images."""

    number: int
    loss: float
    top1: float
    top5: float
    images_per_second: float


class History(NamedTuple):
    """The epochs of a run."""

    name: str
    train: list[Epoch]
    val: list[Epoch]


def read(path: Path, name: str) -> History:
    """Read a metrics.csv. Raises CheckpointError if it is something else, or empty."""
    history = History(name, [], [])
    splits = {"train": history.train, "val": history.val}
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                columns = (row[column] for column in Epoch._fields[1:])
                epoch = Epoch(int(row["epoch"]), *map(float, columns))
                splits[row["split"]].append(epoch)
    except (KeyError, TypeError, ValueError, csv.Error):
        raise CheckpointError(
            f"{shown(path)} is not a metrics.csv of train.py"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(path)}: {error.strerror}") from None
    if not history.train or not history.val:
        raise CheckpointError(f"{shown(path)} has no epochs yet")
    return history


def find(runs: Sequence[Path]) -> list[History]:
    """Read the runs, which are folders or their metrics.csv."""
    tables = [run / METRICS if run.is_dir() else run for run in runs]
    folders = [table.absolute().parent for table in tables]
    count = Counter(folder.name for folder in folders)
    names = [
        folder.name if count[folder.name] == 1 else str(run)
        for folder, run in zip(folders, runs, strict=True)
    ]
    return [
        read(table, console.readable(name))
        for table, name in zip(tables, names, strict=True)
    ]


def draw(runs: Sequence[Path], picture: Path) -> list[History]:
    """Draw loss and accuracy over the epochs of runs; return what was drawn.

    Raises CheckpointError if a run cannot be read, or the picture cannot be written.
    """
    histories = find(runs)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about letters that the font does not have
        plot(histories).savefig(content, dpi=120)
    write_file(picture, content.getvalue())
    return histories


def plot(histories: Sequence[History]) -> Figure:
    """Return the picture: loss on the left, accuracy on the right."""
    figure = Figure(figsize=(10, 4), layout="tight")
    losses, accuracies = figure.subplots(1, 2)
    if len(histories) == 1:
        _draw_one(histories[0], losses, accuracies)
        figure.suptitle(histories[0].name, parse_math=False)
    else:
        _draw_several(histories, losses, accuracies)
    shown = [value for line in losses.lines for value in line.get_ydata()]
    _scale(losses, [value for value in shown if math.isfinite(value)])
    losses.set(xlabel="epoch", ylabel="loss")
    accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        for text in axes.legend(fontsize="small").get_texts():
            text.set_parse_math(False)  # a dollar sign is just that
    return figure


def _draw_one(run: History, losses: Axes, accuracies: Axes) -> None:
    for split, epochs, color in (
        ("train", run.train, "tab:gray"),
        ("val", run.val, "tab:blue"),
    ):
        numbers = [epoch.number for epoch in epochs]
        loss = [epoch.loss for epoch in epochs]
        top1 = [epoch.top1 for epoch in epochs]
        top5 = [epoch.top5 for epoch in epochs]
        losses.plot(numbers, loss, ".-", color=color, label=split)
        accuracies.plot(numbers, top1, ".-", color=color, label=f"{split} top-1")
        accuracies.plot(numbers, top5, ".:", color=color, label=f"{split} top-5")


def _draw_several(runs: Sequence[History], losses: Axes, accuracies: Axes) -> None:
    for index, run in enumerate(runs):
        color = f"C{index}"
        name = f" {run.name}"  # the legend would leave out a name that begins with _
        for epochs, style, label in (
            (run.train, ":", "_"),
            (run.val, ".-", name),
        ):
            numbers = [epoch.number for epoch in epochs]
            loss = [epoch.loss for epoch in epochs]
            top1 = [epoch.top1 for epoch in epochs]
            losses.plot(numbers, loss, style, color=color, label=label)
            accuracies.plot(numbers, top1, style, color=color, label=label)
    losses.set_title("loss: validation, and training (dotted)", fontsize="medium")
    accuracies.set_title("top-1: validation, and training (dotted)", fontsize="medium")


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Choose a scale and readable ticks for losses: 2 and 0.5, not 10^0.3."""
    if not values or min(values) <= 0 or max(values) < 10 * min(values):
        axes.yaxis.set_major_locator(AutoLocator())
        return
    axes.set_yscale("log")
    decades = math.log10(max(values) / min(values))
    steps = (1, 2, 5) if decades < 4 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def table(histories: Sequence[History]) -> str:
    """Return the best of each run on the validation images, and in which epoch.

    The speed is that of the last training epoch. Names that leave too little room in
    the terminal are on lines of their own.
    """

    def best(run: History, key: Callable[[Epoch], float]) -> Epoch:
        finite = [epoch for epoch in run.val if math.isfinite(key(epoch))]
        return max(finite or run.val, key=key)

    rows = [HEAD]
    for run in histories:
        loss = best(run, lambda epoch: -epoch.loss)
        top1 = best(run, lambda epoch: epoch.top1)
        top5 = best(run, lambda epoch: epoch.top5)
        rows.append(
            (
                run.name,
                str(run.val[-1].number),
                f"{loss.loss:.3f} @ {loss.number}",
                f"{top1.top1:.3f} @ {top1.number}",
                f"{top5.top5:.3f} @ {top5.number}",
                f"{run.train[-1].images_per_second:.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0])]
        + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        for row in rows
    ]
    text = "\n".join("  ".join(line) for line in lines)
    if text.index("\n") <= shutil.get_terminal_size().columns:
        return text
    return "\n".join(
        f"{name.rstrip()}\n  {'  '.join(figures)}" for name, *figures in lines
    )


def picture_file(text: str) -> Path:
    """Return the path of the picture, which can only be a PNG file."""
    path = console.target(text)
    if path.suffix.lower() != ".png":
        message = f"a picture is a file like {PICTURE}, not {shown(path)}"
        raise argparse.ArgumentTypeError(message)
    return path


def main() -> None:
    """Draw the curves of the given runs."""
    parser = console.parser(__doc__, "RUN ... [--picture FILE]")
    add = parser.add_argument
    help = "its folder, or its metrics.csv"
    add("runs", type=Path, nargs="+", metavar="RUN", help=help)
    help = f"file to write [{PICTURE}, in the run's folder, or here for several]"
    add("--picture", type=picture_file, metavar="FILE", help=help)
    args = parser.parse_args()
    picture: Path | None = args.picture
    if picture is None:
        run: Path = args.runs[0]
        folder = run if run.is_dir() else run.parent
        picture = folder / PICTURE if len(args.runs) == 1 else Path(PICTURE)
    print(table(draw(args.runs, picture)))
    print("@: the epoch of the best value on the validation images")
    console.say(f"curves in {shown(picture)}")


def run() -> None:
    """Draw them, and exit."""
    console.run(main)
