"""Draw the curves of runs of train.py: `python generated/runtime RUN...`."""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import_module(f"{HERE.name}.curves").run()
