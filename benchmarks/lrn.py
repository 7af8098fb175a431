"""Time AlexNet's whole training step with three forms of its normalisation.

On CPU, float32, one device, all in turn in one run; a ratio is the median over rounds
of the baseline's time over the candidate's. CPU seconds (all threads) stand beside wall
seconds: on a shared machine they disturb each other less.

    python benchmarks/lrn.py --batch-size 64 --rounds 5
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

TEMPLATE = Path(__file__).parent.parent / "templates" / "_local_response_norm.py.j2"
IMPORTS = """\
from __future__ import annotations
from collections.abc import Callable, Iterator
from typing import Any
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
"""


def norm_class() -> Any:
    """Return the class in the template, which has no variables."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "rendered_norm.py")
        path.write_text(IMPORTS + TEMPLATE.read_text())
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.LocalResponseNorm


def alexnet(norm: Callable[[], nn.Module]) -> nn.Sequential:
    """Return AlexNet as published, on one device: 60,965,224 parameters."""
    return nn.Sequential(
        *(nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU()),
        *(norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU()),
        *(norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)),
    )


def training_step(
    norm: Callable[[], nn.Module], batch_size: int, tuned: bool
) -> Callable[[], None]:
    """Return one step; `tuned` means channels_last and a fused optimizer."""
    torch.manual_seed(0)
    images = torch.randn(batch_size, 3, 224, 224)
    labels = torch.randint(1000, (batch_size,))
    net = alexnet(norm)
    if tuned:
        images = images.contiguous(memory_format=torch.channels_last)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        fused=True if tuned else None,
    )

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(images), labels))
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    values = {"alpha": 1e-4, "beta": 0.75, "k": 2.0}
    ours = norm_class()
    steps = {
        "hand-written": training_step(
            lambda: nn.LocalResponseNorm(5, **values), args.batch_size, tuned=False
        ),
        "LocalResponseNorm": training_step(
            lambda: ours(5, **values, groups=2), args.batch_size, tuned=True
        ),
        "no LRN (bound)": training_step(nn.Identity, args.batch_size, tuned=True),
    }
    for step in steps.values():  # the first step also allocates and compiles kernels
        step()
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            start = time.perf_counter(), time.process_time()
            step()
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])

    print(f"torch {torch.__version__}, batch {args.batch_size}, {args.threads} threads")
    print(f"{'':20} {'wall s':>8} {'ratio':>6} {'CPU s':>8} {'ratio':>6}")
    for name in steps:
        row = f"{name:20}"
        for times in (wall, cpu):
            baseline = times["hand-written"]
            ratio = median(b / t for b, t in zip(baseline, times[name], strict=True))
            row += f" {median(times[name]):8.2f} {ratio:6.2f}"
        print(row)


if __name__ == "__main__":
    main()
