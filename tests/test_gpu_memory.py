"""What benchmarks/gpu.py finds out about bytes, where there is no GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from test_specs import spec
from torch import nn

from specgen.passes import memory

MIB = 2**20


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_memory
    import gpu_profile

    yield gpu_memory, gpu_profile
    for name in ("gpu_memory", "gpu_profile"):
        del sys.modules[name]


def test_the_plan_is_read_from_the_readme(benchmarks: Any) -> None:
    gpu_memory, _ = benchmarks
    plan = gpu_memory.read_plan(ROOT / "generated" / "alexnet_1gpu" / "README.md")
    (held,) = memory.plan(spec("alexnet_1gpu").placed).values()
    assert (plan.images, plan.weights) == (128, held.weights)
    # To two decimals of a GiB.
    assert plan.training == pytest.approx(held.training(128), abs=5.4 * MIB)
    assert plan.saved == pytest.approx(held.activations(128), abs=5.4 * MIB)


def test_a_readme_without_a_plan_is_refused(benchmarks: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# AlexNet\n")
    with pytest.raises(ValueError, match="there is no memory plan in"):
        benchmarks[0].read_plan(tmp_path / "README.md")


def test_norms_and_the_largest_activation_are_found(benchmarks: Any) -> None:
    class LocalResponseNorm(nn.Identity):
        """Named like the one of generated code."""

    gpu_memory, _ = benchmarks
    net = nn.Sequential(nn.Conv2d(3, 8, 3), LocalResponseNorm(), nn.MaxPool2d(2))
    x = torch.zeros(2, 3, 10, 10)
    size = 4 * 2 * 8 * 8 * 8
    assert gpu_memory.sizes(net, x, fused=True) == (size, size)
    assert gpu_memory.sizes(net, x, fused=False) == (size, 0)


@pytest.mark.parametrize(
    ("saved", "peak", "libraries", "right"),
    [
        (800, 1640, 30, True),
        (840, 1680, 30, False),  # more is saved than planned
        (760, 1600, 30, False),  # less: the plan is wrong all the same
        (800, 1550, 30, False),  # not all that is planned is there at the peak
        (800, 2000, 30, False),  # more than three of the largest activation
        (800, 2100, 500, False),  # something else is held between steps
    ],
)
def test_the_plan_must_fit(
    saved: int, peak: int, libraries: int, right: bool, benchmarks: Any
) -> None:
    gpu_memory, _ = benchmarks
    plan = gpu_memory.Plan(128, 250 * MIB, 1750 * MIB)
    shapes = gpu_memory.Sizes(100 * MIB, 200 * MIB)  # so 800 are saved
    held = 500 + libraries
    sizes = held, held + 70, held + 70 + saved, peak
    found = gpu_memory.Marks(*(size * MIB for size in sizes))
    said, verdict = gpu_memory.judge(plan, found, shapes)
    assert verdict == right
    assert f"{saved}.0 MiB saved, 800.0 MiB expected" in said
    assert f"workspaces {peak - 1550 - libraries - 70}.0 MiB of at most 300.0" in said


def test_traffic_counts_what_operations_read_and_write(benchmarks: Any) -> None:
    def traffic(*last: nn.Module) -> float:
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), *last)
        moved: float = benchmarks[1].traffic(net, (2, 2), 4)
        return moved

    # Forward it reads and writes, backward it reads two and writes: five activations.
    assert traffic(nn.ReLU()) - traffic() == 2 * 5 * 5


def test_kernels_count_what_torch_compile_reads_and_writes(benchmarks: Any) -> None:
    def compiled(function: Any, x: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        run: Any = torch.compile(function)
        with benchmarks[1].kernels() as moved:
            y = run(x)
            torch.autograd.backward(y.sum())
        return moved, y

    # One kernel each way: forward it reads x and writes y and one byte for each sign,
    # backward it reads a gradient and these and writes a gradient. The sum is outside.
    x = torch.randn(50, 40, requires_grad=True)
    found, y = compiled(lambda x: x.relu() * 2 + 1, x)
    assert found == [(4 + 4 + 1) * 2000, (4 + 1 + 4) * 2000]
    assert y.equal(x.relu() * 2 + 1)

    # The parts of a product's gradient are results of operations of their own.
    nhwc: Any = {"memory_format": torch.channels_last}
    x = torch.randn(8, 3, 10, 10).contiguous(**nhwc)
    conv = nn.Conv2d(3, 5, 3, bias=False).to(**nhwc)
    found, _ = compiled(conv, x)
    forward = x.numel() + 135 + 8 * 5 * 64  # x, the weight, y
    backward = x.numel() + 135 + 8 * 5 * 64 + 135  # these, and the weight's gradient
    assert sum(found) == 4 * (forward + backward)
