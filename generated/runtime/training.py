"""A training run: how it begins, what it checks, and its state."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from . import checkpoint, console, curves, parallel, report
from .checkpoint import Run
from .console import shown
from .dataset import SKIP, Images, batches, fingerprint
from .errors import (
    ADVICE,
    FROM_THE_START,
    CheckpointError,
    DataError,
    DivergedError,
)
from .evaluation import Scores, default_workers
from .images import explain
from .loading import Batch
from .output import CHECKPOINT
from .resuming import FLAGS

SAME_IMAGES = "give the images that it began with, or start a run with another --output"
OWN = {"data", "devices", "output", "workers"}  # what may differ between processes
SWITCHES = {
    "--channels-last": "keep the channels of a pixel together in memory [yes]",
    "--fused": "update weights and velocity in one pass over memory [yes]",
    "--compile": "compile the network; takes minutes, and stays off on CPUs [no]",
    "--deterministic": "the same result every time, also on CUDA; slower there [no]",
}


def parse_arguments(doc: str | None, recipe: Any, folder: str) -> argparse.Namespace:
    """Read the command line of train.py, which writes to `folder` by default.

    `given` in the result contains the user's changes to the recipe.
    """
    parser = console.parser(doc, "--data DIR [option...]")
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with train/ and val/",
    )
    add("--epochs", type=int, metavar="N", help=f"[{recipe.epochs}]")
    add("--batch-size", type=int, metavar="N", help=f"[{recipe.batch_size}]")
    add("--lr", type=float, metavar="RATE", help=f"learning rate [{recipe.lr}]")
    add("--steps", type=int, metavar="N", help="stop after N steps in total")
    help = "one for all, or one each [CUDA if available]"
    add("--devices", metavar="A,B", help=help)
    help = "processes that read images [one per core]"
    add("--workers", type=int, metavar="N", help=help)
    add("--output", type=console.target, metavar="DIR", help=f"[{folder}]")
    help = (
        "resume from CHECKPOINT [the one in --output, if there is one]; the run keeps "
        "its epochs, batch size, lr and seed: only --epochs and --lr can change them"
    )
    add("--resume", nargs="?", const="", metavar="CHECKPOINT", help=help)
    add("--seed", type=int, metavar="N", help=f"[{recipe.seed}]")
    help = "steps between checkpoints; each epoch also ends with one [1000]"
    add("--checkpoint-every", type=int, default=1000, metavar="STEPS", help=help)
    help = "what to do about images that cannot be read [fail]"
    add("--bad-images", choices=("fail", "skip"), default="fail", help=help)
    speed = parser.add_argument_group(
        "speed",
        "These do not change the recipe, only the last digits of results. With "
        "--compile, dropout draws other numbers.",
    )
    for name, help in SWITCHES.items():
        speed.add_argument(name, action=argparse.BooleanOptionalAction, help=help)
    parser.set_defaults(
        channels_last=True, fused=True, compile=False, deterministic=False
    )
    args = console.parse(parser)
    final_lr = getattr(recipe, "final_lr", 0)  # of a cosine
    if args.lr is not None and args.lr <= final_lr:
        parser.error(f"--lr must be more than the final_lr of the recipe, {final_lr}")
    flags = {name: getattr(args, name) for name in FLAGS}
    args.given = {name: value for name, value in flags.items() if value is not None}
    if args.workers is None:
        args.workers = default_workers()
    if args.output is None:
        resumed = Path(args.resume).parent if args.resume else None
        args.output = resumed or Path(folder)
    return args


def check_agreement(args: argparse.Namespace, train: Images, val: Images) -> None:
    """Refuse processes that were started with other flags or images than the first."""
    flags = {name: vars(args)[name] for name in sorted(vars(args).keys() - OWN)}
    if not parallel.all_equal((flags, fingerprint(train, val))):
        raise DataError("the processes were started with different flags or images")


def begin(
    args: argparse.Namespace,
    recipe: Any,
    settings: dict[str, Any],
    train: Images,
    val: Images,
    bad: dict[str, str],
) -> Run:
    """Return a new run on the images that are not `bad`, if those may be left out."""
    if bad and args.bad_images == "fail":
        raise DataError(*explain(bad), help=SKIP)
    splits = train.without(bad), val.without(bad)
    return Run(
        recipe=asdict(replace(recipe, **args.given)),
        data=settings,
        classes=train.classes,
        bad=bad,
        images=len(splits[0]),
        names=fingerprint(*splits),
        deterministic=args.deterministic,
    )


def check_data(run: Run, train: Images, val: Images) -> tuple[Images, Images]:
    """Return the images that the run began with; name those left out."""
    checkpoint.refuse_classes(run.classes, train.classes)
    for problem in explain(run.bad):
        console.say(f"left out: {problem}")
    if run.bad:
        left_out = "1 image is" if len(run.bad) == 1 else f"{len(run.bad)} images are"
        print(f"{left_out} left out; {run.images} remain for training")
    train, val = train.without(run.bad), val.without(run.bad)
    if len(train) != run.images:
        began = f"the run began with {run.images} training images"
        raise CheckpointError(
            f"{began}, but now there are {len(train)}", help=SAME_IMAGES
        )
    if fingerprint(train, val) != run.names:
        different = "the run began with images of different names"
        raise CheckpointError(different, help=SAME_IMAGES)
    return train, val


def check_batch(batch: Batch, bad_images: str) -> int:
    """Refuse, or name and leave out, images that have become unreadable.

    Returns the number of images in the shares of all processes.
    """
    sizes = torch.tensor([len(batch.labels), len(batch.bad)])
    count, bad = parallel.all_reduce(sizes).tolist()
    problems = parallel.all_gather(explain(batch.bad)) if bad else []
    if problems and bad_images == "fail":
        raise DataError(*problems, help=SKIP)
    if not count:
        raise DataError(*problems)
    for problem in problems:
        tqdm.write(console.wrap(f"left out: {problem}"))
    return int(count)


class Session:
    """The part of a run that this command does: its state, its display and its files.

    A run is divided into epochs of `epoch_steps` steps; the session ends with the last
    of them, after --steps, or when a signal asks for it.
    """

    def __init__(self, args: argparse.Namespace, run: Run) -> None:
        self.run = run
        self.batch_size: int = run.recipe["batch_size"]
        self.epoch_steps = math.ceil(run.images / self.batch_size)
        taken = run.step - run.epoch * self.epoch_steps
        if not 0 <= taken <= self.epoch_steps or (taken > 0) != (run.sums[3] > 0):
            damage = "its step and epoch do not match"
            raise CheckpointError(f"the checkpoint is damaged: {damage}")
        steps = run.recipe["epochs"] * self.epoch_steps
        self.last = min(steps, args.steps or sys.maxsize)
        self.args = args
        self.output: Path = args.output
        self.path = self.output / CHECKPOINT
        self.metrics = self.output / curves.METRICS
        self.saved = run.step  # of the last checkpoint
        self.cut_short = False
        self.rows = run.history  # of metrics.csv
        self.signaled = parallel.catch_signals()
        write_metrics(self.metrics, self.rows)
        self.board = report.Board(self.output, run.history)
        self.progress = report.Progress(run.step, self.last)
        self.progress.start(run.sums)
        if run.step >= self.last and taken == 0:
            print(f"the run is finished: {run.step} of {self.last} steps are done")

    def has_more(self) -> bool:
        """Whether there is anything left to train or validate."""
        begun = self.run.step > self.run.epoch * self.epoch_steps
        return not self.cut_short and (self.run.step < self.last or begun)

    def batches(self) -> list[list[int]]:
        """Begin an epoch, or the rest of a stopped one; return this process's batches.

        Of each batch, a process reads every `world_size`-th image.
        """
        run = self.run
        self.progress.start(run.sums)
        seed = run.recipe["seed"]
        order = batches(run.images, self.batch_size, seed, run.epoch)
        order = order[run.step - run.epoch * self.epoch_steps :]
        order = order[: max(0, self.last - run.step)]
        return [batch[parallel.rank() :: parallel.world_size()] for batch in order]

    def add(self, sums: Tensor) -> None:
        """Count a step with these sums (see tally) over this process's images."""
        self.progress.add(parallel.all_reduce(sums))
        self.run.step += 1

    def stopped(self) -> int:
        """Return the signal that has asked a process to stop, 0 if none has.

        Raises DivergedError, in all processes, if one has seen that the loss is not a
        number.
        """
        seen = [self.signaled(), self.progress.diverged]
        signaled, diverged = parallel.largest(seen)
        if diverged:
            raise self._diverged("the loss is not a number")
        return signaled

    def save_is_due(self) -> bool:
        """Whether to write a checkpoint within the epoch."""
        return self.run.step % int(self.args.checkpoint_every) == 0

    def save(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """Write a checkpoint of the run so far, with these tensors.

        `tensors` is called in the first process only, which does the writing. Raises
        DivergedError, and keeps the previous checkpoint, if the loss or a tensor is not
        a number.
        """
        self.run.sums = self.progress.sums.tolist()
        if not math.isfinite(self.run.sums[0]):
            raise self._diverged("the loss is not a number")
        self.speed = self.progress.images_per_second()
        parallel.rank_zero_only(self._write)(tensors)
        self.saved = self.run.step

    def _write(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        try:
            found = tensors()
        except DivergedError as error:
            raise self._diverged(str(error)) from None
        for name, tensor in found.items():
            if not tensor.isfinite().all():
                raise self._diverged(f"{name} is not a number")
        checkpoint.save(self.path, found, self.run)

    def _diverged(self, what: str) -> DivergedError:
        """Return the error for a run of which this is wrong."""
        step, lr = self.run.step, self.run.lr
        wrong = f"{what} after step {step}: training diverged, with an lr of {lr:g}"
        if self.saved == 0:
            return DivergedError(
                f"{wrong}; the only checkpoint is that before the first step",
                help=FROM_THE_START,
            )
        return DivergedError(
            f"{wrong}; the checkpoint after step {self.saved} is kept", help=ADVICE
        )

    def end_epoch(self, scores: Scores, began: float) -> bool:
        """Record an epoch whose validation began at this time and gave these scores.

        Returns whether it is complete. One that --steps cuts short does not go into the
        history: after --resume, the rows of the whole epoch replace its rows.
        """
        run = self.run
        val_speed = scores.images / (time.monotonic() - began)
        *totals, count = run.sums
        train = [total / count for total in totals]
        at = run.epoch + 1, run.step
        train_row = report.row(*at, "train", train, run.lr, self.speed)
        val_row = report.row(*at, "val", scores[:3], run.lr, val_speed)
        self.rows = [*run.history, train_row, val_row]
        write_metrics(self.metrics, self.rows)
        self.board.add(train_row, val_row)
        tqdm.write(report.describe(train_row, val_row))
        self.cut_short = run.step < (run.epoch + 1) * self.epoch_steps
        if not self.cut_short:
            run.history = self.rows
            run.epoch += 1
            run.sums = [0.0] * 4
            self.progress.start(run.sums)
        return not self.cut_short

    def close(self) -> None:
        """Draw the curves and say where everything is; exit if a signal came."""
        self.progress.bar.close()
        files = f"{CHECKPOINT} and {curves.METRICS}"
        none = "; no curves: no epoch is complete yet"
        if self.rows:
            picture = self.output / curves.PICTURE
            parallel.rank_zero_only(curves.draw)([self.metrics], picture)
            files, none = f"{CHECKPOINT}, {curves.METRICS} and {curves.PICTURE}", ""
        console.say(f"{files} are in {shown(self.output)}{none}")
        if number := self.stopped():
            # All flags as they were; of two --resume the last one counts.
            again = [*parallel.launch_command(), *sys.argv]
            resumed = self.args.resume
            if resumed is None or Path(resumed or self.path) != self.path:
                again += ["--resume", str(self.path)]
            text = f"stopped after step {self.run.step} of {self.last}; resume with:"
            # All wait for it, so that it comes before they end.
            say = parallel.rank_zero_only(print)
            say(f"{text}\n  {shlex.join(again)}", flush=True)
            sys.exit(console.SIGNALED + number)


write_metrics = parallel.rank_zero_only(report.write_metrics)
