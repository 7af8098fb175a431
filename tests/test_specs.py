"""Every spec of specs/ under its own placement."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT
from placed import batch, check_copies, exact, losses, on_one_device, step

from specgen.compiler import Program, compile_file

SPECS = sorted(path.stem for path in ROOT.glob("specs/*.yaml"))
# AlexNet's layers and placements with fewer pixels and features.
SMALL = (
    "input.height=67",
    "input.width=67",
    "layers.fc6.out_features=256",
    "layers.fc7.out_features=256",
)


def spec(stem: str, *, small: bool = False) -> Program:
    sets = SMALL if small and stem != "alexnet_mini" else ()
    return compile_file(ROOT / f"specs/{stem}.yaml", sets)


@pytest.mark.parametrize("stem", SPECS)
def test_only_planned_copies_cross(stem: str) -> None:
    program = spec(stem)
    check_copies(program, step(program))


@pytest.mark.parametrize("stem", SPECS)
def test_twenty_steps_lose_the_same_on_one_device(stem: str) -> None:
    program = spec(stem, small=True)
    found, alone = losses(program, 20), losses(on_one_device(program), 20)
    torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)
    assert len(set(found.tolist())) == 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stem", SPECS)
def test_a_real_gpu_beside_the_cpu_computes_the_same(stem: str) -> None:
    program = spec(stem, small=True)
    places = ["cuda:0", "cpu"] * len(program.placed.devices)
    results = []
    for devices in (["cpu"] * len(places), places):
        net = exact(program, devices[: len(program.placed.devices)])
        images, labels = batch(program, 0)
        logits = net(images)
        torch.autograd.backward(F.cross_entropy(logits, labels.to(logits.device)))
        gradients = {name: p.grad.cpu() for name, p in net.named_parameters()}
        results.append({"logits": logits.detach().cpu()} | gradients)
    on_cpu, mixed = results
    for name, value in on_cpu.items():
        torch.testing.assert_close(mixed[name], value, rtol=1e-8, atol=1e-10)
