"""Generated models on stand-in devices: nothing meets, only what is planned moves."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from device_labels import CPU, Copy, Devices, WrongDeviceError, label
from helpers import ROOT, compile_text, spec_text

from generated import model_text, network
from specgen.compiler import Program
from specgen.ops.base import volume
from specgen.passes import cost

BATCH = 2
SPECS = sorted(path.stem for path in ROOT.glob("specs/*.yaml"))

TOWERS = """
specgen: 1
name: Net
input: {channels: 3, height: 15, width: 15}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: {bottom: 1, right: 1}}
  relu1: {op: relu}
  norm1: {op: local_response_norm, size: 3, groups: 4}
  pool1: {op: max_pool2d, kernel_size: 3, stride: 2}
  conv2: {op: conv2d, out_channels: 16, kernel_size: 3, padding: 1, groups: 2}
  relu2: {op: relu}
  pool2: {op: avg_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc3: {op: linear, out_features: 16}
  relu3: {op: relu}
  drop3: {op: dropout}
  fc4: {op: linear, out_features: 12}
  prob: {op: softmax}
"""

PLACEMENTS = {
    "one device": "{devices: {gpu0: {}}, layers: {conv1..prob: gpu0}}",
    "two towers": """{devices: {gpu0: {}, gpu1: {}},
        layers: {conv1..drop3: split, fc4..prob: gpu0}}""",
    "layer ranges": """{devices: {gpu0: {}, gpu1: {}},
        layers: {conv1..pool2: gpu0, flat..prob: gpu1}}""",
    "there and back": """{devices: {gpu0: {}, gpu1: {}},
        layers: {conv1..pool1: gpu0, conv2..relu3: gpu1, drop3..prob: gpu0}}""",
    "two, then four": """{devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}},
        layers: {conv1..flat: {split: [gpu0, gpu1]}, fc3..fc4: split, prob: gpu3}}""",
    "four, then two": """{devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}},
        layers: {conv1..norm1: split, pool1..drop3: {split: [gpu1, gpu2]},
                 fc4..prob: gpu0}}""",
    "reversed order": """{devices: {gpu0: {}, gpu1: {}},
        layers: {conv1..norm1: {split: [gpu1, gpu0]}, pool1..drop3: split,
                 fc4..prob: gpu1}}""",
    "twice as many devices as groups": """{
        devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}},
        layers: {conv1..drop3: split, fc4..prob: gpu2}}""",
    "shares that do not align": """{devices: {gpu0: {}, gpu1: {}, gpu2: {}},
        layers: {conv1..flat: {split: [gpu0, gpu1]}, fc3..drop3: {split: [gpu2, gpu0]},
                 fc4: split, prob: gpu1}}""",
}


class Run(NamedTuple):
    """The copies of one training step."""

    forward: list[Copy]
    backward: list[Copy]


def names(program: Program) -> dict[str, str]:
    """Return the torch device that each of the spec's devices is bound to."""
    found = {d: f"cuda:{index}" for index, d in enumerate(program.placed.devices)}
    return found | {"": CPU}


def step(program: Program, text: str | None = None) -> Run:
    """Take one training step on labelled devices."""
    bound = names(program)
    with Devices() as devices:
        torch.manual_seed(0)
        model = network(program, text)([bound[d] for d in program.placed.devices])
        for share in program.placed.shares():
            for leaf in share.op.parameters(share.input_shape):
                parameter = model.get_parameter(f"{share.name}.{leaf}")
                assert label(parameter) == bound[share.device], share.name
        # By itself torch groups parameters by their real device, which is one here.
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, foreach=False
        )
        images = torch.randn(BATCH, *program.graph.input_shape)
        devices.copies.clear()
        logits = model(images)
        forward = devices.copies.copy()
        assert label(logits) == bound[program.placed.layers[-1].shares[0].device]
        loss = F.cross_entropy(logits, torch.tensor([0, 1]).to(logits.device))
        devices.copies.clear()
        torch.autograd.backward(loss)
        backward = devices.copies.copy()
        optimizer.step()
        assert devices.copies == backward, "the optimizer moves nothing"
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert label(parameter.grad) == label(parameter)
    return Run(forward, backward)


def planned(program: Program) -> list[Copy]:
    """Return the copies that the placement's moves call for."""
    bound = names(program)
    return [
        Copy(
            bound[piece.device],
            bound[move.device],
            BATCH * cost.FLOAT32 * len(read) * volume(layer.node.x[1:]),
        )
        for layer in program.placed.layers
        for move in layer.moves
        for piece, read in zip(move.pieces, move.reads, strict=True)
        if piece.device != move.device
    ]


def check(program: Program, text: str | None = None) -> None:
    """One step makes the planned copies, and their reverse, and no other."""
    run, plan = step(program, text), planned(program)
    assert Counter(run.forward) == Counter(plan)
    crossing = [copy for copy in plan if copy.source != CPU]
    back = [Copy(copy.target, copy.source, copy.bytes) for copy in crossing]
    assert Counter(run.backward) == Counter(back)
    bound = names(program)
    edges: Counter[tuple[str, str]] = Counter()
    for (_, source, target), count in cost.traffic(program.placed).items():
        edges[bound[source], bound[target]] += BATCH * count
    measured: Counter[tuple[str, str]] = Counter()
    for copy in run.forward:
        if copy.source != CPU:
            measured[copy.source, copy.target] += copy.bytes
    assert measured == edges


def towers(placement: str) -> Program:
    return compile_text(f"{TOWERS}placement: {PLACEMENTS[placement]}\n")


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
    text = planted(program, right, right.replace("gpu1", "gpu0"))
    with Devices():
        model = network(program, text)(["cuda:0", "cuda:1"])
        images = torch.randn(BATCH, *program.graph.input_shape)
        with pytest.raises(WrongDeviceError, match=r"convolution.* cuda:0 and cuda:1"):
            model(images)


def test_a_detour_is_found() -> None:
    program = towers("two towers")
    right = "gather(a, b, to=self.gpu0)"
    text = planted(program, right, "gather(a, b, to=self.gpu1).to(self.gpu0)")
    with pytest.raises(AssertionError, match="Copy"):
        check(program, text)
