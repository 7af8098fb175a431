"""Evaluate a checkpoint of AlexNet.

    python evaluate.py CHECKPOINT --data DIR
    python evaluate.py CHECKPOINT --data DIR --ten-crop

Prints the mean loss and the top-1 and top-5 accuracy on the images of
DIR/val/<class>/.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Threads that spin while they wait take the time of the processes that decode images.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import checkpoint
import model
import parallel
from checkpoint import CheckpointError
from data import SETTINGS, SHAPES, Statistics, center_crop, ten_crops
from images import (
    DataError,
    Images,
    batches,
    check_numbers,
    explain,
    load,
    open_split,
)

OUTPUTS = 1000  # of the network
# The devices of the placement, bound to real ones by --devices.
DEVICES = ("gpu0", "gpu1")


def main() -> None:
    """Evaluate as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="written by train.py")
    add("--data", type=Path, required=True, metavar="DIR", help="has val/")
    add("--ten-crop", action="store_true", help="average over corners, centre, mirrors")
    add("--batch-size", type=int, default=128, metavar="N", help="[128]")
    add("--devices", metavar="A,B", help="or one for all [CUDA if there is any]")
    add("--workers", type=int, metavar="N", help="that decode images [one a core]")
    args = parser.parse_args()
    check_numbers(parser, args)

    path = args.checkpoint
    tensors, run = parallel.once(checkpoint.load)(path)
    checkpoint.refuse_differences(f"{path} is of other data", run.data, SETTINGS)
    images = open_split(args.data, "val").without(run.bad)
    checkpoint.refuse_classes(run.classes, images.classes)
    devices = choose_devices(args.devices, parallel.LOCAL_RANK, parallel.LOCAL_WORLD)
    net = model.AlexNet(devices)
    checkpoint.restore(net, tensors, SHAPES, path)
    statistics = Statistics(**checkpoint.part(tensors, "data.")).to(devices[0])
    workers = args.workers
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // parallel.LOCAL_WORLD)
    loss, top1, top5, count = evaluate(
        net, images, statistics, args.batch_size, workers, args.ten_crop
    )
    print(f"{count} images: loss {loss:.4f}, top-1 {top1:.4f}", end=", ")
    print(f"top-{min(5, len(images.classes))} {top5:.4f}")


def choose_devices(
    names: str | None, process: int = 0, processes: int = 1
) -> list[torch.device]:
    """Return a torch device for each of DEVICES, and print which.

    `names` is the user's choice, "a,b" or one for all; if several processes share this
    machine, those of one after those of the other. None takes CUDA devices: one each
    if there are enough, else one for each process, else the CPU. Exits if one is
    unusable.
    """
    wanted = len(DEVICES) * processes
    chosen = names.split(",") if names else []
    if names is None:
        chosen = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        count = wanted if len(chosen) >= wanted else processes
        chosen = chosen[:count] if len(chosen) >= count else ["cpu"]
        if len(chosen) == processes:
            chosen = [name for name in chosen for _ in DEVICES]
    if len(chosen) == 1:
        chosen *= wanted
    if len(chosen) != wanted:
        sys.exit(f"error: --devices wants {wanted} devices or one, not {names}")
    chosen = chosen[len(DEVICES) * process :][: len(DEVICES)]
    for name in chosen:
        try:
            torch.empty(1, device=name).item()
        except Exception as error:  # each kind of device has its own
            reason = str(error).partition("\n")[0].partition(". ")[0]
            sys.exit(f"error: device {name} cannot be used: {reason}")
    print(", ".join(f"{a} on {b}" for a, b in zip(DEVICES, chosen, strict=True)))
    return [torch.device(name) for name in chosen]


def check_outputs(classes: Sequence[str]) -> None:
    """Refuse more classes than the network has outputs; say it if there are fewer."""
    count = len(classes)
    if count > OUTPUTS:
        raise DataError(f"{count} classes are too many for {OUTPUTS} outputs")
    if count < OUTPUTS:
        print(f"{count} classes: {OUTPUTS - count} of {OUTPUTS} outputs stay unused")


@torch.no_grad()
def evaluate(
    net: nn.Module,
    images: Images,
    statistics: Statistics,
    batch_size: int,
    workers: int,
    ten_crop: bool = False,
) -> tuple[float, float, float, int]:
    """Return mean loss, top-1 and top-5 accuracy, and the number of images read.

    Crops are made on the device of `statistics`. An image that cannot be read is named
    and left out. Of several processes each takes some of the batches.
    """
    net.eval()
    device, top = statistics.mean.device, min(5, len(images.classes))
    sums = torch.zeros(4, dtype=torch.float64)
    problems: list[str] = []
    rank, world = parallel.rank(), parallel.world()
    share = batches(len(images), batch_size)[rank::world]
    loader = load(images, share, workers)
    for batch in tqdm(loader, "evaluating", leave=False, disable=rank > 0 or None):
        problems += explain(batch.bad)
        pixels = batch.images.to(device, non_blocking=True)
        if ten_crop:
            crops = ten_crops(pixels, statistics.mean)
            # The logarithm of the mean softmax, which may be too small for float32.
            logs = torch.stack([F.log_softmax(net(crop), 1) for crop in crops])
            scores = logs.logsumexp(0) - math.log(len(logs))
        else:
            scores = F.log_softmax(net(center_crop(pixels, statistics.mean)), 1)
        labels = batch.labels.to(scores.device, non_blocking=True)
        loss = F.nll_loss(scores, labels, reduction="sum")
        sums = sums.to(loss.device) + tally(loss, scores, labels, top)
    for problem in parallel.gather(problems):
        tqdm.write(f"left out {problem}")
    total, top1, top5, count = parallel.add(sums.cpu()).tolist()
    if not count:
        raise DataError("no image of the validation set can be read")
    return total / count, top1 / count, top5 / count, int(count)


def tally(loss: Tensor, scores: Tensor, labels: Tensor, top: int) -> Tensor:
    """Return the sums (4,) over a batch: loss, top-1 hits, top-`top` hits, images."""
    hits = scores.detach().topk(top).indices == labels[:, None]  # (N, top)
    count = torch.full((), len(labels), device=loss.device)  # tensor() would wait
    return torch.stack([loss.detach().double(), hits[:, 0].sum(), hits.sum(), count])


if __name__ == "__main__":
    parallel.run(main, CheckpointError, DataError, OSError)
