"""The statements of `forward`, in order, with the variables they read and assign.

The torch backend prints them, and the memory plan replays them: a variable keeps its
value until a statement gives it another. Statements follow the structure, never the
width of a line: a layer with parameters begins one, and so does a move. Layers without
parameters are wrapped around what they follow, up to MOST_CALLS in all.

A tensor on one device is called `x`; shares on several devices are called by their
device's letter: a, b, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specgen.graph import INPUT, Placed, PlacedGraph
from specgen.passes.shares import letters

MOST_CALLS = 4  # a convolution, its activation, normalization and pooling
X = "x"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Gives each share of a layer its input; `held` is the variable of each value."""

    layer: Placed
    variables: tuple[str, ...]
    held: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pad:
    """Adds zeros to the input of each share of a layer, in its variable."""

    layer: Placed
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Applies layers, each to the output of the last: one statement per variable."""

    layers: tuple[Placed, ...]
    variables: tuple[str, ...]


Step = Fetch | Pad | Apply


def schedule(placed: PlacedGraph) -> list[Step]:
    """Return what `forward` does; its result is then in `x`.

    A final softmax is left out, but its input is still fetched.
    """
    letter = letters(placed.devices)
    steps: list[Step] = []
    held = {INPUT: X}
    growing: list[Placed] = []
    for layer in placed.layers:
        variables: tuple[str, ...] = (X,)
        if len(layer.shares) > 1:
            variables = tuple(letter[share.device] for share in layer.shares)
        fetch = _fetch(layer, variables, held)
        begins = fetch or layer.node.parameters() or len(growing) == MOST_CALLS
        if growing and begins:
            steps.append(_apply(growing, held))
            growing = []
        if fetch:
            steps.append(fetch)
        if layer.node.op.after_logits:
            continue
        if layer.shares[0].op.torch(layer.shares[0].input_shape).pad:
            steps.append(Pad(layer, variables))
        growing.append(layer)
        held |= {s.name: to for s, to in zip(layer.shares, variables, strict=True)}
    if growing:
        steps.append(_apply(growing, held))
    return steps


def _fetch(
    layer: Placed, variables: tuple[str, ...], held: Mapping[str, str]
) -> Fetch | None:
    """Return what brings the input of each share into its variable."""
    inputs = [held.get(share.input) for share in layer.shares]  # None if it moves
    if inputs == [*variables]:
        return None
    read = {piece.value for move in layer.moves for piece in move.pieces}
    read |= {share.input for share in layer.shares} & held.keys()
    return Fetch(layer, variables, {value: held[value] for value in read})


def _apply(layers: list[Placed], held: Mapping[str, str]) -> Apply:
    return Apply(tuple(layers), tuple(held[s.name] for s in layers[0].shares))
