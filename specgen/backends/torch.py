"""The generated PyTorch files: typed views, which the templates only lay out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jinja2 import (
    Environment,
    FileSystemBytecodeCache,
)
from jinja2.bccache import Bucket

from specgen import templates
from specgen.backends.classes import Class, Classes
from specgen.backends.forward import Forward
from specgen.backends.layout import (
    bracketed,
    comments,
    enumeration,
    fits,
    hanging,
    listed,
    paragraph,
    sentences,
)
from specgen.backends.lookup import table
from specgen.backends.start import Starts, starts
from specgen.graph import Graph, Placed, PlacedGraph
from specgen.ops.base import Call
from specgen.ops.normalization import GroupNorm
from specgen.passes import cost
from specgen.passes.schedule import schedule
from specgen.passes.shares import letters
from specgen.source import Source
from specgen.spec import Spec
from specgen.spec.data import Data

# One template per file, in reading order.
FILES = (
    "model.py",
    "data.py",
    "recipe.py",
    "train.py",
    "evaluate.py",
    "predict.py",
    "export.py",
    "pack.py",
)

FUNCTIONAL = "torch.nn.functional"  # imported as F

# What the definition of a helper imports, by module. The definition itself is a
# template: that of LocalResponseNorm is _local_response_norm.py.j2.
HELPERS: dict[str, dict[str, set[str]]] = {
    "LocalResponseNorm": {
        "collections.abc": {"Callable", "Iterator"},
        "torch.autograd.function": {"once_differentiable"},
        "typing": {"Any"},
    },
    "LayerNorm2d": {},
    "SyncBatchNorm2d": {
        "torch": {"distributed"},
        "torch.autograd.function": {"once_differentiable"},
        "typing": {"Any"},
    },
    "SpatialResponseNorm": {
        FUNCTIONAL: {"F"},
        "collections.abc": {"Callable"},
        "torch.autograd.function": {"once_differentiable"},
        "typing": {"Any"},
    },
    "SelfAttention": {FUNCTIONAL: {"F"}},
    "StochasticDepth": {},
    "parameter": {},
    "prepend": {},
}


# With a kernel for CUDA, LocalResponseNorm needs these. A file that defines another
# norm has none: it would be longer than people read.
FUSED: dict[str, set[str]] = {FUNCTIONAL: {"F"}, "functools": {"cache"}}
OTHER_NORM = "SpatialResponseNorm"


@dataclass(frozen=True, slots=True)
class Net:
    """What the templates know about the network; lists of strings are whole lines."""

    stem: str  # names the folder that training writes
    name: str
    title: str
    about: list[str]
    reference: list[str]
    channels: int
    height: int
    width: int
    classes: int
    cost: list[str]
    devices: tuple[str, ...]
    device_names: list[str]
    devices_about: list[str]
    signature: list[str]
    modules: list[str]
    blocks: list[Class]
    start: Starts
    forward: list[str]
    output_device: str
    split: list[str]
    split_about: list[str]
    axes: list[str]
    copied: bool
    bare: bool
    biases: str  # how their names end
    batch_norm: int
    early_norm: bool  # a group norm whose input needs no gradient
    softmax: bool
    softmax_comments: list[str]
    helpers: set[str]
    definitions: list[str]
    standard_imports: list[str]
    torch_imports: list[str]


def render(
    spec: Spec,
    source: Source,
    stem: str,
    placed: PlacedGraph,
    files: Iterable[str] = FILES,
) -> dict[str, str]:
    """Return the text of generated Python files, all of them by default, by name."""
    net = _view(spec, stem, placed)
    values = {
        "net": net,
        "data": _data(spec),
        "training": spec.training,
        "comment": partial(_comment, source),
        "bracketed": bracketed,
        "moved": _moved,
        "fused": _is_fused(net.helpers),
    }
    return {name: _template(name).render(values) for name in files}


def _data(spec: Spec) -> Data:
    """The data section with its size; no `std` if that would change nothing."""
    size = spec.data.side(spec.input.height, spec.input.width)
    std = spec.data.std if spec.data.std != 1 else None
    return spec.data.model_copy(update={"size": size, "std": std})


def _comment(source: Source, path: str, indent: int) -> str:
    """The spec's comments above a key, like training.epochs, as lines of code."""
    texts = source.comments.get(tuple(path.split(".")), ())
    return "".join(f"{line}\n" for line in comments(texts, indent))


class _Compiled(FileSystemBytecodeCache):
    """Templates compiled to bytecode, kept between builds: saves 50 ms each time.

    jinja2 compares source and versions. If the cache cannot be written, do without.
    """

    def __init__(self) -> None:
        folder = templates.cache() / "templates"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(str(folder))

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


@cache
def _environment() -> Environment:
    compiled = None
    with suppress(OSError, RuntimeError):
        compiled = _Compiled()
    return templates.environment(escape=False, compiled=compiled)


def _template(name: str) -> Any:
    return _environment().get_template(f"{name}.j2")


def _view(spec: Spec, stem: str, placed: PlacedGraph) -> Net:
    graph = placed.graph
    layers = list(placed.layers)
    softmax = graph.has_probabilities
    if softmax:
        layers.pop()
    routine = schedule(placed)
    forward = Forward(placed, routine)
    classes = Classes(placed, routine, spec.name)
    inner = [each.forward for each in classes.classes if each.call]
    forms = [layer.node.applied.form for layer in layers]
    calls = (call for f in forms for call in (f.module, f.function, f.item))
    defined = sorted(HELPERS.keys() & {c.name for c in calls if isinstance(c, Call)})
    channels, height, width = graph.input_shape
    split = [layer for layer in layers if len(layer.shares) > 1 and _weighted(layer)]
    axes = [
        (name, str(own.cut))
        for layer in split
        for name, own in layer.node.tensors.items()
        if own.cut
    ]
    functional = softmax or any(each.functional for each in (forward, *inner))
    imports = _imports(
        defined, split=bool(split), functional=functional, ordered=classes.ordered
    )
    return Net(
        stem=stem,
        name=spec.name,
        title=_title(spec.name, placed.devices),
        about=sentences(spec.summary, spec.reference),
        reference=sentences(spec.reference),
        channels=channels,
        height=height,
        width=width,
        classes=layers[-1].node.shape[0],
        cost=_cost(graph),
        devices=placed.devices,
        device_names=_names(placed.devices),
        devices_about=_devices_about(placed.devices),
        signature=_signature(placed.devices),
        modules=classes.modules,
        blocks=classes.classes,
        start=starts((layer.node for layer in layers), spec.init),
        forward=forward.lines,
        output_device=placed.layers[-1].shares[0].device,
        split=_shares(split, placed.devices) if split else [],
        split_about=_split_about(split),
        batch_norm=max(node.applied.least_images for node in graph.nodes),
        early_norm=_has_early_norm(placed),
        axes=table("AXES", axes) if axes else [],
        bare=any("" in node.applied.tensors for node in graph.nodes),
        biases=_biases(graph),
        copied=any(
            own.cut is None
            for node in graph.nodes
            for own in node.applied.tensors.values()
        ),
        softmax=softmax,
        softmax_comments=comments(graph.nodes[-1].comments, 8) if softmax else [],
        helpers=forward.helpers.union(defined, *(each.helpers for each in inner)),
        definitions=[_file(name) for name in defined],
        standard_imports=[line for line in imports if "torch" not in line],
        torch_imports=[line for line in imports if "torch" in line],
    )


def _names(devices: tuple[str, ...]) -> list[str]:
    """The constant with the devices of the placement, a tuple."""
    quoted = [f'"{name}"' for name in devices]
    line = f"DEVICES = ({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"
    return [line] if fits(line, 0) else ["DEVICES = (", *listed(quoted, 0), ")"]


def _is_fused(helpers: Collection[str]) -> bool:
    return "LocalResponseNorm" in helpers and OTHER_NORM not in helpers


def _file(helper: str) -> str:
    """The template of a helper: its name in snake_case, with a leading underscore."""
    snake = re.sub("(?<!^)([A-Z])", r"_\1", helper).lower()
    return f"_{snake}.py.j2"


def _imports(
    defined: Collection[str], *, split: bool, functional: bool, ordered: bool
) -> list[str]:
    """Lines that import what the file needs, besides torch itself, sorted."""
    parts = [
        {"collections.abc": {"Callable", "Sequence"}},
        {"torch": {"Tensor", "nn"}},
        {"typing": {"Self"}},
        *(HELPERS[name] for name in defined),
        FUSED if _is_fused(defined) else {},
    ]
    if split:
        parts.append({"collections.abc": {"Mapping"}, "typing": {"Any"}})
    if ordered:
        parts.append({"collections": {"OrderedDict"}})
    if functional:
        parts.append({FUNCTIONAL: {"F"}})
    needs: dict[str, set[str]] = {}
    for part in parts:
        for module, names in part.items():
            needs.setdefault(module, set()).update(names)
    first = [f"import {FUNCTIONAL} as F"] if needs.pop(FUNCTIONAL, None) else []
    return first + [
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(needs.items())
    ]


def _title(name: str, devices: tuple[str, ...]) -> str:
    title = f"{name} on {enumeration(devices)}."
    return title if fits(title, len('"""')) else f"{name} on {len(devices)} devices."


def _cost(graph: Graph) -> list[str]:
    parameters, macs = cost.parameters(graph), cost.macs(graph)
    return paragraph(
        f"{parameters:,} parameters, {macs:,} multiply-accumulates per image."
    )


def _devices_about(devices: tuple[str, ...]) -> list[str]:
    """The docstring of the argument."""
    if len(devices) == 1:
        return hanging(f"devices: one torch device, for {devices[0]}.", 8)
    text = f"devices: torch devices for {enumeration(devices)}; they may be the same."
    return hanging(text, 8)


def _signature(devices: tuple[str, ...]) -> list[str]:
    """The default devices: as many CUDA devices."""
    defaults = [f'"cuda:{index}"' for index in range(len(devices))]
    if len(defaults) == 1:
        return ['        devices: Sequence[str | torch.device] = ("cuda:0",),']
    start = "devices: Sequence[str | torch.device] = ("
    line = f"{start}{', '.join(defaults)}),"
    if fits(line, 8):
        return [f"        {line}"]
    return [f"        {start}", *listed(defaults, 8), "        ),"]


def _moved(devices: tuple[str, ...]) -> list[str]:
    """The devices after `fn`, which moves tensors."""
    return [
        line
        for device in devices
        for line in bracketed(
            f"self.{device} = fn(",
            [f"torch.empty(0, device=self.{device})"],
            ").device",
            8,
        )
    ]


def _has_early_norm(placed: PlacedGraph) -> bool:
    """Whether a group norm learns, and nothing before it."""
    return any(
        isinstance(layer.node.op, GroupNorm)
        and layer.node.op.affine
        and placed.learning.isdisjoint(share.inputs)
        for layer in placed.layers
        for share in layer.shares
    )


def _biases(graph: Graph) -> str:
    """What the names of biases end with, for `str.endswith`."""
    leaves = {leaf for node in graph.nodes for leaf in node.applied.tensors}
    found = {
        f'".{leaf.rpartition(".")[2]}"' for leaf in leaves if leaf.endswith("bias")
    }
    ends = sorted(found | {'".bias"'})
    return ends[0] if len(ends) == 1 else f"({', '.join(ends)})"


def _shares(layers: list[Placed], devices: tuple[str, ...]) -> list[str]:
    """The table of the letters of each layer's devices."""
    letter = letters(devices)
    return table(
        "SHARES",
        (
            (each.node.name, f'"{"".join(letter[s.device] for s in each.shares)}"')
            for each in layers
        ),
    )


def _split_about(layers: list[Placed]) -> list[str]:
    """What SHARES means, with its first entry as the example."""
    if not layers:
        return []
    shares = enumeration([share.name for share in layers[0].shares])
    text = "Layers that are split along the first axis of their parameters, and the"
    text = f"{text} letters of their shares: {layers[0].node.name} becomes {shares}."
    return comments([text], 0)


def _weighted(layer: Placed) -> bool:
    return bool(layer.node.applied.tensors)
