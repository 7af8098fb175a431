"""Generated models on stand-in devices: nothing meets, only what is planned moves."""

from __future__ import annotations

import pytest
import torch
from placed import (
    BATCH,
    PLACEMENTS,
    check_copies,
    model_text,
    module,
    step,
    towers,
)

from specgen.compiler import Program
from specgen.verify.devices import Devices, WrongDeviceError


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_only_planned_copies_cross(placement: str) -> None:
    program = towers(placement)
    check_copies(program, step(program))


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
        check_copies(program, step(program, text))
