"""Every spec of specs/ under its own placement."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT
from placed import check_copies, model_text, module, on_one_device, step
from torch import Tensor

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


def model(program: Program, devices: list[str]) -> Any:
    """Return the generated network in float64, with dropout off."""
    code = module(model_text(program))
    return getattr(code, program.spec.name)(devices).double().eval()


@pytest.mark.parametrize("stem", SPECS)
def test_only_planned_copies_cross(stem: str) -> None:
    program = spec(stem)
    check_copies(program, step(program))


def batch(program: Program, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images and labels."""
    draw = torch.Generator().manual_seed(seed)
    shape = (2, *program.graph.input_shape)
    images = torch.randn(shape, dtype=torch.float64, generator=draw)
    return images, torch.randint(program.graph.nodes[-1].shape[0], (2,), generator=draw)


def losses(program: Program, steps: int) -> Tensor:
    """Train with momentum and weight decay, and return the loss of every step."""
    net = model(program, ["cpu"] * len(program.placed.devices))
    rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    found = []
    for seed in range(steps):
        images, labels = batch(program, seed)
        loss = F.cross_entropy(net(images), labels)
        rule.zero_grad()
        torch.autograd.backward(loss)
        rule.step()
        found.append(loss.detach())
    return torch.stack(found)


@pytest.mark.parametrize("stem", SPECS)
def test_twenty_steps_lose_the_same_on_one_device(stem: str) -> None:
    program = spec(stem, small=True)
    if len(program.placed.devices) == 1:
        pytest.skip("this is the form on one device")
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
        net = model(program, devices[: len(program.placed.devices)])
        images, labels = batch(program, 0)
        logits = net(images)
        torch.autograd.backward(F.cross_entropy(logits, labels.to(logits.device)))
        gradients = {name: p.grad.cpu() for name, p in net.named_parameters()}
        results.append({"logits": logits.detach().cpu()} | gradients)
    on_cpu, mixed = results
    for name, value in on_cpu.items():
        torch.testing.assert_close(mixed[name], value, rtol=1e-8, atol=1e-10)
