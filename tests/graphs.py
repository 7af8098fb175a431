"""Hypothesis strategies: networks with branches and joins, and placements of these."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from hypothesis import strategies as st
from strategies import (
    WIDE,
    Data,
    convolutions,
    fitting,
    linears,
    norms,
    others,
    output,
    placements,
    pools,
)

from specgen.ops.base import Shape

MOST_JOINED = 4
RELU: st.SearchStrategy[Data] = st.just({"op": "relu"})


class Drawing:
    """Layers that are added one by one; what nothing reads yet is joined at the end."""

    def __init__(self, draw: st.DrawFn, image: Shape) -> None:
        self.draw = draw
        self.layers: dict[str, Data] = {}
        self.shapes: dict[str, Shape] = {"input": image}
        self.unread: dict[str, None] = {}

    def add(self, layer: Data, sources: list[str], shape: Shape) -> str:
        """Add a layer; `from` is left out where it would say nothing."""
        name = f"{layer['op'].replace('_', '')[:7]}{len(self.layers)}"
        if sources != [[*self.shapes][-1]]:
            layer = layer | {"from": sources if len(sources) > 1 else sources[0]}
        self.layers[name], self.shapes[name] = layer, shape
        self.unread = {each: None for each in self.unread if each not in sources}
        self.unread[name] = None
        return name

    def apply(self, layer: Data, source: str) -> str:
        """Add a layer that reads one value."""
        shape = output(layer, self.shapes[source])
        assert shape
        return self.add(layer, [source], shape)

    def value(self) -> str:
        """Draw a value: the last one, or another."""
        names = [*reversed(self.shapes)]
        return self.draw(st.one_of(st.just(names[0]), st.sampled_from(names)))

    def unary(self) -> None:
        """Add what reads one value, mostly of a kind that keeps its size."""
        source = self.value()
        x = self.shapes[source]
        layer = self.draw(
            st.one_of(
                keeping(x),
                keeping(x),
                fitting(x, norms(x), pools(), others(x)),
                fitting(x, convolutions(x)),
                chunks(x),
            )
        )
        self.apply(layer, source)

    def factor(self) -> None:
        """Multiply maps by a factor for each, as squeeze-and-excitation does."""
        source = self.value()
        x = self.shapes[source]
        pool = {"op": "avg_pool2d", "kernel_size": [*x[1:]]}
        one = {"op": "conv2d", "kernel_size": 1, "out_channels": x[0]}
        factor = self.apply(one, self.apply(pool, source))
        both = self.draw(st.permutations([source, factor]))
        self.add({"op": "multiply"}, both, x)

    def join(self) -> None:
        """Join values that fit, perhaps one of them twice."""
        kind = self.draw(st.sampled_from(["add", "concat", "multiply"]))
        names = [*reversed(self.shapes)]
        first = self.value()
        x = self.shapes[first]
        near = [
            each
            for each in names
            if (self.shapes[each][1:] if kind == "concat" else self.shapes[each])
            == (x[1:] if kind == "concat" else x)
        ]
        others = st.lists(st.sampled_from(near), min_size=1, max_size=MOST_JOINED - 1)
        sources = [first, *self.draw(others)]
        if kind == "concat":
            x = (sum(self.shapes[each][0] for each in sources), *x[1:])
        self.add({"op": kind}, sources, x)

    def end(self) -> None:
        """Join all that nothing reads yet, and give scores."""
        unread = [*self.unread]
        for x, alike in groupby(unread, self.shapes.__getitem__):
            if len(several := [*alike]) > 1:
                self.add(
                    {"op": self.draw(st.sampled_from(["add", "multiply"]))}, several, x
                )
        flat = [self.apply({"op": "flatten"}, each) for each in self.unread]
        if len(flat) > 1:
            count = sum(self.shapes[each][0] for each in flat)
            self.add({"op": "concat"}, flat, (count,))
        if self.draw(st.booleans()):
            last = [*self.shapes][-1]
            if self.draw(st.booleans()):
                last = self.apply(self.draw(chunks(self.shapes[last])), last)
            wide = self.apply(self.draw(linears()), last)
            active = self.apply(self.draw(others(self.shapes[wide])), wide)
            if self.shapes[active] == self.shapes[wide] and self.draw(st.booleans()):
                self.add({"op": "add"}, [wide, active], self.shapes[wide])
        count = self.draw(st.integers(2, 5))
        last = self.apply({"op": "linear", "out_features": count}, [*self.shapes][-1])
        if self.draw(st.booleans()):
            self.apply({"op": "softmax"}, last)


def keeping(x: Shape) -> st.SearchStrategy[Data]:
    """Draw a convolution that keeps height and width."""

    def sized(size: int) -> st.SearchStrategy[Data]:
        fields: dict[str, st.SearchStrategy[Any]] = {
            "op": st.just("conv2d"),
            "out_channels": st.sampled_from([WIDE, x[0] // WIDE * WIDE or WIDE]),
            "kernel_size": st.just(size),
            "padding": st.just(size // 2),
        }
        return st.fixed_dictionaries(fields, optional={"bias": st.booleans()})

    return st.sampled_from([1, 3]).flatmap(sized)


def chunks(x: Shape) -> st.SearchStrategy[Data]:
    def part(count: int) -> st.SearchStrategy[Data]:
        fields = {
            "op": st.just("chunk"),
            "chunks": st.just(count),
            "index": st.integers(0, count - 1),
        }
        return st.fixed_dictionaries(fields)

    return st.sampled_from([n for n in (2, 3, 1) if x[0] % n == 0]).flatmap(part)


@st.composite
def graphs(draw: st.DrawFn) -> Data:
    """Draw the data of a spec with branches and joins, without a placement."""
    image = (3, draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    found = Drawing(draw, image)
    found.apply(draw(keeping(image)), "input")
    steps = st.sampled_from([found.unary, found.join, found.unary, found.factor])
    for step in draw(st.lists(steps, max_size=7)):
        step()
    found.end()
    sizes = dict(zip(("channels", "height", "width"), image, strict=True))
    return {"specgen": 1, "name": "Net", "input": sizes, "layers": found.layers}


@st.composite
def placed_graphs(draw: st.DrawFn) -> Data:
    """Draw a network with branches, and where it runs: on one device to four."""
    data = draw(graphs())
    if draw(st.integers(0, 7)) == 7:
        return data
    return data | {"placement": draw(placements(data))}
