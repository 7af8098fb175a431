"""How long `specgen build` takes, against its bound and its rivals, in one run.

    python benchmarks/build.py [--rounds 9]

Whole processes take turns, so that a busy machine slows all of them equally; the ratios
of the medians count, not the seconds. The bound is what must be imported:
pydantic, yaml, jinja2 and onnx. The rival for ONNX is torch.onnx.export of the same
network, itself a generated model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs/alexnet.yaml"
IMPORTS = "import pydantic, yaml, jinja2, onnx"
TORCH_EXPORT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, model
net = model.AlexNet(("cpu", "cpu")).eval()
x = torch.randn(2, 3, 224, 224)
torch.onnx.export(net, (x,), sys.argv[1], dynamo=True)
"""


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description="Time `specgen build`.")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users compile it only once
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["PYTHONPATH"] = str(ROOT)
        build = [sys.executable, "-m", "specgen", "build", str(SPEC), "--output"]
        kept = folder / "kept"
        subprocess.run([*build, str(kept)], check=True, capture_output=True)
        times: dict[str, list[float]] = {}
        for turn in range(rounds):
            commands = {
                "the imports alone": [sys.executable, "-c", IMPORTS],
                "build": [*build, str(folder / str(turn))],
                "build, nothing to do": [*build, str(kept)],
            }
            if turn < 3:  # it takes as long as everything else together
                script = [sys.executable, "-c", TORCH_EXPORT, str(folder / "x.onnx")]
                commands["torch.onnx.export"] = script
            for label, command in commands.items():
                began = time.perf_counter()
                environment = os.environ | {
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{kept / 'alexnet'}"
                }
                subprocess.run(
                    command, check=True, capture_output=True, env=environment
                )
                times.setdefault(label, []).append(time.perf_counter() - began)
    medians = {label: statistics.median(found) for label, found in times.items()}
    bound = medians["the imports alone"]
    print(f"{'median of ' + str(rounds):24}{'seconds':>9}{'to imports':>12}")
    for label, seconds in medians.items():
        print(f"{label:24}{seconds:9.3f}{seconds / bound:12.2f}")
    print(f"export / build: {medians['torch.onnx.export'] / medians['build']:.1f}")


if __name__ == "__main__":
    main()
