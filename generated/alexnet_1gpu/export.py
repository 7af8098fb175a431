"""Write trained weights of AlexNet into an ONNX file.

    python export.py CHECKPOINT
    python export.py CHECKPOINT --output FILE

The file computes what model.onnx, next to this script, shows for review. It needs
nothing else; predict.py shows how to use its metadata.
"""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where runtime/ is

from runtime import console, onnx_export

SIZE = 256  # as in data.py, which imports torch
STRUCTURE = Path(__file__).with_name("model.onnx")

if __name__ == "__main__":
    console.run(partial(onnx_export.main, __doc__, STRUCTURE, SIZE))
