"""Decode a tree of images once, so that training does not have to in every epoch.

    python pack.py DIR OUT
    python train.py --data OUT

After a stop, or when images in DIR have changed, run it again: shards that are intact
and up to date are kept.
"""

import signal

# Until everything is imported, Ctrl-C ends this without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where runtime/ is

from data import SIZE
from runtime import console, pack

if __name__ == "__main__":
    console.run(partial(pack.main, __doc__, SIZE))
