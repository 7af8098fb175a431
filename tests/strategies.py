"""Hypothesis strategies: small networks that compile, and placements of them."""

from __future__ import annotations

import re
from math import lcm
from typing import Any

from helpers import compile_data
from hypothesis import strategies as st
from op_examples import ATTENTION, EXAMPLES
from pydantic import TypeAdapter

from specgen.diagnostics import SpecError
from specgen.ops import AnyOp
from specgen.ops.base import Op, Refusal, Shape, volume

Data = dict[str, Any]
Place = str | dict[str, list[str]]

OPS: TypeAdapter[Op] = TypeAdapter(AnyOp)
WIDE = 12  # channels and features are multiples: 2, 3 and 4 devices can share them
LARGEST = 2**14  # values of a layer's output


def output(layer: Data, x: Shape) -> Shape | None:
    """Shape of a layer's output, or None if it cannot read x."""
    op = OPS.validate_python(layer)
    try:
        shape = op.output(x)
    except Refusal:
        return None
    wrong = any(op.check_fields()) or any(op.check(x))
    return None if wrong else shape


def pairs(low: int, high: int) -> st.SearchStrategy[int | list[int]]:
    """Draw one number for both directions, or two."""
    number = st.integers(low, high)
    return number | st.lists(number, min_size=2, max_size=2)


def sides() -> st.SearchStrategy[Any]:
    names = st.sampled_from(["top", "bottom", "left", "right"])
    return pairs(0, 2) | st.dictionaries(names, st.integers(0, 2))


def inits() -> st.SearchStrategy[Data]:
    other: list[Any] = [
        {"kaiming_normal": {"mode": "fan_out"}},
        {"trunc_normal": {"std": 0.05}},
        "xavier_uniform",
        0.125,
    ]
    weight = st.sampled_from(["kaiming_normal", {"normal": {"std": 0.05}}, *other])
    bias = st.sampled_from([0.0, 1.0, -0.25, "uniform", {"normal": {"std": 0.05}}])
    return st.fixed_dictionaries({}, optional={"weight": weight, "bias": bias})


def convolutions(x: Shape) -> st.SearchStrategy[Data]:
    def grouped(groups: int) -> st.SearchStrategy[Data]:
        step = lcm(WIDE, groups)
        fields = {
            "op": st.just("conv2d"),
            "out_channels": st.integers(1, 2).map(lambda n: n * step),
            "kernel_size": pairs(1, 5),
        }
        more = {
            "groups": st.just(groups),
            "stride": pairs(1, 3),
            "padding": sides(),
            "dilation": pairs(1, 2),
            "bias": st.booleans(),
            "init": inits(),
        }
        return st.fixed_dictionaries(fields, optional=more)

    divisors = [n for n in (1, 2, 3, 4, 6) if x[0] % n == 0]
    return st.sampled_from(divisors).flatmap(grouped)


def pools() -> st.SearchStrategy[Data]:
    fields = {
        "op": st.sampled_from(["max_pool2d", "avg_pool2d"]),
        "kernel_size": pairs(1, 4),
    }
    more = {"stride": pairs(1, 3), "padding": pairs(0, 2), "ceil_mode": st.booleans()}
    pool = st.fixed_dictionaries(fields, optional=more)
    uncounted = pool.map(
        lambda layer: layer | {"op": "avg_pool2d", "count_include_pad": False}
    )
    return pool | uncounted


def norms(x: Shape) -> st.SearchStrategy[Data]:
    size = st.sampled_from([1, 3, 5])
    more = {
        "alpha": st.sampled_from([1e-4, 0.5]),
        "beta": st.sampled_from([0.5, 0.75, 1.0]),
        "k": st.sampled_from([1.0, 2.0]),
    }
    within = {"op": st.just("spatial_response_norm"), "size": size}
    across = {"op": st.just("local_response_norm"), "size": size}
    groups = st.sampled_from([n for n in (1, 2, 4) if x[0] % n == 0])
    return st.one_of(
        st.fixed_dictionaries(within, optional=more),
        st.fixed_dictionaries(across, optional=more | {"groups": groups}),
    )


def linears() -> st.SearchStrategy[Data]:
    fields = {
        "op": st.just("linear"),
        "out_features": st.integers(1, 3).map(lambda n: n * WIDE),
    }
    without = st.fixed_dictionaries(fields | {"bias": st.just(False)})
    return st.fixed_dictionaries(fields, optional={"init": inits()}) | without


def others(x: Shape) -> st.SearchStrategy[Data]:
    """Draw an example of any op that reads x and gives maps of maps."""
    found = [layer for layer, _ in EXAMPLES if len(output(layer, x) or ()) == len(x)]
    return st.sampled_from([layer for layer in found if layer["op"] != "softmax"])


def transformers() -> st.SearchStrategy[Data]:
    """Draw an example of an op that only transformers have."""
    return st.sampled_from([layer for layer, _ in ATTENTION if layer["op"] != "select"])


def fitting(x: Shape, *layers: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    """Draw a layer that can read x and gives something, but not too much."""
    return st.one_of(*layers).filter(
        lambda layer: 0 < volume(output(layer, x) or (0,)) < LARGEST
    )


@st.composite
def networks(draw: st.DrawFn) -> Data:
    """Draw the data of a spec, without a placement."""
    size = (3, draw(st.integers(5, 12)), draw(st.integers(5, 12)))
    x: Shape = size
    layers: dict[str, Data] = {}

    def add(layer: Data) -> Shape:
        layers[f"{layer['op'].replace('_', '')[:7]}{len(layers)}"] = layer
        shape = output(layer, x)
        assert shape
        return shape

    for _ in range(draw(st.integers(0, 3))):
        x = add(draw(fitting(x, convolutions(x))))
        x = add(draw(fitting(x, norms(x), pools(), others(x), others(x))))
    if draw(st.booleans()):
        x = add({"op": "flatten"})
    else:
        x = add({"op": "reshape", "shape": [x[0], -1]})
        x = add({"op": "permute", "dims": [0, 2, 1]})
        for _ in range(draw(st.integers(1, 3))):
            x = add(draw(fitting(x, others(x), transformers())))
        token = {"op": "select", "index": draw(st.integers(0, x[0] - 1))}
        x = add(draw(st.sampled_from([token, {"op": "reshape", "shape": [-1]}])))
    for _ in range(draw(st.integers(0, 2))):
        x = add(draw(linears()))
        if draw(st.booleans()):
            x = add(draw(others(x)))
    x = add({"op": "linear", "out_features": draw(st.integers(2, 5))})
    if draw(st.booleans()):
        add({"op": "softmax"})
    sizes = dict(zip(("channels", "height", "width"), size, strict=True))
    data = {"specgen": 1, "name": "Net", "input": sizes, "layers": layers}
    return data | ({"init": {"bias": 0.5}} if draw(st.booleans()) else {})


@st.composite
def placements(draw: st.DrawFn, data: Data, most: int = 4) -> Data:
    """Draw a placement of a network on two devices or more, up to this many."""
    count = draw(st.sampled_from([n for n in (2, 4, 3) if n <= most]))
    devices = [f"gpu{index}" for index in range(count)]
    several = st.lists(st.sampled_from(devices), min_size=2, unique=True)
    split = several.map(lambda names: {"split": names}) if len(devices) > 1 else None
    where = (
        st.sampled_from(devices) if split is None else st.sampled_from(devices) | split
    )
    place = draw(where)
    layers = {}
    for node in compile_data(data).graph.nodes:
        if draw(st.integers(0, 2)) == 2:  # the fewer changes, the simpler
            place = draw(where)
        layers[node.name] = place
    return _repaired(data, layers, devices[0])


def _repaired(data: Data, layers: dict[str, Place], device: str) -> Data:
    """Put layers that cannot be split as drawn on one device."""
    used: set[str] = set()
    for place in layers.values():
        used |= {place} if isinstance(place, str) else {*place["split"]}
    placement = {"devices": {name: {} for name in sorted(used)}, "layers": layers}
    try:
        compile_data(data | {"placement": placement})
    except SpecError as error:
        # A layer in a block has its place there; messages begin with its whole name.
        words = [re.split("[: ]", each.message)[0] for each in error.diagnostics]
        blamed = {name for name in words if name in layers}
        if all(layers[name] == device for name in blamed):
            raise
        kept = {k: device if k in blamed else place for k, place in layers.items()}
        return _repaired(data, kept, device)
    return placement


@st.composite
def placed_networks(draw: st.DrawFn, most: int = 4) -> Data:
    """Draw a spec with a placement."""
    data = draw(networks())
    return data | {"placement": draw(placements(data, most))}
