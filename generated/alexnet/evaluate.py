"""Evaluate a checkpoint of AlexNet.

    python evaluate.py CHECKPOINT --data DIR
    python evaluate.py CHECKPOINT --data DIR --ten-crop

Prints the mean loss and the top-1 and top-5 accuracy on the images of
DIR/val/<class>/.
"""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where runtime/ is
# Threads that spin while waiting take time from the processes that read images.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import model
from data import SETTINGS, SHAPES, SIZE, center_crop, ten_crops
from recipe import Recipe
from runtime import checkpoint, evaluation, parallel
from runtime.devices import choose_devices, set_up


def main() -> None:
    """Evaluate as the flags say."""
    args = evaluation.parse_arguments(__doc__, Recipe.batch_size)
    set_up()
    devices = choose_devices(args.devices, model.DEVICES)
    tensors, run = parallel.rank_zero_only(checkpoint.load)(args.checkpoint)
    images = evaluation.open_val(args, run, SETTINGS, SIZE)
    net = model.AlexNet(devices)
    checkpoint.restore(net, tensors, SHAPES, args.checkpoint)
    mean = tensors["data.mean"].to(devices[0])
    crops = ten_crops if args.ten_crop else center_crop
    loss, top1, top5, count = evaluation.evaluate(
        net, images, mean, crops, args.batch_size, args.workers
    )
    print(f"{count} images: loss {loss:.4f}, top-1 {top1:.4f}, top-5 {top5:.4f}")


if __name__ == "__main__":
    parallel.run(main)
