"""What counts as the same function: of one layer, and of a whole network."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import compile_text
from strategies import OPS

from specgen.diff import Tier, compare
from specgen.diff.function import computed, meaning, values
from specgen.ops.applied import Applied
from specgen.ops.base import Shape

CONV = {"op": "conv2d", "out_channels": 4, "kernel_size": 3}
FAR = CONV | {"stride": 4}
POOL = {"op": "max_pool2d", "kernel_size": 3, "stride": 2}
NORM = {"op": "local_response_norm", "size": 3}
MAPS = (4, 9, 9)


@pytest.mark.parametrize(
    ("one", "other", "xs", "same"),
    [
        # A dilation counts in a direction in which a window has a second value.
        ({**CONV, "kernel_size": 1}, {"dilation": 2}, [MAPS], True),
        ({**CONV, "kernel_size": [1, 3]}, {"dilation": [2, 1]}, [MAPS], True),
        ({**CONV, "kernel_size": [1, 1]}, {"dilation": [1, 3]}, [MAPS], True),
        (
            {**CONV, "padding": 1},
            {"dilation": 2, "padding": 2},
            [MAPS],
            False,
        ),
        ({**CONV, "padding": 2, "dilation": 2}, {"dilation": [2, 1]}, [MAPS], False),
        # A stride, where there is a second window.
        ({**POOL, "kernel_size": 9}, {"stride": 4}, [MAPS], True),
        ({**POOL, "kernel_size": [9, 3]}, {"stride": [4, 2]}, [MAPS], True),
        ({**POOL, "kernel_size": [9, 3]}, {"stride": [2, 3]}, [MAPS], False),
        # Padding, where a window reaches it.
        ({**FAR, "padding": {"bottom": 1}}, {"padding": 0}, [MAPS], True),
        ({**FAR, "padding": {"bottom": 1}}, {"padding": {"top": 1}}, [MAPS], False),
        # Other fields, and other ops.
        (NORM, {"alpha": 0.5}, [MAPS], False),
        (NORM, {"k": 2}, [MAPS], False),
        ({"op": "relu"}, {"op": "tanh"}, [MAPS], False),
        ({"op": "add"}, {"op": "multiply"}, [MAPS, MAPS], False),
        ({"op": "add"}, {"op": "concat"}, [MAPS, MAPS], False),
        (
            {"op": "chunk", "chunks": 2, "index": 0},
            {"op": "chunk", "chunks": 2, "index": 1},
            [MAPS],
            False,
        ),
    ],
)
def test_what_a_layer_computes(
    one: dict[str, Any], other: dict[str, Any], xs: list[Shape], same: bool
) -> None:
    fields = (one, other if "op" in other else one | other)
    ops = [Applied(OPS.validate_python(each), tuple(xs)) for each in fields]
    assert (meaning(ops[0]) == meaning(ops[1])) == same


HEAD = "specgen: 1\nname: Net\ninput: {channels: 4, height: 9, width: 9}\nlayers:\n"
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 3}\n"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # Layers of one op that differ in a field are not each other's twins.
        (
            "a: {op: max_pool2d, kernel_size: 3, stride: 1, padding: 1}",
            "a: {op: max_pool2d, kernel_size: 5, stride: 1, padding: 2}",
            False,
        ),
        ("a: {op: relu}", "b: {op: relu}", True),
        ("a: {op: dropout}", "a: {op: identity}", False),  # a layer more
        ("a: {op: add, from: [x, y, z]}", "b: {op: add, from: [z, x, y]}", True),
        (
            "a: {op: multiply, from: [x, y, z]}",
            "b: {op: multiply, from: [y, z, x]}",
            True,
        ),
        ("a: {op: add, from: [x, y, y, z]}", "b: {op: add, from: [x, y, z, z]}", False),
        ("a: {op: add, from: [x, y, z]}", "b: {op: multiply, from: [x, y, z]}", False),
        ("a: {op: concat, from: [x, y, z]}", "a: {op: concat, from: [y, x, z]}", False),
    ],
)
def test_what_a_network_computes(one: str, other: str, same: bool) -> None:
    before = "".join(f"  {n}: {{op: {op}, from: input}}\n" for n, op in TERMS.items())
    numbers: dict[Any, int] = {}
    found = []
    for layer in (one, other):
        rest = "" if "from" in layer else "  t: {op: add, from: [x, y, z]}\n"
        graph = compile_text(f"{HEAD}{before}{rest}  {layer}\n{END}").graph
        found.append(computed(graph, values(graph, numbers)))
    assert (found[0] == found[1]) == same


TERMS = {"x": "relu", "y": "tanh", "z": "sigmoid"}


def test_a_layer_that_reads_a_twin_of_another_layer() -> None:
    """It makes no difference which of two equal values is read."""
    pool = "{op: max_pool2d, kernel_size: %d, stride: 1, padding: %d, from: input}"
    layers = f"  a: {pool % (3, 1)}\n  b: {pool % (3, 1)}\n  c: {pool % (5, 2)}\n"

    def reading(names: str) -> str:
        every = "  all: {op: concat, from: [r, a, b, c]}\n"
        return f"{HEAD}{layers}  r: {{op: relu, from: {names}}}\n{every}{END}"

    a, b, c = (compile_text(reading(name)) for name in "abc")
    assert [compare(a, b).tier, compare(a, c).tier] == [Tier.SAME, Tier.FUNCTION]
    (change,) = compare(a, b).changes
    assert (change.path, change.tier) == ("layers.r.from", Tier.SAME)
