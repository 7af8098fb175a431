"""How fast the exported AlexNet runs in onnxruntime, on a CPU, in one run.

The rival is what torch.onnx.export (dynamo) gives for the same network, handwritten
with nn.LocalResponseNorm for each tower; the bound is that network without LRN. All
take turns on the same weights and images; a ratio is the median over rounds of the
rival's time over the candidate's. Next to wall seconds are CPU seconds (of all threads,
which do not spin): on a shared machine they vary less.

    python benchmarks/export.py --batch-size 16 --rounds 15
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
import torch
from common import alexnet
from torch import Tensor, nn

from specgen import runtime_files
from specgen.compiler import compile_file, render
from specgen.runtime import checkpoint

SPEC = Path(__file__).parent.parent / "specs" / "alexnet.yaml"
NET = "alexnet"


class TowerNorm(nn.Module):
    """The towers' normalization, each over its own maps, as written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)

    def forward(self, x: Tensor) -> Tensor:
        towers = x.reshape(-1, x.shape[1] // 2, *x.shape[2:])
        y: Tensor = self.norm(towers).reshape(x.shape)
        return y


def export_with_torch(norm: Callable[[], nn.Module], path: Path) -> dict[str, Tensor]:
    """Export the handwritten network with weights from seed 0, and return those."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision is missing
    torch.manual_seed(0)
    net = alexnet(norm).eval()
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            net,
            (torch.randn(2, 3, 224, 224),),
            path,
            dynamo=True,
            verbose=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
        )
    return net.state_dict()


def export_with_specgen(weights: dict[str, Tensor], path: Path) -> None:
    """Build alexnet.yaml and bind the weights, which come in its order."""
    program = compile_file(SPEC)
    for name, files in ((NET, render(program)), ("runtime", runtime_files.read())):
        (path.parent / name).mkdir()
        for file, content in files.items():
            (path.parent / name / file).write_bytes(content)
    names = [name for node in program.graph.nodes for name in node.parameters]
    tensors = dict(zip(names, weights.values(), strict=True))
    tensors["data.mean"] = torch.zeros(3, 256, 256)
    classes = [str(number) for number in range(1000)]
    run = checkpoint.Run(recipe={}, data={}, classes=classes, bad={}, images=0)
    saved = path.with_suffix(".safetensors")
    checkpoint.save(saved, tensors, run)
    script = path.parent / NET / "export.py"
    subprocess.run([sys.executable, str(script), str(saved)], check=True)


def session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    with TemporaryDirectory() as folder:
        paths = {
            "torch.onnx.export": Path(folder, "torch.onnx"),
            "export.py": Path(folder, "ours.onnx"),
            "no LRN (bound)": Path(folder, "bound.onnx"),
        }
        weights = export_with_torch(TowerNorm, paths["torch.onnx.export"])
        export_with_specgen(weights, paths["export.py"])
        export_with_torch(nn.Identity, paths["no LRN (bound)"])
        sessions = {name: session(path, args.threads) for name, path in paths.items()}

    generator = np.random.default_rng(0)
    images = 50 * generator.standard_normal((args.batch_size, 3, 224, 224), np.float32)
    rival, ours, _ = (
        run.run(["logits"], {"input": images})[0] for run in sessions.values()
    )
    np.testing.assert_allclose(ours, rival, atol=1e-4)

    wall: dict[str, list[float]] = {name: [] for name in sessions}
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(args.rounds):
        for name, run in sessions.items():
            start = time.perf_counter(), time.process_time()
            run.run(["logits"], {"input": images})
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])

    print(
        f"onnxruntime {ort.__version__}, torch {torch.__version__},"
        f" batch {args.batch_size}, {args.threads} threads"
    )
    print(f"{'':20} {'wall ms':>8} {'ratio':>6} {'CPU ms':>8} {'ratio':>6}")
    for name in sessions:
        row = f"{name:20}"
        for times in (wall, cpu):
            baseline = times["torch.onnx.export"]
            ratio = median(b / t for b, t in zip(baseline, times[name], strict=True))
            row += f" {1000 * median(times[name]):8.0f} {ratio:6.2f}"
        print(row)


if __name__ == "__main__":
    main()
