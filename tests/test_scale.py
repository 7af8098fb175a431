"""Work grows with a network as its layers do, in calls; what is equal is shared.

`benchmarks/scale.py` has the seconds.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from helpers import compile_text

from specgen.compiler import render
from specgen.passes.schedule import schedule

CONV = "{op: conv2d, out_channels: 4, kernel_size: 1}"
NET = """
specgen: 1
name: Net
input: {{channels: 4, height: 4, width: 4}}
{before}
layers:
{layers}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 2}}
{after}
"""
# Each has two layers or more in each of its parts.
LAYERS = {
    "a chain": f"  conv#: {CONV}\n  relu#: {{op: relu}}",
    "groups": f"  g#: {{layers: {{a: {CONV}, b: {{op: relu}}, c: {{op: relu, from: a}},"
    " d: {op: add, from: [b, c]}}}",
    "uses of a block": "  use#: {block: two}",
    "blocks of their own": "  use#: {block: own#}",
    "branches": f"  conv#: {CONV}\n  relu#: {{op: relu}}\n"
    "  add#: {op: add, from: [conv#, relu#]}",
}
BLOCK = f"{{layers: {{conv: {CONV}, relu: {{op: relu}}, last: {{op: relu}}}}}}"
SPLIT = """\
placement:
  devices: {a: {memory: 1GiB}, b: {}}
  layers: {FIRST..flat: split, fc: a}
"""


def net(kind: str, count: int, *, split: bool = False) -> str:
    """Return a spec with so many parts of a kind."""
    layers = [LAYERS[kind].replace("#", str(index)) for index in range(count)]
    blocks = "".join(f"  own{index}: {BLOCK}\n" for index in range(count))
    before = f"blocks:\n{blocks}" if "own" in kind else ""
    before = f"blocks:\n  two: {BLOCK}" if kind == "uses of a block" else before
    first = layers[0].partition(":")[0].strip()
    after = SPLIT.replace("FIRST", first) if split else ""
    return NET.format(before=before, layers="\n".join(layers), after=after)


def calls(text: str) -> int:
    """Return how many calls it takes to compile and render, generators included."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        render(compile_text(text))
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", LAYERS)
def test_twice_the_layers_are_twice_the_work(kind: str) -> None:
    render(compile_text(net(kind, 2)))  # imports, and what is kept
    assert calls(net(kind, 100)) < 2.1 * calls(net(kind, 50))


def test_twice_the_layers_on_two_devices_are_twice_the_work() -> None:
    render(compile_text(net("a chain", 2, split=True)))
    text = net("a chain", 100, split=True)
    assert calls(text) < 2.1 * calls(net("a chain", 50, split=True))


def test_equal_layers_share_what_their_op_says() -> None:
    graph = compile_text(net("uses of a block", 50)).graph
    assert len({id(node.applied) for node in graph.nodes}) == 4  # conv, relu, flat, fc


def test_an_equal_layer_that_is_written_differently_is_its_own() -> None:
    """A warning about one that is at its default points at another key."""
    layers = "  a: {op: relu}\n  b: {op: dropout}\n  c: {op: dropout, p: 0.5}"
    graph = compile_text(NET.format(before="", layers=layers, after="")).graph
    (_, b, c, *_) = graph.nodes
    assert b.op == c.op
    assert "p" in c.op.model_fields_set
    assert "p" not in b.op.model_fields_set


def test_a_network_is_scheduled_once() -> None:
    placed = compile_text(net("a chain", 2)).placed
    assert schedule(placed) is schedule(placed)
