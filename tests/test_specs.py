"""Every spec of specs/ under its own placement."""

from __future__ import annotations

import pytest
import torch
from helpers import ROOT
from placed import Copies, check_copies, losses, on_one_device, step, weights

from specgen.compiler import Program, compile_file
from specgen.verify.devices import Copy

SPECS = sorted(path.stem for path in ROOT.glob("specs/*.yaml"))
# AlexNet's layers and placements with fewer pixels and features.
SMALL = (
    "input.height=67",
    "input.width=67",
    "layers.fc6.out_features=256",
    "layers.fc7.out_features=256",
)


def spec(stem: str, *sets: str, small: bool = False) -> Program:
    fewer = SMALL if small and stem != "alexnet_mini" else ()
    return compile_file(ROOT / f"specs/{stem}.yaml", (*fewer, *sets))


@pytest.mark.parametrize("stem", SPECS)
def test_only_planned_copies_cross(stem: str) -> None:
    program = spec(stem)
    check_copies(program, step(program))


@pytest.mark.parametrize("stem", SPECS)
def test_twenty_steps_have_the_same_losses_on_one_device(stem: str) -> None:
    program = spec(stem, small=True)
    found, alone = losses(program, 20), losses(on_one_device(program), 20)
    torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)
    assert len(set(found.tolist())) == 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stem", SPECS)
def test_a_real_gpu_and_the_cpu_compute_the_same(stem: str) -> None:
    program = spec(stem, small=True)
    count = len(program.placed.devices)
    mixed = (["cuda:0", "cpu"] * count)[:count]
    start, dtype = weights(program), torch.float64
    on_cpu = step(program, weights=start, dtype=dtype, real=["cpu"] * count)
    found = step(program, weights=start, dtype=dtype, real=mixed)
    check_copies(program, found, item=8)
    for name in ("logits", "gradients", "weights"):
        torch.testing.assert_close(
            getattr(found, name), getattr(on_cpu, name), rtol=1e-8, atol=1e-10
        )


def test_copies_between_real_devices_are_seen() -> None:
    x = torch.ones(3, requires_grad=True)
    with Copies() as log:
        y = x.to("meta")
        torch.empty(5, device="meta").copy_(torch.ones(5))
        y.to("meta")
    assert log.copies == [Copy("cpu", "meta", 12), Copy("cpu", "meta", 20)]
