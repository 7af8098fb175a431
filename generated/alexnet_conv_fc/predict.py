"""Name the classes that AlexNet sees in images.

    python predict.py IMAGE...
    python predict.py FOLDER --model FILE

A folder stands for all images in it. FILE is a checkpoint, or an .onnx file that
export.py made from one: the results are the same. It prints the five most probable
classes of each image, and runs on the CPU.
"""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where runtime/ is

import model
from data import SETTINGS, SHAPES, SIZE, center_crop, ten_crops
from runtime import checkpoint, console, prediction
from runtime.prediction import Network

# Where train.py writes its checkpoint.
CHECKPOINT = "runs/alexnet_conv_fc/checkpoint.safetensors"


def main() -> None:
    """Predict as the flags say."""
    args = prediction.parse_arguments(__doc__, CHECKPOINT)
    if args.model.suffix.lower() == ".onnx":
        shape = SHAPES["mean"]
        network = prediction.open_onnx(args.model, SETTINGS, shape, model.OUTPUTS)
    else:
        network = open_checkpoint(args.model)
    crops = ten_crops if args.ten_crop else center_crop
    prediction.answer(network, args.images, SIZE, crops)


def open_checkpoint(path: Path) -> Network:
    """Load a checkpoint. Raises CheckpointError if it is from another network."""
    tensors, run = checkpoint.load(path)
    what = f"{console.shown(path)} is from other data"
    checkpoint.refuse_differences(what, run.data, SETTINGS)
    net = model.AlexNet(["cpu"] * len(model.DEVICES))
    checkpoint.restore(net, tensors, SHAPES, path)
    return Network(net.eval(), run.classes, tensors["data.mean"])


if __name__ == "__main__":
    console.run(main)
