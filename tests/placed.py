"""Networks under placements: one training step of the generated model, and its plan."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from helpers import compile_text
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from specgen.compiler import Program, render
from specgen.graph import tensor_name
from specgen.ops.base import FLOAT32, volume
from specgen.passes import cost
from specgen.passes import placement as placing
from specgen.spec import Device, Placement
from specgen.verify.devices import Copy, Devices

BATCH = 2

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
  norm2: {op: spatial_response_norm, size: 3, alpha: 0.1}
  pool2: {op: avg_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc3: {op: linear, out_features: 16}
  relu3: {op: relu}
  drop3: {op: dropout}
  fc4: {op: linear, out_features: 12}
  prob: {op: softmax}
"""

_TWO = "devices: {gpu0: {}, gpu1: {}}"
_THREE = "devices: {gpu0: {}, gpu1: {}, gpu2: {}}"
_FOUR = "devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}}"

PLACEMENTS = {
    "one device": "{devices: {gpu0: {}}, layers: {conv1..prob: gpu0}}",
    "two towers": f"{{{_TWO}, layers: {{conv1..drop3: split, fc4..prob: gpu0}}}}",
    "layer ranges": f"{{{_TWO}, layers: {{conv1..pool2: gpu0, flat..prob: gpu1}}}}",
    "images elsewhere": f"{{{_TWO}, layers: {{conv1..pool2: gpu1, flat..prob: gpu0}}}}",
    "there and back": f"""{{{_TWO}, layers:
        {{conv1..pool1: gpu0, conv2..relu3: gpu1, drop3..prob: gpu0}}}}""",
    "two, then four": f"""{{{_FOUR}, layers:
        {{conv1..flat: {{split: [gpu0, gpu1]}}, fc3..fc4: split, prob: gpu3}}}}""",
    "four, then two": f"""{{{_FOUR}, layers: {{conv1..norm1: split,
        pool1..drop3: {{split: [gpu1, gpu2]}}, fc4..prob: gpu0}}}}""",
    "reversed order": f"""{{{_TWO}, layers: {{conv1..norm1: {{split: [gpu1, gpu0]}},
        pool1..drop3: split, fc4..prob: gpu1}}}}""",
    "twice as many devices as groups": f"""{{{_FOUR}, layers:
        {{conv1..drop3: split, fc4..prob: gpu2}}}}""",
    "shares that do not align": f"""{{{_THREE}, layers:
        {{conv1..flat: {{split: [gpu0, gpu1]}}, fc3..drop3: {{split: [gpu2, gpu0]}},
        fc4: split, prob: gpu1}}}}""",
}


def towers(placement: str) -> Program:
    """Compile a small network of ops of every kind under one of PLACEMENTS."""
    return compile_text(f"{TOWERS}placement: {PLACEMENTS[placement]}\n")


def on_one_device(program: Program) -> Program:
    """The same network, all of it on one device."""
    placement = Placement(devices={"gpu0": Device()}, layers={})
    spec = program.spec.model_copy(update={"placement": placement})
    placed = placing.on_one_device(program.graph)
    return replace(program, spec=spec, placed=placed)


def model_text(program: Program) -> str:
    """Return the generated model.py."""
    return render(program)["model.py"].decode()


def module(text: str) -> Any:
    """Import generated code that needs no other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("model", path)
        assert spec
        assert spec.loader
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found


@dataclass(frozen=True)
class Step:
    """What one training step gave; gradients and weights are whole.

    `names` are the torch devices of the spec's.
    """

    names: dict[str, str]
    logits: Tensor
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    forward: list[Copy]
    backward: list[Copy]


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Logs every copy between real devices while entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.copies: list[Copy] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.copy_.default:
            self._log(args[1], result)
        elif function is torch.ops.aten._to_copy.default:
            self._log(args[0], result)
        return result

    def _log(self, x: Tensor, result: Tensor) -> None:
        if x.device != result.device:
            self.copies.append(Copy(str(x.device), str(result.device), x.nbytes))


def bound(program: Program) -> dict[str, str]:
    """A torch device for each of the spec's."""
    return {d: f"cuda:{index}" for index, d in enumerate(program.placed.devices)}


def step(
    program: Program,
    text: str | None = None,
    *,
    weights: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    real: Sequence[str] = (),
) -> Step:
    """Take one training step; with `weights`, without dropout.

    It runs on labeled stand-ins, or on `real` devices, one for each of the spec's.
    """
    names = bound(program)
    names |= dict(zip(program.placed.devices, real, strict=True)) if real else {}
    code = module(text or model_text(program))
    torch.manual_seed(0)
    images = torch.randn(BATCH, *program.graph.input_shape, dtype=dtype)
    with Copies() if real else Devices() as devices:
        model = getattr(code, program.spec.name)(
            [names[d] for d in program.placed.devices]
        )
        model.to(dtype)
        if weights is not None:
            model.load_state_dict(weights)
            model.eval()
        check_parameters(program, model, names)
        # By default torch groups parameters by their real device, which is one here.
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, foreach=False
        )
        images = images.to(names[program.placed.devices[0]])
        devices.copies.clear()
        logits = model(images)
        forward = devices.copies.copy()
        last = program.placed.layers[-1].shares[0]
        assert str(logits.device) == names[last.device]
        labels = torch.arange(BATCH) % logits.shape[1]
        loss = F.cross_entropy(logits, labels.to(logits.device))
        devices.copies.clear()
        torch.autograd.backward(loss)
        backward = devices.copies.copy()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()
        assert devices.copies == backward, "the optimizer moves nothing"
        for name, p in model.named_parameters():
            assert gradients[name].device == p.device
    whole = getattr(code, "join_shares", _on_cpu)(gradients)
    learned = _on_cpu(model.state_dict())
    return Step(names, logits.detach().cpu(), whole, learned, forward, backward)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def weights(program: Program) -> dict[str, Tensor]:
    """Draw whole weights with which every gradient counts, as with He et al. (2015).

    From AlexNet's own start the loss hardly depends on what its first layer learns.
    """
    draw = torch.Generator().manual_seed(1)
    found = {}
    for node in program.graph.nodes:
        for name, shape in node.parameters.items():
            std = (2 / volume(shape[1:])) ** 0.5 if len(shape) > 1 else 0.25
            values = torch.randn(shape, dtype=torch.float64, generator=draw)
            found[name] = values * std
        for name, own in node.tensors.items():
            if not own.learned:  # statistics: a mean of 0, a variance of 1, no batch
                size = float(name.endswith("running_var"))
                dtype = torch.float64 if own.shape else torch.int64
                found[name] = torch.full(own.shape, size, dtype=dtype)
    return found


def exact(program: Program, devices: list[str]) -> Any:
    """Return the generated network in float64, with dropout off and drawn weights."""
    code = module(model_text(program))
    net = getattr(code, program.spec.name)(devices).double().eval()
    net.load_state_dict(weights(program))
    return net


def batch(program: Program, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images and labels."""
    draw = torch.Generator().manual_seed(seed)
    shape = (BATCH, *program.graph.input_shape)
    images = torch.randn(shape, dtype=torch.float64, generator=draw)
    classes = program.graph.nodes[-1].shape[0]
    return images, torch.randint(classes, (BATCH,), generator=draw)


def losses(program: Program, steps: int) -> Tensor:
    """Train with momentum and weight decay, and return the loss of every step.

    Gradients are clipped, or some networks would diverge, which multiplies rounding.
    """
    net = exact(program, ["cpu"] * len(program.placed.devices))
    rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    found = []
    for seed in range(steps):
        images, labels = batch(program, seed)
        loss = F.cross_entropy(net(images), labels)
        rule.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        rule.step()
        found.append(loss.detach())
    return torch.stack(found)


def check_parameters(
    program: Program, model: torch.nn.Module, names: Mapping[str, str]
) -> None:
    """Every parameter is where its share is."""
    expected = {
        tensor_name(share.name, leaf): names[share.device]
        for share in program.placed.shares()
        for leaf in share.op.parameters(*share.input_shapes)
    }
    found = {name: str(p.device) for name, p in model.named_parameters()}
    assert found == expected


def planned(
    program: Program, names: Mapping[str, str], item: int
) -> tuple[list[Copy], list[Copy]]:
    """Return the copies that the moves call for, forward and backward.

    A gradient goes back only to where there is a parameter to learn.
    """
    forward, backward = [], []
    learning = program.placed.learning
    for layer in program.placed.layers:
        for move in layer.moves:
            pixels = volume(move.shape[1:])
            for piece, read in zip(move.pieces, move.reads, strict=True):
                source = names[piece.device or program.placed.devices[0]]
                target = names[move.device]
                count = BATCH * item * len(read) * pixels
                if source != target:
                    forward.append(Copy(source, target, count))
                    if piece.value in learning:
                        backward.append(Copy(target, source, count))
    return forward, backward


def check_copies(program: Program, taken: Step, item: int = 4) -> None:
    """Exactly the planned copies were made, as far as they are reported."""
    names = taken.names
    forward, backward = planned(program, names, item)
    assert Counter(taken.forward) == Counter(forward)
    assert Counter(taken.backward) == Counter(backward)
    if len({*names.values()}) < len(names):
        return  # the report tells apart what several devices of the spec share
    reported: Counter[tuple[str, str]] = Counter()
    for (_, source, target), count in cost.traffic(program.placed).items():
        reported[names[source], names[target]] += count
    measured: Counter[tuple[str, str]] = Counter()
    for copy in taken.forward:
        share = copy.bytes * FLOAT32 // (item * BATCH)
        measured[copy.source, copy.target] += share
    assert measured == reported
