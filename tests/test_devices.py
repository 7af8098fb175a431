"""Generated models on stand-in devices: nothing meets, only what is planned moves."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from helpers import ROOT, compile_text, spec_text
from placed import (
    BATCH,
    PLACEMENTS,
    bound,
    check_copies,
    model_text,
    module,
    step,
    towers,
)

from specgen.compiler import Program
from specgen.passes import cost
from specgen.verify.devices import CPU, Devices, WrongDeviceError

SPECS = sorted(path.stem for path in ROOT.glob("specs/*.yaml"))


def check(program: Program, text: str | None = None) -> None:
    """One step copies what the moves say, and as much as the reported traffic."""
    taken = step(program, text)
    check_copies(program, taken)
    names = bound(program)
    reported: Counter[tuple[str, str]] = Counter()
    for (_, source, target), count in cost.traffic(program.placed).items():
        reported[names[source], names[target]] += BATCH * count
    measured: Counter[tuple[str, str]] = Counter()
    for copy in taken.forward:
        if copy.source != CPU:
            measured[copy.source, copy.target] += copy.bytes
    assert measured == reported


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_only_planned_copies_cross(placement: str) -> None:
    check(towers(placement))


@pytest.mark.parametrize("stem", SPECS)
def test_only_planned_copies_cross_in_every_spec(stem: str) -> None:
    check(compile_text(spec_text(stem), stem))


def planted(program: Program, right: str, wrong: str) -> str:
    """Return the generated model with a fault."""
    text = model_text(program)
    assert text.count(right) == 1
    return text.replace(right, wrong)


def test_a_convolution_on_the_wrong_device_is_found() -> None:
    program = towers("two towers")
    right = "self.conv2b = nn.Conv2d(4, 8, 3, padding=1, device=self.gpu1)"
    code = module(planted(program, right, right.replace("gpu1", "gpu0")))
    with Devices():
        model = code.Net(["cuda:0", "cuda:1"])
        images = torch.randn(BATCH, *program.graph.input_shape)
        with pytest.raises(WrongDeviceError, match=r"convolution.* cuda:0 and cuda:1"):
            model(images)


def test_a_detour_is_found() -> None:
    program = towers("two towers")
    right = "gather(a, b, to=self.gpu0)"
    text = planted(program, right, "gather(a, b, to=self.gpu1).to(self.gpu0)")
    with pytest.raises(AssertionError, match="Copy"):
        check(program, text)
