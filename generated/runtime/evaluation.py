"""How well a network performs on a data set."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoint, console, parallel
from .batch_norm import share_statistics
from .checkpoint import Run
from .console import shown
from .dataset import Images, batches, open_split
from .devices import sum_type
from .errors import ADVICE, DataError, DivergedError
from .images import explain
from .loading import Loader, to_device

# From images (N, C, size, size) uint8 and the mean image to one or more crops of each.
Crops = Callable[[Tensor, Tensor], Iterable[Tensor]]


class Scores(NamedTuple):
    """Means over a data set."""

    loss: float
    top1: float
    top5: float  # the right class is among the top five, or all if there are fewer
    images: int


def parse_arguments(doc: str | None, batch_size: int) -> argparse.Namespace:
    """Read the command line of evaluate.py."""
    parser = console.parser(doc, "CHECKPOINT --data DIR [option...]")
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="written by train.py")
    add("--data", type=Path, required=True, metavar="DIR", help="folder with val/")
    add(
        "--ten-crop",
        action="store_true",
        help="average over corners, center, and their mirror images",
    )
    help = f"[{batch_size}]"
    add("--batch-size", type=int, default=batch_size, metavar="N", help=help)
    add("--devices", metavar="A,B", help="one for all, or one each [CUDA if available]")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read images [one per core]",
    )
    args = console.parse(parser)
    if args.workers is None:
        args.workers = default_workers()
    return args


def default_workers() -> int:
    """Return how many processes read images for this one: its share of the cores."""
    return max(1, (os.cpu_count() or 1) // parallel.local_world_size())


def open_val(
    args: argparse.Namespace,
    run: Run,
    settings: dict[str, Any],
    size: int,
    channels: int = 3,
) -> Images:
    """Return the images to evaluate on, without those that the run left out.

    Raises UserError unless they are what the run learned to classify.
    """
    what = f"{shown(args.checkpoint)} is from other data"
    checkpoint.refuse_differences(what, run.data, settings)
    images = open_split(args.data, "val", size, channels).without(run.bad)
    checkpoint.refuse_classes(run.classes, images.classes)
    return images


def check_outputs(classes: Sequence[str], outputs: int) -> None:
    """Refuse more classes than the network has outputs; mention if there are fewer."""
    count = len(classes)
    if count > outputs:
        raise DataError(f"{count} classes are too many for {outputs} outputs")
    if count < outputs:
        print(f"{count} classes: {outputs - count} of {outputs} outputs are unused")


@torch.no_grad()
def evaluate(
    net: nn.Module,
    images: Images,
    mean: Tensor,
    crops: Crops,
    batch_size: int,
    workers: int,
    layout: torch.memory_format = torch.channels_last,
    precision: str = "float32",
) -> Scores:
    """Return the scores of the network, its probabilities averaged over the crops.

    Crops are made on the device of `mean`. An image that cannot be read is named and
    left out. Several processes divide up the batches. `layout` and `precision` are as
    in training; devices of several types compute in float32.
    """
    net.eval()
    share_statistics(net)
    half: Any = contextlib.nullcontext()
    if precision != "float32" and len({w.device.type for w in net.parameters()}) == 1:
        half = torch.autocast(mean.device.type, getattr(torch, precision))

    def log_softmax(x: Tensor) -> Tensor:
        with half:
            logits = net(x.contiguous(memory_format=layout))
        wide = torch.promote_types(logits.dtype, torch.float32)
        return F.log_softmax(logits, 1, dtype=wide)

    top = min(5, len(images.classes))
    sums = torch.zeros(4, dtype=torch.float64)
    problems: list[str] = []
    rank, world_size = parallel.rank(), parallel.world_size()
    share = batches(len(images), batch_size)[rank::world_size]
    loader = Loader(images, share, workers, mean.device)
    moved = to_device(loader, mean.device)
    bar = tqdm(moved, "evaluating", len(share), leave=False, disable=rank > 0 or None)
    for batch in bar:
        problems += explain(batch.bad)
        # The logarithm of the mean softmax, which may be too small for float32.
        logs = torch.stack([log_softmax(x) for x in crops(batch.images, mean)])
        scores = logs.logsumexp(0) - math.log(len(logs))
        labels = batch.labels.to(scores.device, non_blocking=True)
        loss = F.nll_loss(scores, labels, reduction="sum")
        its = tally(loss, scores, labels, top)
        sums = sums.to(its) + its
    for problem in parallel.all_gather(problems):
        tqdm.write(console.wrap(f"left out: {problem}"))
    loss_sum, top1, top5, count = parallel.all_reduce(sums.cpu()).tolist()
    if not count:
        raise DataError("none of the validation images can be read")
    if not math.isfinite(loss_sum):
        raise DivergedError(
            "the loss on the validation images is not a number: training has diverged",
            help=ADVICE,
        )
    return Scores(loss_sum / count, top1 / count, top5 / count, int(count))


def tally(loss: Tensor, scores: Tensor, labels: Tensor, top: int) -> Tensor:
    """Return the sums (4,) over a batch: loss, top-1 hits, top-`top` hits, images."""
    hits = scores.detach().topk(top).indices == labels[:, None]  # (N, top)
    count = torch.full((), len(labels), device=loss.device)  # tensor() would wait
    loss_sum = loss.detach().to(sum_type(loss.device))
    return torch.stack([loss_sum, hits[:, 0].sum(), hits.sum(), count])
