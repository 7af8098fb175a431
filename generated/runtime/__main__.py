"""Draw the curves of runs of train.py: `python generated/runtime RUN...`."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
runpy.run_module(f"{HERE.name}.curves", run_name="__main__", alter_sys=True)
