"""Plans of networks with branches and repeated blocks, written down by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from helpers import towers
from hypothesis import strategies as st

from specgen.graph import INPUT
from specgen.ops.base import Shape, Window
from specgen.plan import LayerPlan, Plan, Transfer, make_plan

GPU0 = ("gpu0",)


def layer(
    name: str,
    op: str,
    inputs: Sequence[str],
    shape: Shape,
    devices: tuple[str, ...] = GPU0,
    *,
    local: tuple[str, ...] | None = None,
) -> LayerPlan:
    """Return a layer; convolutions and linear layers multiply, others do not."""
    multiplies = op in {"conv2d", "linear"}
    if local is None:
        local = () if INPUT in inputs else devices
    return LayerPlan(
        name=name,
        op=op,
        inputs=tuple(inputs),
        input_shapes=tuple(shape for _ in inputs),
        output_shape=shape,
        window=Window((3, 3), (1, 1), (1, 1, 1, 1)) if op == "conv2d" else None,
        groups=None,
        tensors={f"{name}.weight": shape} if multiplies else {},
        parameters=100 * multiplies,
        macs=1000 * multiplies,
        devices=devices,
        local=local,
        receptive_field=None,
    )


def plan_of(
    layers: Sequence[LayerPlan], traffic: Sequence[tuple[str, str, str]] = ()
) -> Plan:
    """Return the plan of these layers, on the devices that they name."""
    placed = towers("one")
    plan = make_plan(placed.spec, placed.placed)
    names = sorted({name for each in layers for name in each.devices})
    return replace(
        plan,
        layers=tuple(layers),
        devices=tuple(replace(plan.devices[0], name=name) for name in names),
        traffic=tuple(Transfer(*edge, ("x",), 4096, 8192) for edge in traffic),
    )


def block(
    path: str, before: str, shape: Shape, *, shortcut: bool = False
) -> Iterator[LayerPlan]:
    """Yield a residual block, which is read by its last layer's name, `PATH.relu2`."""
    skip = before
    yield layer(f"{path}.conv1", "conv2d", [before], shape)
    yield layer(f"{path}.bn1", "batch_norm2d", [f"{path}.conv1"], shape)
    yield layer(f"{path}.relu1", "relu", [f"{path}.bn1"], shape)
    yield layer(f"{path}.conv2", "conv2d", [f"{path}.relu1"], shape)
    yield layer(f"{path}.bn2", "batch_norm2d", [f"{path}.conv2"], shape)
    if shortcut:
        skip = f"{path}.downsample.1"
        yield layer(f"{path}.downsample.0", "conv2d", [before], shape)
        yield layer(skip, "batch_norm2d", [f"{path}.downsample.0"], shape)
    yield layer(f"{path}.add", "add", [f"{path}.bn2", skip], shape)
    yield layer(f"{path}.relu2", "relu", [f"{path}.add"], shape)


def residual(counts: Sequence[int] = (2, 3, 3, 2)) -> Plan:
    """Return a ResNet of basic blocks; after the first of a stage, they repeat."""
    layers = [layer("conv1", "conv2d", [INPUT], (64, 112, 112))]
    layers.append(layer("maxpool", "max_pool2d", ["conv1"], (64, 56, 56)))
    for stage, count in enumerate(counts, 1):
        shape = (32 << stage, 112 >> stage, 112 >> stage)
        for index in range(count):
            path, before = f"layer{stage}.{index}", layers[-1].name
            layers += block(path, before, shape, shortcut=stage > 1 and index == 0)
    layers.append(layer("avgpool", "global_avg_pool", [layers[-1].name], (512,)))
    layers.append(layer("fc", "linear", ["avgpool"], (1000,)))
    return plan_of(layers)


def inception() -> Plan:
    """Return modules of four branches that a concat joins, one of them on gpu1."""
    layers = [layer("stem", "conv2d", [INPUT], (192, 28, 28))]
    traffic = []
    for name in ("mixed3a", "mixed3b"):
        before, ends = layers[-1].name, []
        for branch in range(4):
            devices = ("gpu1",) if branch == 3 else GPU0
            path = f"{name}.branch{branch}"
            local = () if branch == 3 else None
            layers.append(
                layer(
                    f"{path}.0", "conv2d", [before], (64, 28, 28), devices, local=local
                )
            )
            layers.append(
                layer(f"{path}.1", "conv2d", [f"{path}.0"], (96, 28, 28), devices)
            )
            ends.append(f"{path}.1")
        layers.append(layer(f"{name}.cat", "concat", ends, (384, 28, 28)))
        traffic.append((f"{name}.branch3.0", "gpu0", "gpu1"))
        traffic.append((f"{name}.cat", "gpu1", "gpu0"))
    layers.append(layer("fc", "linear", [layers[-1].name], (1000,)))
    return plan_of(layers, traffic)


def dense(count: int = 12) -> Plan:
    """Return a dense block: every layer reads the image and all before it."""
    layers: list[LayerPlan] = []
    for index in range(count):
        names = [INPUT, *(each.name for each in layers)]
        layers.append(layer(f"conv{index}", "conv2d", names, (32, 56, 56), local=GPU0))
    return plan_of(layers)


def copied() -> Plan:
    """Return layers of gpu1 that read the same of gpu0, which is copied once."""
    on = ("gpu1",)
    layers = [
        layer("stem", "conv2d", [INPUT], (64, 28, 28)),
        layer("left", "conv2d", ["stem"], (64, 28, 28), on, local=()),
        layer("right", "conv2d", ["stem"], (64, 28, 28), on),
        layer("add", "add", ["left", "right"], (64, 28, 28), on),
    ]
    return plan_of(layers, [("left", "gpu0", "gpu1")])


@st.composite
def branching_plans(draw: st.DrawFn) -> Plan:
    """Draw a network whose layers read any of those before, on up to four devices."""
    names = [f"gpu{index}" for index in range(draw(st.integers(1, 4)))]
    some = st.lists(st.sampled_from(names), min_size=1, unique=True)
    layers: list[LayerPlan] = []
    traffic = []
    for index in range(draw(st.integers(2, 20))):
        devices = tuple(sorted(draw(some)))
        known = [each.name for each in layers]
        inputs = [INPUT] if not known else draw(_inputs(known))
        read = [each for each in layers if each.name in inputs]
        held = {name for each in read for name in each.devices}
        name = f"layer{index}"
        for target in devices:
            if read and target not in held:
                traffic.append((name, read[-1].devices[0], target))
        op = "add" if inputs[1:] else draw(st.sampled_from(["conv2d", "relu"]))
        local = tuple(each for each in devices if each in held)
        shape = (48 * draw(st.integers(1, 20)), 28, 28)
        layers.append(layer(name, op, inputs, shape, devices, local=local))
    return plan_of(layers, traffic)


def _inputs(known: Sequence[str]) -> st.SearchStrategy[list[str]]:
    near, any_of = st.just([known[-1]]), st.sampled_from([INPUT, *known])
    return near | st.lists(any_of, min_size=1, max_size=4, unique=True)
