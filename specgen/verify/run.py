"""Builds into a temporary folder, runs the code, and compares value by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from torch import Tensor

from specgen.compiler import Program, render
from specgen.graph import state_order
from specgen.passes import cost
from specgen.passes.placement import on_one_device
from specgen.passes.routine import Apply, walk
from specgen.passes.schedule import schedule
from specgen.plan import Plan, make_plan
from specgen.verify import measure, runtime
from specgen.verify.check import Check, compare, in_order, within
from specgen.verify.saved import saved
from specgen.verify.traffic import travel

T = TypeVar("T")
Tensors = Mapping[str, Tensor]

SINGLE = 1e-4  # bound of differences in float32, between two libraries
DOUBLE = 1e-10  # in float64, between two placements
# Of the largest gradient: the gradient of a bias before a batch norm is 0, and what is
# computed of it is rounding.
ROUNDING = 1e-3


def run(program: Program, files: Mapping[str, bytes]) -> Iterator[Check]:
    """Yield every check; those against one device only where there are several."""
    one = _on_one_device(program)
    with TemporaryDirectory(prefix="specgen-") as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        (folder / "reference.py").write_bytes(render(one)["model.py"])
        yield from _checks(program, one, folder)


def _checks(program: Program, one: Program, folder: Path) -> Iterator[Check]:
    """Slow or failing steps run once, when a check first needs them."""
    plan = make_plan(program.spec, program.placed, measure.IMAGES)
    model, graph = folder / "model.py", folder / "model.onnx"
    several = len(program.placed.devices) > 1

    net = _once(lambda: measure.on_cpu(model, program))
    reference = _once(lambda: measure.on_cpu(folder / "reference.py", one))
    tensors = {k: v for layer in plan.layers for k, v in layer.tensors.items()}
    planned_state = {name: list(tensors[name]) for name in state_order(tensors)}
    yield compare("parameters", plan.parameters, lambda: measure.parameters(net()))
    yield compare(
        "state_dict", planned_state, lambda: measure.state_shapes(net()), in_order
    )
    if several:
        yield _close(
            "initial weights against one device",
            0.0,
            lambda: net().state_dict(),
            lambda: reference().state_dict(),
        )

    weights = _once(lambda: measure.draw_weights(reference(), one))
    loaded = _once(lambda: measure.with_weights(net(), weights()))
    seen = _once(lambda: measure.observe(loaded(), program))
    shapes = {layer.name: list(layer.output_shape) for layer in plan.layers}
    flops = {layer.name: 2 * layer.macs for layer in plan.layers if layer.macs}
    in_torch = {name: shapes[name] for name in _modules(program)}
    yield compare("shapes in PyTorch", in_torch, lambda: seen().shapes)
    yield compare("MACs", plan.macs, lambda: sum(seen().flops.values()) // 2)
    yield compare("FLOPs by layer", flops, lambda: seen().flops)

    yield compare(
        "shapes in ONNX", shapes, lambda: runtime.shapes(graph, program, weights())
    )
    outputs = _close(
        "PyTorch against ONNX",
        SINGLE,
        lambda: seen().outputs,
        lambda: runtime.outputs(graph, program, weights()),
    )
    if not outputs.ok:  # where do they start to differ?
        inside = _close(
            outputs.name,
            SINGLE,
            lambda: seen().layers,
            lambda: runtime.layers(graph, program, weights(), list(seen().layers)),
        )
        if isinstance(inside.measured, Mapping) and not inside.ok:
            both = {**inside.measured, **outputs.measured}
            outputs = replace(outputs, measured=both)
    yield outputs

    trip = _once(lambda: travel(model, program))
    held = {device.name: device.parameters for device in plan.devices}
    forward, backward = _edges(program, plan)
    yield compare("parameters by device", held, lambda: trip().parameters)
    yield compare("traffic forward", forward, lambda: trip().forward)
    yield compare("traffic backward", backward, lambda: trip().backward)

    kept = {d.name: d.memory.activations_training for d in plan.devices}
    yield compare(
        "saved activations", kept, lambda: saved(model, program, measure.IMAGES)
    )

    if several:
        double = _once(lambda: measure.step(loaded().double(), program))
        expected = _once(lambda: measure.step(reference(), one))
        yield _close(
            "logits against one device",
            DOUBLE,
            lambda: double().outputs,
            lambda: expected().outputs,
        )
        yield _close(
            "gradients against one device",
            DOUBLE,
            lambda: double().gradients,
            lambda: expected().gradients,
            ROUNDING,
        )


def _on_one_device(program: Program) -> Program:
    """The reference: the same network, all of it on the first device."""
    placed = on_one_device(program.graph, program.placed.devices[0])
    return replace(program, placed=placed)


def _modules(program: Program) -> list[str]:
    """Layers that are modules; the others are functions, which no hook sees."""
    found = []
    for routine, step in walk(schedule(program.placed)):
        for layer in step.layers if isinstance(step, Apply) else ():
            form = layer.node.applied.form
            if form.called or (routine.sequence and form.item):
                found.append(layer.node.name)
    return found


def _edges(program: Program, plan: Plan) -> tuple[dict[str, int], dict[str, int]]:
    """Planned traffic, forward by layer and backward in all."""
    half = program.spec.training.half
    forward = {
        f"{edge.before}: {edge.source} -> {edge.target}": edge.bytes_per_image
        for edge in plan.traffic
    }
    backward = {
        f"{source} -> {target}": count
        for (source, target), count in cost.gradients(program.placed, half=half).items()
    }
    return forward, backward


def _close(
    name: str,
    bound: float,
    found: Callable[[], Tensors],
    wanted: Callable[[], Tensors],
    least: float = 0,
) -> Check:
    """Compare tensors by name with their expected values.

    What is smaller than `least` times the largest of all need not be as exact.
    """

    def differences() -> dict[str, float | str]:
        measured, tensors = found(), wanted()
        small = least and least * max(map(measure.largest, tensors.values()), default=0)
        return {
            name: measure.difference(measured[name], expected, small)
            for name, expected in tensors.items()
        }

    return compare(name, bound, differences, within)


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Compute a value on first use; an error is raised at each call."""

    @cache
    def made() -> T | Exception:
        try:
            return make()
        except Exception as error:
            return error

    def get() -> T:
        found = made()
        if isinstance(found, Exception):
            raise found
        return found

    return get
