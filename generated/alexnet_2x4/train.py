"""Train AlexNet.

    python train.py --data DIR
    python train.py --data DIR --resume
    torchrun --nproc-per-node 4 train.py --data DIR

It learns from the images of DIR/train/<class>/, is validated on those of
DIR/val/<class>/, and writes checkpoint.safetensors, metrics.csv and curves.png to
--output. All that is random is a function of the seed and of the epoch or step, so that
a run that was stopped and resumed ends with the same bytes as one that never was.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

# Threads that spin while they wait take the time of the processes that decode images.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# On a CPU, a seventh of a step went into new memory in small pages: ask for huge ones.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import checkpoint
import model
import parallel
import report
from checkpoint import CheckpointError, Run
from data import SETTINGS, SHAPES, Statistics, augment, draw, survey
from evaluate import check_outputs, choose_devices, evaluate, tally
from files import claim
from images import (
    SKIP,
    Batch,
    DataError,
    Images,
    batches,
    check_numbers,
    explain,
    fingerprint,
    is_sound,
    load,
    open_data,
)
from recipe import Recipe, learning_rate, optimizer, update

FOLDER = "runs/alexnet_2x4"
FLAGS = ("epochs", "batch_size", "seed")  # what the user may change in the recipe
OWN = {"data", "devices", "output", "workers"}  # what processes need not share
SWITCHES = {
    "--channels-last": "keep the channels of a pixel together in memory [yes]",
    "--fused": "update weights and velocity in one pass over memory [yes]",
    "--compile": "let torch.compile write kernels, which takes a minute [no]",
}


def main() -> None:
    """Train as the flags say."""
    args = parse_arguments()
    devices = choose_devices(args.devices, parallel.LOCAL_RANK, parallel.LOCAL_WORLD)
    train_set, val_set = open_data(args.data)
    check_outputs(train_set.classes)
    flags = {name: vars(args)[name] for name in sorted(vars(args).keys() - OWN)}
    if not parallel.agree((flags, fingerprint(train_set, val_set))):
        raise DataError("the processes do not have the same flags and images")
    seed = args.given.get("seed", Recipe.seed)
    net = model.AlexNet(devices, seed)
    learner: nn.Module = parallel.compiled(net) if args.compile else net
    sgd = optimizer(net, Recipe(), args.fused)
    named = net.named_parameters()
    velocity = {name: sgd.state[w]["momentum_buffer"] for name, w in named}

    # Begin, or go on where a checkpoint stands.
    path = args.output / "checkpoint.safetensors"
    source = Path(args.resume or path)
    exists = parallel.once(path.exists)()
    if exists and (args.resume is None or source != path):
        sys.exit(f"error: {path} exists: give --resume, or another --output")
    if args.resume or exists:
        run, statistics = resume(source, args.given, net, velocity)
    else:
        if args.resume is not None:
            print(f"there is no checkpoint {path} yet: starting anew")
        run, statistics = begin(args, train_set, val_set)
    recipe = Recipe(**run.recipe)
    train_set, val_set = check_data(run, train_set, val_set)
    epoch_steps = math.ceil(len(train_set) / recipe.batch_size)
    taken = run.step - run.epoch * epoch_steps
    if not 0 <= taken <= epoch_steps or (taken > 0) != (run.sums[3] > 0):
        raise CheckpointError(f"{source} is damaged: step and epoch do not agree")
    last = min(recipe.epochs * epoch_steps, args.steps or sys.maxsize)
    top = min(5, len(run.classes))
    statistics = statistics.to(devices[0])
    parallel.once(args.output.mkdir)(parents=True, exist_ok=True)
    if not parallel.once(claim)(args.output):
        sys.exit(f"error: another run writes to {args.output}")
    metrics = args.output / "metrics.csv"
    write_metrics = parallel.once(report.write_metrics)
    write_metrics(metrics, run.history)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    replica = parallel.replicate(learner)
    stopped = parallel.stop_on_signals()
    if run.step == 0:
        save(path, net, velocity, statistics, run)  # fails now rather than in an hour

    if run.step >= last and taken == 0:
        print(f"the run is finished: {run.step} of {last} steps are taken")
    board = report.Board(args.output, run.history)
    progress = report.Progress(run.step, last)
    while run.step < last or run.step > run.epoch * epoch_steps:
        # Learn for an epoch, or for what a stop has left of it.
        net.train()
        progress.start(run.sums)
        order = batches(len(train_set), recipe.batch_size, recipe.seed, run.epoch)
        order = order[run.step - run.epoch * epoch_steps :][: max(0, last - run.step)]
        # Of each batch a process reads every world-th image, and its draws.
        rank, world = parallel.rank(), parallel.world()
        share = [batch[rank::world] for batch in order]
        for batch in load(train_set, share, args.workers):
            count = check_batch(batch, args.bad_images)
            run.lr = learning_rate(recipe, run)
            draws = draw(recipe.batch_size, recipe.seed, run.step)
            draws = draws.take(batch.rows * world + rank)
            pixels = batch.images.to(devices[0], non_blocking=True)
            images = augment(pixels, statistics, draws).contiguous(memory_format=layout)
            seed_dropout(recipe.seed, run.step, devices)
            sums = backward(replica, images, batch.labels, count, recipe, top)
            update(sgd, run.lr)
            progress.add(parallel.add(sums))
            run.step += 1
            if stopped():
                break
            if run.step % args.checkpoint_every == 0:
                run.sums = progress.read()
                save(path, net, velocity, statistics, run)
        run.sums = progress.read()
        speed = progress.images_per_second()
        save(path, net, velocity, statistics, run)
        if stopped():
            break

        # Validate. An epoch that --steps cuts short is not history: after --resume, the
        # rows of the whole epoch take the place of these.
        began = time.monotonic()
        *val, read = evaluate(net, val_set, statistics, recipe.batch_size, args.workers)
        val_speed = read / (time.monotonic() - began)
        train = [total / run.sums[3] for total in run.sums[:3]]
        at = run.epoch + 1, run.step
        train_row = report.row(*at, "train", train, run.lr, speed)
        val_row = report.row(*at, "val", val, run.lr, val_speed)
        rows = [*run.history, train_row, val_row]
        write_metrics(metrics, rows)
        board.add(train_row, val_row)
        tqdm.write(report.describe(train_row, val_row, top))
        if run.step < (run.epoch + 1) * epoch_steps:
            break
        run.history = rows
        run.epoch += 1
        run.sums = [0.0] * 4
        save(path, net, velocity, statistics, run)
    progress.bar.close()

    picture = parallel.once(report.draw)(metrics)
    print(f"checkpoint in {path}, metrics in {metrics}, curves in {picture}")
    if stopped():
        # All flags as they were; of two --resume the last one counts.
        resumed = args.resume is not None and source == path
        again = [*parallel.launcher(), *sys.argv]
        again += [] if resumed else ["--resume", str(path)]
        text = f"stopped after step {run.step} of {last}; go on: {shlex.join(again)}"
        parallel.once(print)(text, flush=True)  # all wait: it comes before they end
        sys.exit(130)  # as a program that Ctrl-C ended


def backward(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    count: int,
    recipe: Recipe,
    top: int,
) -> Tensor:
    """Compute the gradients for a share of a batch of crops; return its sums.

    They are those of the mean loss over the `count` images of all shares, which may be
    unequal or empty: the processes' gradients are averaged. See tally for the sums.
    """
    net.zero_grad()
    logits = net(images)
    labels = labels.to(logits.device, non_blocking=True)
    loss = F.cross_entropy(logits, labels, reduction="sum")
    torch.autograd.backward(loss / count * parallel.world())
    return tally(loss, logits, labels, top)


def seed_dropout(seed: int, step: int, devices: Sequence[torch.device]) -> None:
    """Make dropout a function of the seed, the step, the process, and the device."""
    mixed = np.random.SeedSequence((seed, step, parallel.rank()))
    first, *others = mixed.generate_state(len(devices)).tolist()
    torch.manual_seed(first)  # of all devices: shares would drop the same units
    for device, own in zip(devices[1:], others, strict=True):
        if device.type == "cuda" and device != devices[0]:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(own)


def begin(
    args: argparse.Namespace, train: Images, val: Images
) -> tuple[Run, Statistics]:
    """Survey the data; return a new run and the statistics of the training images."""
    statistics, bad = survey(train, val, args.workers)
    if bad and args.bad_images == "fail":
        raise DataError(*explain(bad), SKIP)
    recipe = asdict(replace(Recipe(), **args.given))
    splits = train.without(bad), val.without(bad)
    counted = len(splits[0]), fingerprint(*splits)
    return Run(recipe, SETTINGS, train.classes, bad, *counted), statistics


def resume(
    path: Path, given: dict[str, int], net: nn.Module, velocity: dict[str, Tensor]
) -> tuple[Run, Statistics]:
    """Load a checkpoint into the network and its velocity; return where it stands.

    Raises CheckpointError if it is of another network, of data prepared otherwise, or
    of another recipe than this one with the `given` flags.
    """
    tensors, run = parallel.once(checkpoint.load)(path)
    checkpoint.refuse_differences(f"{path} is of other data", run.data, SETTINGS)
    checkpoint.restore(net, tensors, SHAPES, path)
    whole = checkpoint.part(tensors, "momentum_buffer.")
    for name, tensor in model.cut_shares(whole).items():
        velocity[name].copy_(tensor)
    statistics = Statistics(**checkpoint.part(tensors, "data."))
    there = run.recipe
    kept = {name: there[name] for name in FLAGS if is_sound(name, there.get(name))}
    recipe = asdict(replace(Recipe(), **(kept | given)))
    there = there | {"epochs": recipe["epochs"]}  # the past is the same
    checkpoint.refuse_differences(f"{path} is of another recipe", there, recipe)
    run.recipe = recipe
    print(f"going on after step {run.step} of {path}")
    return run, statistics


@parallel.once
def save(
    path: Path,
    net: nn.Module,
    velocity: dict[str, Tensor],
    statistics: Statistics,
    run: Run,
) -> None:
    """Write a checkpoint of whole tensors under the names of the spec."""
    tensors: dict[str, Tensor] = net.state_dict()
    for name, tensor in model.join_shares(velocity).items():
        tensors[f"momentum_buffer.{name}"] = tensor
    for name, tensor in statistics._asdict().items():
        tensors[f"data.{name}"] = tensor
    checkpoint.save(path, tensors, run)


def check_data(run: Run, train: Images, val: Images) -> tuple[Images, Images]:
    """Return what the run began with; name what it leaves out. Refuses other data."""
    checkpoint.refuse_classes(run.classes, train.classes)
    for problem in explain(run.bad):
        print(f"left out {problem}")
    if run.bad:
        print(f"{len(run.bad)} images are left out, {run.images} remain to learn from")
    train, val = train.without(run.bad), val.without(run.bad)
    if len(train) != run.images:
        began = f"the run began with {run.images} training images"
        raise CheckpointError(f"{began}, now there are {len(train)}")
    if fingerprint(train, val) != run.names:
        raise CheckpointError("the run began with images of other names")
    return train, val


def check_batch(batch: Batch, bad_images: str) -> int:
    """Refuse, or name and leave out, images that have become unreadable.

    Returns the number of images in the shares of all processes.
    """
    sizes = torch.tensor([len(batch.labels), len(batch.bad)])
    count, bad = parallel.add(sizes).tolist()
    problems = parallel.gather(explain(batch.bad)) if bad else []
    if problems and bad_images == "fail":
        raise DataError(*problems, SKIP)
    if not count:
        raise DataError(*problems)
    for problem in problems:
        tqdm.write(f"left out {problem}")
    return int(count)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="In brackets: what holds unless you say otherwise.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="has train/ and val/")
    add("--epochs", type=int, metavar="N", help=f"[{Recipe.epochs}]")
    add("--batch-size", type=int, metavar="N", help=f"[{Recipe.batch_size}]")
    add("--steps", type=int, metavar="N", help="stop after so many steps in all")
    add("--devices", metavar="A,B", help="or one for all [CUDA if there is any]")
    add("--workers", type=int, metavar="N", help="that decode images [one a core]")
    add("--output", type=Path, metavar="DIR", help=f"[{FOLDER}]")
    help = "go on from CHECKPOINT [the one in --output, if it is there already]"
    add("--resume", nargs="?", const="", metavar="CHECKPOINT", help=help)
    add("--seed", type=int, metavar="N", help=f"[{Recipe.seed}]")
    help = "write a checkpoint so often, besides after every epoch [1000 steps]"
    add("--checkpoint-every", type=int, default=1000, metavar="STEPS", help=help)
    help = "what to do about images that cannot be read [fail]"
    add("--bad-images", choices=("fail", "skip"), default="fail", help=help)
    how = parser.add_argument_group(
        "speed",
        "The recipe stays what it is, and so does all but the last digits; compiled, "
        "dropout draws other numbers.",
    )
    for name, help in SWITCHES.items():
        how.add_argument(name, action=argparse.BooleanOptionalAction, help=help)
    parser.set_defaults(channels_last=True, fused=True, compile=False)
    args = parser.parse_args()
    check_numbers(parser, args)
    flags = {name: getattr(args, name) for name in FLAGS}
    args.given = {name: value for name, value in flags.items() if value is not None}
    if args.workers is None:
        args.workers = max(1, (os.cpu_count() or 1) // parallel.LOCAL_WORLD)
    if args.output is None:
        resumed = Path(args.resume).parent if args.resume else None
        args.output = resumed or Path(FOLDER)
    return args


if __name__ == "__main__":
    parallel.run(main, CheckpointError, DataError, FloatingPointError, OSError)
