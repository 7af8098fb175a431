"""Draw the curves of a run, also while it goes on.

python generated/runtime runs/NAME/metrics.csv
"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
runpy.run_module(f"{HERE.name}.report", run_name="__main__", alter_sys=True)
