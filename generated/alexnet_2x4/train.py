"""Train AlexNet.

    python train.py --data DIR
    python train.py --data DIR --resume
    torchrun --nproc-per-node 4 train.py --data DIR

It learns from the images in DIR/train/<class>/, is validated on those in
DIR/val/<class>/, and writes checkpoint.safetensors, metrics.csv and curves.png to
--output. Everything random is a function of the seed and the epoch or step, so a run
that was stopped and resumed ends with the same weights as one that was not: bit for bit
on CPUs, and with --deterministic also on CUDA.
"""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where runtime/ is
# Threads that spin while waiting take time from the processes that read images.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# On a CPU, new memory in small pages took a seventh of a step: ask for huge pages.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import model
from data import SETTINGS, SHAPES, SIZE, Statistics, augment, center_crop, draw, measure
from recipe import Recipe, learning_rate, optimizer, update
from runtime import parallel, state, training
from runtime.dataset import open_data
from runtime.devices import choose_devices, compile_network, seed_dropout, set_up
from runtime.evaluation import check_outputs, evaluate, tally
from runtime.loading import Loader, to_device
from runtime.output import open_output
from runtime.resuming import resume

FOLDER = "runs/alexnet_2x4"


def main() -> None:
    """Train as the flags say."""
    # Set up. Refuse anything wrong before the images are read.
    args = training.parse_arguments(__doc__, Recipe(), FOLDER)
    set_up(deterministic=args.deterministic)
    devices = choose_devices(args.devices, model.DEVICES)
    train_set, val_set = open_data(args.data, SIZE)
    check_outputs(train_set.classes, model.OUTPUTS)
    training.check_agreement(args, train_set, val_set)
    seed = args.given.get("seed", Recipe.seed)
    net = model.AlexNet(devices, seed)
    sgd = optimizer(net, Recipe(), args.fused)
    learner = compile_network(net) if args.compile else net
    replica = parallel.replicate(learner, deterministic=args.deterministic)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format

    # Begin a run, or resume one from its checkpoint.
    source = open_output(args, net)
    if source:
        tensors, run = resume(
            source, args, Recipe(), SETTINGS, net, SHAPES, length_matters=False
        )
        found = state.restore(tensors, net, sgd, model.cut_shares)
        statistics = Statistics(**found)
    else:
        statistics, bad = measure(train_set, val_set, args.workers)
        run = training.begin(args, Recipe(), SETTINGS, train_set, val_set, bad)
    train_set, val_set = training.check_data(run, train_set, val_set)
    recipe = Recipe(**run.recipe)
    statistics = statistics.to(devices[0])
    top = min(5, len(run.classes))
    session = training.Session(args, run)
    parts = net, sgd, statistics._asdict(), center_crop
    contents = partial(state.collect, *parts, model.join_shares)
    if run.step == 0 or args.resume:  # which may be from another folder
        session.save(contents)  # fails now rather than in an hour

    while session.has_more():
        # Train for an epoch, or for the rest of one that was stopped.
        net.train()
        loader = Loader(train_set, session.batches(), args.workers, devices[0])
        for batch in to_device(loader, devices[0]):
            count = training.check_batch(batch, args.bad_images)
            draws = draw(recipe.batch_size, recipe.seed, run.step)
            draws = draws.take(batch.rows * parallel.world_size() + parallel.rank())
            images = augment(batch.images, statistics, draws)
            images = images.contiguous(memory_format=layout)
            seed_dropout(recipe.seed, run.step, devices)
            sums = backward(replica, images, batch.labels, count, recipe, top)
            run.lr = learning_rate(recipe, run)
            update(sgd, run.lr)
            session.add(sums)
            if session.stopped():
                break
            if session.save_is_due():
                session.save(contents)
        session.save(contents)
        if session.stopped():
            break

        # Validate.
        began = time.monotonic()
        mean = statistics.mean
        scores = evaluate(
            net, val_set, mean, center_crop, recipe.batch_size, args.workers, layout
        )
        if session.end_epoch(scores, began):
            session.save(contents)
    session.close()


def backward(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    count: int,
    recipe: Recipe,
    top: int,
) -> Tensor:
    """Compute the gradients for a share of a batch of crops; return its sums.

    The gradients are of the mean loss over the `count` images of all shares, which may
    be unequal or empty: gradients are averaged over processes. See tally for the sums.
    """
    net.zero_grad()
    logits = net(images)
    labels = labels.to(logits.device, non_blocking=True)
    loss = F.cross_entropy(logits, labels, reduction="sum")
    torch.autograd.backward(loss / count * parallel.world_size())
    return tally(loss, logits, labels, top)


if __name__ == "__main__":
    parallel.run(main, must_be_read=False)  # its results are files
