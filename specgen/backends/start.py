"""The tables of initial values in model.py.

START has the layers whose weights are drawn from a normal distribution and whose biases
are equal; OTHER_STARTS has single tensors. What neither names starts as norms do: at 0,
with a weight and a variance of 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from specgen.backends.layout import bracketed, comments
from specgen.graph import Node, tensor_name
from specgen.ops.start import Draw
from specgen.ops.weighted import Init, draws

ONE = ("weight", "running_var")
SIZES = {
    "normal": "the standard deviation of a normal distribution",
    "trunc_normal": "the standard deviation of a normal distribution cut at -2 and 2",
    "uniform": "the bound of a uniform distribution around 0",
    "constant": "the value of all elements",
}


@dataclass(frozen=True, slots=True)
class Starts:
    """Lines of both tables, and what is in them.

    `kinds` are those of OTHER_STARTS, and `norms` says whether some tensors are in
    neither.
    """

    layers: list[str]
    others: list[str]
    others_about: list[str]
    kinds: set[str]
    norms: bool

    @property
    def random(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.layers or self.kinds - {"constant"})


def starts(nodes: Iterable[Node], default: Init) -> Starts:
    """Return how the tensors of these layers start; `default` is the spec's `init`."""
    layers: list[str] = []
    others: list[str] = []
    kinds: dict[str, None] = {}
    norms = False
    for node in nodes:
        drawn = draws(node.applied.tensors, default)
        if _is_plain(drawn):
            bias = drawn.get("bias", Draw("constant", 0))
            numbers = [_number(drawn["weight"].size), _number(bias.size)]
            layers += bracketed(f'"{node.name}": (', numbers, "),", 4)
            continue
        for leaf, draw in drawn.items():
            name = tensor_name(node.name, leaf)
            if draw == Draw("constant", name.rpartition(".")[2] in ONE):
                norms = True
                continue
            kinds[draw.kind] = None
            items = [f'"{draw.kind}"', _number(draw.size)]
            others += bracketed(f'"{name}": (', items, "),", 4)
    about = f"Tensors that start otherwise: {'; '.join(SIZES[kind] for kind in kinds)}."
    return Starts(layers, others, comments([about], 0), {*kinds}, norms)


def _is_plain(drawn: dict[str, Draw]) -> bool:
    """Whether the layer is one of START."""
    kinds = {leaf: draw.kind for leaf, draw in drawn.items()}
    return kinds.pop("weight", "") == "normal" and kinds in ({}, {"bias": "constant"})


def _number(value: float) -> str:
    """A number of the spec, exactly, as Python source."""
    whole = value == int(value) and abs(value) < 1e9
    return str(int(value)) if whole else repr(value)
