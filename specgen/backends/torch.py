"""The generated PyTorch files: typed views, which the templates only lay out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from specgen import templates
from specgen.backends.forward import Forward
from specgen.backends.layout import bracketed, comments, paragraph, prose
from specgen.graph import Placed, PlacedGraph
from specgen.ops.activation import Softmax
from specgen.ops.weighted import Init, Weighted
from specgen.passes import cost
from specgen.passes.placement import LETTERS
from specgen.spec import Spec

# One template a file, in the order in which one reads them.
FILES = ("model.py",)


@dataclass(frozen=True, slots=True)
class Net:
    """What the templates know of the network; lists of strings are finished lines."""

    stem: str
    name: str
    title: str
    about: list[str]
    channels: int
    height: int
    width: int
    classes: int
    parameters: str
    macs: str
    devices: tuple[str, ...]
    signature: list[str]
    modules: list[str]
    start: list[str]
    forward: list[str]
    logits: str
    output_device: str
    split: list[str]
    softmax: bool
    helpers: frozenset[str]


def render(spec: Spec, stem: str, placed: PlacedGraph) -> dict[str, str]:
    """Return the text of every generated Python file, by name."""
    net = _view(spec, stem, placed)
    values = {"net": net, "data": spec.data, "training": spec.training}
    return {name: _template(name).render(values) for name in FILES}


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(templates.folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _template(name: str) -> Any:
    return _environment().get_template(f"{name}.j2")


def _view(spec: Spec, stem: str, placed: PlacedGraph) -> Net:
    graph = placed.graph
    layers = list(placed.layers)
    softmax = layers.pop() if isinstance(layers[-1].node.op, Softmax) else None
    letters = dict(zip(placed.devices, LETTERS, strict=False))
    forward = Forward(letters)
    for layer in layers:
        forward.layer(layer)
    logits = forward.finish(softmax)
    helpers = forward.helpers | {
        form.helper
        for layer in layers
        if (form := layer.node.op.torch(layer.node.x)).helper
    }
    channels, height, width = graph.input_shape
    split = [layer for layer in layers if len(layer.shares) > 1 and _weighted(layer)]
    return Net(
        stem=stem,
        name=spec.name,
        title=f"{spec.name} on {_and(placed.devices)}",
        about=_about(spec),
        channels=channels,
        height=height,
        width=width,
        classes=layers[-1].node.shape[0],
        parameters=f"{cost.parameters(graph):,}",
        macs=f"{cost.macs(graph):,}",
        devices=placed.devices,
        signature=_signature(placed.devices),
        modules=_modules(layers),
        start=_start(layers, spec.init),
        forward=forward.lines,
        logits=logits,
        output_device=placed.layers[-1].shares[0].device,
        split=_split_table(split),
        softmax=softmax is not None,
        helpers=frozenset(helpers),
    )


def _about(spec: Spec) -> list[str]:
    sentences = [prose(text).rstrip(".") for text in (spec.summary, spec.reference)]
    return paragraph(" ".join(f"{text}." for text in sentences if text))


def _signature(devices: tuple[str, ...]) -> list[str]:
    """The default devices: as many CUDA devices."""
    defaults = [f'"cuda:{index}"' for index in range(len(devices))]
    if len(defaults) == 1:
        return ['        devices: Sequence[str | torch.device] = ("cuda:0",),']
    return bracketed("devices: Sequence[str | torch.device] = (", defaults, "),", 8)


def _modules(layers: list[Placed]) -> list[str]:
    """One line a module: a share's own where it has parameters, else one for all."""
    lines: list[str] = []
    for layer in layers:
        lines += comments(layer.node.comments, 8)
        for share in layer.shares:
            module = share.op.torch(share.input_shape).module
            if module is None:
                continue
            own = _weighted(layer)
            args = [*module.args, *([f"device=self.{share.device}"] if own else [])]
            name = share.name if own else layer.node.name
            lines += bracketed(f"self.{name} = {module.name}(", args, ")", 8)
            if not own:
                break
    return lines


def _start(layers: list[Placed], default: Init) -> list[str]:
    """One call a layer with parameters, in spec order."""
    lines = []
    for layer in layers:
        op = layer.node.op
        if not isinstance(op, Weighted):
            continue
        init = op.init.over(default)
        weight = op.weight(layer.node.x)
        fan_in = 1
        for size in weight[1:]:
            fan_in *= size
        shares = [f"self.{share.name}" for share in layer.shares]
        numbers = [f"std={init.std(fan_in):.6g}"]
        if op.bias:
            numbers.append(f"bias={init.bias:.6g}")
        lines += bracketed("start(", [*shares, *numbers, "generator=generator"], ")", 8)
    return lines


def _split_table(layers: list[Placed]) -> list[str]:
    """Entries of SHARES: a layer's name to those of its shares."""
    lines = []
    for layer in layers:
        names = [f'"{share.name}"' for share in layer.shares]
        lines += bracketed(f'"{layer.node.name}": (', names, "),", 4)
    return lines


def _weighted(layer: Placed) -> bool:
    return bool(layer.node.parameters())


def _and(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
