"""How much of a GPU's memory training takes, compared with the plan.

    python benchmarks/memory.py [--batch-size 16 64 128] [--device cuda:0]

The first device of each spec is the GPU, the others are the CPU; the step is that of
train.py. The plan is exact for what torch saves on a CPU. The most that is asked of the
allocator at once differs from it by the residual:

- held: between steps, beyond weights and momentum: workspaces of cuBLAS
- images: on the device they come from
- saved: beyond the plan, from forward to backward: CUDA keeps other masks, the loss its
  own values
- backward: beyond that and the gradients of the weights: gradients of activations and
  workspaces, less what is no longer needed when the last gradient comes
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import gpu_memory
import torch
from torch import Tensor

from specgen.compiler import Program, compile_file, render
from specgen.passes import memory
from specgen.verify.measure import images, network

SPECS = Path(__file__).parent.parent / "specs"


class Peak(NamedTuple):
    """Bytes of the first device: planned, asked for at peak, and why they differ."""

    planned: int
    peak: int
    held: int
    images: int
    saved: int
    backward: int


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure memory on a GPU.")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: only its allocator counts what it gives out")
        return
    torch.cuda.set_device(options.device)
    print(f"{torch.cuda.get_device_name(options.device)}, torch {torch.__version__}")
    print("MiB on the first device; the residual is the sum of the last four columns")
    heads = ("images", "plan", "peak", "residual", *Peak._fields[2:])
    print(f"{'spec':18}" + "".join(f"{head:>10}" for head in heads))
    for path in sorted(SPECS.glob("*.yaml")):
        program = compile_file(path)
        for count in options.batch_size:
            found = measure(program, options.device, count)
            sizes = (found.planned, found.peak, found.peak - found.planned, *found[2:])
            figures = "".join(f"{size / 2**20:10.2f}" for size in sizes)
            print(f"{path.stem:18}{count:10}{figures}", flush=True)


def measure(program: Program, device: str, count: int) -> Peak:
    """Take two steps; the first one sets up, and the second is measured."""
    first, *others = program.placed.devices
    half = program.spec.training.half
    plan = memory.plan(program.placed, half=half)[first]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_bytes(render(program)["model.py"])
        build = network(path, program.spec.name)

    def batch() -> Tensor:
        return images(program, count).to(device)

    marks = gpu_memory.measure(
        lambda: build([device, *["cpu"] * len(others)]), batch, half=half
    )
    held, given, saved, peak = marks
    return Peak(
        planned=plan.training(count),
        peak=peak,
        held=held - 2 * plan.weights,
        images=given - held,
        saved=saved - given - plan.activations(count),
        backward=peak - saved - plan.weights,
    )


if __name__ == "__main__":
    main()
