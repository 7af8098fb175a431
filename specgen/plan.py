"""What is known about a network before it runs, as typed data.

`specgen show`, `verify`, `diff` and reports read this and nothing else. Layers are
logical (conv1, not conv1a). Shapes leave out the batch: (channels, height, width), or
(features,). `Plan.as_json` returns it as data for JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from specgen.graph import INPUT, Node, Placed, PlacedGraph
from specgen.ops.base import Shape, Window
from specgen.passes import cost, memory
from specgen.passes.memory import ON_TOP
from specgen.passes.receptive_field import fields
from specgen.schema import readable, some
from specgen.spec import Spec
from specgen.spec.data import Data
from specgen.spec.training import Training
from specgen.tables import dimensions, html, ranges


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer.

    Attributes:
        name: as in the spec.
        op: as in the spec: conv2d.
        inputs: the layers that it reads, or `input`.
        input_shapes: their shapes.
        output_shape: its own.
        window: the window that slides over the maps, if there is one.
        groups: how many groups its channels are divided into, if its op can do that.
        tensors: shapes of the whole tensors that it owns, by their key in a checkpoint.
        parameters: how many numbers it learns.
        macs: multiply-accumulates in its matrix products, per image, forward.
        devices: where it runs; several share its channels or features equally.
        local: those of its devices that read something they hold themselves, rather
            than the image or only what others send.
        receptive_field: rows and columns of the image that one value of its maps can
            depend on; None if it makes none.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    window: Window | None
    groups: int | None
    tensors: Mapping[str, Shape]
    parameters: int
    macs: int
    devices: tuple[str, ...]
    local: tuple[str, ...]
    receptive_field: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Memory of one device, in bytes.

    Attributes:
        weights: of the parameters, in float32.
        buffers: of what is not learned, such as the running means of batch norms.
        gradients: as much as the weights.
        optimizer: the momentum, as much as the weights.
        activations_training: what training keeps from forward to backward.
        activations_inference: the most that is alive at once.
        training: all of these but activations_inference together.
        inference: weights, buffers and activations_inference together.
        budget: the most that the spec allows for training; None if it does not say.
        most_images: how many images at once the budget allows; None without one.
    """

    weights: int
    buffers: int
    gradients: int
    optimizer: int
    activations_training: int
    activations_inference: int
    training: int
    inference: int
    budget: int | None
    most_images: int | None

    @property
    def over(self) -> bool:
        """Whether training takes more than the budget."""
        return self.budget is not None and self.training > self.budget


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device, by its name in the spec, and its number of parameters."""

    name: str
    parameters: int
    memory: MemoryPlan


@dataclass(frozen=True, slots=True)
class Transfer:
    """What is copied from one device to another before a layer runs.

    Attributes:
        before: the layer that reads it.
        source: the device it comes from; `from` in JSON.
        target: the device it goes to; `to` in JSON.
        values: what is copied, whole or in part: outputs of layers, or `input`.
        bytes_per_image: forward, in the precision of the recipe. Images are on the
            first device at first, in float32.
        bytes_per_step: forward and backward over `Plan.images` images.
    """

    before: str
    source: str
    target: str
    values: tuple[str, ...]
    bytes_per_image: int
    bytes_per_step: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the compiler promises about a network.

    Attributes:
        name: the class.
        summary: of the spec, one line.
        input_shape: of one image.
        output_shape: of the last layer.
        parameters: how many numbers it learns.
        macs: multiply-accumulates per image, forward.
        images: in memory at once: the recipe's, unless another number was asked for.
        layers: in the order in which they run.
        devices: in the order of the spec.
        traffic: by layer, then by the order of the devices.
        data: how images become input.
        training: how it learns.
    """

    name: str
    summary: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int
    images: int
    layers: tuple[LayerPlan, ...]
    devices: tuple[DevicePlan, ...]
    traffic: tuple[Transfer, ...]
    data: Data
    training: Training

    @property
    def most_images(self) -> int | None:
        """How many images at once all budgets allow; None if there are none."""
        found = (device.memory.most_images for device in self.devices)
        return min((most for most in found if most is not None), default=None)

    def as_json(self) -> dict[str, Any]:
        """Return data for JSON; a transfer goes `from` and `to` a device."""
        content = asdict(self)
        names = {"source": "from", "target": "to"}  # `from` is a Python keyword
        content["traffic"] = [
            {names.get(key, key): value for key, value in edge.items()}
            for edge in content["traffic"]
        ]
        content["data"] = self.data.model_dump(mode="json")
        content["training"] = self.training.model_dump(mode="json")
        return content

    def _repr_html_(self) -> str:
        """Return the plan as a table for a notebook."""
        return _html(self)


def make_plan(spec: Spec, placed: PlacedGraph, images: int | None = None) -> Plan:
    """Plan a placed network, with memory and traffic for this many images at once."""
    graph, training, wholes = placed.graph, spec.training, placed.wholes
    images = images or training.images
    seen = fields(graph)
    return Plan(
        name=spec.name,
        summary=spec.summary,
        input_shape=graph.input_shape,
        output_shape=graph.nodes[-1].shape,
        parameters=cost.parameters(graph),
        macs=cost.macs(graph),
        images=images,
        layers=tuple(
            plan_layer(
                layer.node,
                seen.get(layer.node.name),
                (share.device for share in layer.shares),
                _local(layer, wholes),
            )
            for layer in placed.layers
        ),
        devices=tuple(_devices(spec, placed, images)),
        traffic=tuple(_traffic(placed, images, half=training.half)),
        data=spec.data,
        training=training,
    )


def plan_layer(
    node: Node,
    field: tuple[int, int] | None,
    devices: Iterable[str] = (),
    local: Iterable[str] = (),
) -> LayerPlan:
    """Plan one layer, with its receptive field and its devices."""
    tensors = node.tensors
    return LayerPlan(
        name=node.name,
        op=node.op.op,
        inputs=node.inputs,
        input_shapes=node.input_shapes,
        output_shape=node.shape,
        window=node.applied.window,
        groups=getattr(node.op, "groups", None),
        tensors={key: own.shape for key, own in tensors.items()},
        parameters=node.applied.parameters,
        macs=node.applied.macs,
        devices=tuple(devices),
        local=tuple(local),
        receptive_field=field,
    )


def _local(layer: Placed, wholes: Mapping[str, str]) -> Iterator[str]:
    """Yield the devices that hold a part of what they read, other than the image."""
    fetched = {
        move.name
        for move in layer.moves
        if all(piece.device != move.device for piece in move.pieces)
    }
    for share in layer.shares:
        if any(n not in fetched and wholes[n] != INPUT for n in share.inputs):
            yield share.device


def _devices(spec: Spec, placed: PlacedGraph, images: int) -> Iterator[DevicePlan]:
    parameters = cost.device_parameters(placed)
    for name, held in memory.plan(placed, half=spec.training.half).items():
        budget = spec.placement.devices[name].memory
        yield DevicePlan(
            name,
            parameters[name],
            MemoryPlan(
                weights=held.weights,
                buffers=held.buffers.total(),
                gradients=held.weights,
                optimizer=held.weights,
                activations_training=held.activations(images),
                activations_inference=held.inference(images),
                training=held.training(images),
                inference=held.weights + held.buffers.total() + held.inference(images),
                budget=budget,
                most_images=held.fitting(budget) if budget else None,
            ),
        )


def _traffic(placed: PlacedGraph, images: int, *, half: bool) -> Iterator[Transfer]:
    order = {node.name: index for index, node in enumerate(placed.graph.nodes)}
    rank = {device: index for index, device in enumerate(placed.devices)}
    step = cost.step_traffic(placed, half=half)
    edges = sorted(
        cost.traffic(placed, half=half).items(),
        key=lambda edge: (order[edge[0][0]], rank[edge[0][1]], rank[edge[0][2]]),
    )
    values = cost.crossing(placed)
    for edge, count in edges:
        yield Transfer(*edge, values[edge], count, images * step[edge])


def images(plan: Plan) -> str:
    """Return how many images are in memory at once, in words."""
    return some(plan.images, "image")


def fitting(plan: Plan) -> str:
    """Return a sentence on how many images fit the budgets; none without budgets."""
    if plan.most_images is None:
        return ""
    if not plan.most_images:
        return "Not even one image fits."
    fit = "fits" if plan.most_images == 1 else "fit"
    return f"At most {some(plan.most_images, 'image')} {fit}; {ON_TOP}."


def precision(plan: Plan) -> str:
    """Return in which type values are copied between devices, in words."""
    if plan.training.half:
        return "in bfloat16 where autocast computes in it"
    return "in float32"


def field_cell(layer: LayerPlan) -> str:
    """Its receptive field for a table, if it has one."""
    return _pair(layer.receptive_field) if layer.receptive_field else ""


def window_cells(layer: LayerPlan) -> tuple[str, str, str, str]:
    """Kernel, stride, padding and groups for a table, without defaults."""
    window = layer.window
    groups = str(layer.groups) if layer.groups not in (None, 1) else ""
    if window is None:
        return "", "", "", groups
    top, bottom, left, right = window.padding
    if top == bottom and left == right:
        padding = _pair((top, left)) if top or left else ""
    else:
        sides = zip("tblr", window.padding, strict=True)
        padding = " ".join(f"{side}{size}" for side, size in sides if size)
    return _pair(window.kernel_size), _pair(window.stride), padding, groups


def _pair(sizes: tuple[int, int]) -> str:
    """One number where both are equal, as PyTorch reads it."""
    height, width = sizes
    return str(height) if height == width else f"{height}x{width}"


def _html(plan: Plan) -> str:
    windows = ("kernel", "stride", "padding", "groups")
    heads = ("layer", "op", *windows, "output", "parameters", "MACs", "devices")
    rows: list[Sequence[str]] = [heads]
    rows.append((INPUT, *[""] * 5, dimensions(plan.input_shape), "", "", ""))
    devices = [device.name for device in plan.devices]
    for layer in plan.layers:
        costs = [f"{n:,}" if n else "" for n in (layer.parameters, layer.macs)]
        shape = dimensions(layer.output_shape)
        on = " ".join(ranges(layer.devices, devices))
        rows.append((layer.name, layer.op, *window_cells(layer), shape, *costs, on))
    totals = (f"{plan.parameters:,}", f"{plan.macs:,}")
    rows.append(("total", *[""] * 6, *totals, ""))
    title = ": ".join(filter(None, (plan.name, plan.summary)))
    memories = [("device", "parameters", "training", "inference", "budget")]
    for device in plan.devices:
        held = device.memory
        budget = readable(held.budget) if held.budget else ""
        sizes = (readable(held.training), readable(held.inference), budget)
        memories.append((device.name, f"{device.parameters:,}", *sizes))
    about = f"Memory for {images(plan)} at once"
    return f"{html(title, rows, '<<>>>>>>><')}\n{html(about, memories, '<>>>>')}"
