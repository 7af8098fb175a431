"""Hypothesis strategies: networks of blocks, groups and repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from strategies import WIDE, Data, placements
from widths import LARGEST, PARAMS, TERMS, Block, Value, Width, strided, sums, term


@dataclass
class Drawn:
    """What all frames of a network share."""

    draw: st.DrawFn
    blocks: dict[str, Block] = field(default_factory=dict)

    def reached(self, used: Iterable[str]) -> set[str]:
        """These blocks, and those that they use."""
        return {n for u in used for n in (u, *self.reached(self.blocks[u].uses))}


class Frame:
    """Entries of a network, a block or a group, which are added one by one.

    `block` has the params that the block around has so far; None at the top. What
    `around` an optional group it reads may still need another reader.
    """

    def __init__(
        self,
        drawn: Drawn,
        value: Value,
        values: dict[str, Value],
        block: Data | None,
        depth: int = 0,
        *,
        around: Frame | None = None,
        optional: bool = False,
        listed: bool = False,
    ) -> None:
        self.drawn, self.draw, self.block = drawn, drawn.draw, block
        self.value, self.before = value, ""
        self.outer, self.own = values, dict[str, Value]()
        self.around, self.optional, self.depth = around, optional, depth
        self.entries: list[tuple[str, Data]] = []
        self.listed, self.number, self.counted = listed, 0, True
        self.unread: dict[str, None] = {}
        self.used: set[str] = around.used if around else set()  # blocks

    @property
    def layers(self) -> Data | list[Data]:
        """The entries as they are written."""
        return [e for _, e in self.entries] if self.listed else dict(self.entries)

    def add(self, entry: Data, sources: list[str], value: Value, times: int = 1) -> str:
        """Add an entry; without sources, it reads what is before it."""
        for source in sources or [self.before]:
            self._read(source)
        if sources and sources != [self.before]:
            entry = entry | {"from": sources if len(sources) > 1 else sources[0]}
        kind = str(entry.get("op", entry.get("block", "group")))
        name = f"{kind.strip('$').replace('_', '')[:5]}{len(self.entries)}"
        if self.listed:
            self.counted &= {"when", "names"}.isdisjoint(entry)
            if not self.counted or self.flip():
                entry = entry | {"name": name}
            else:
                self.number += times
                name = str(self.number - 1)
        self.entries.append((name, entry))
        self.own[name] = self.value = value
        self.before = name
        self.unread[name] = None
        return name

    def _read(self, name: str) -> None:
        frame: Frame | None = self
        while frame:
            if name in frame.own or name in frame.unread:
                frame.unread.pop(name, None)
                return
            frame = None if frame.optional else frame.around

    # --- choices

    def flip(self) -> bool:
        return self.draw(st.booleans())

    def one(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def param(self, name: str) -> str:
        """Use a param of the block."""
        assert self.block is not None
        self.block[name] = PARAMS[name]
        return f"${name}"

    def pick(self, fits: Callable[[Value], bool]) -> tuple[list[str], Value]:
        """Draw what is read: what comes before, or another value that fits.

        The first entry reads what the frame reads, so that something does.
        """
        if not self.entries:
            return [], self.value
        known = self.outer | self.own
        names = [name for name, value in known.items() if fits(value)]
        if fits(self.value):
            names.insert(0, "")
        name = self.one(*names)
        return ([name], known[name]) if name else ([], self.value)

    def width(self) -> tuple[Any, Width]:
        """Draw the width of a convolution: as it is written, and what it is."""
        count = self.one(1, 2)
        choices = [(WIDE * count, term("", count))]
        if self.block is not None:
            both = "" if count == 1 else f"{count} * "
            for name in ("in.channels", "channels"):
                choices.append((f"$({both}{name})", term(name, count)))
        text, width = self.one(*choices)
        if width[TERMS.index("channels")]:
            self.param("channels")
        return text, width

    def stride(self) -> str:
        """Draw a stride."""
        choices = ["1", "2", *(["stride"] if self.block is not None else [])]
        return self.draw(st.sampled_from(choices))

    def condition(self) -> Any:
        """Draw whether something is there."""
        if self.block is not None and self.flip():
            return self.one(self.param("more"), f"$(not {self.param('more')[1:]})")
        return self.one("$(on > 0)", "$(on > 1)")

    # --- what is added

    def steps(self) -> None:
        """Add some entries."""
        kinds = [self.unary, self.convolve, self.join, self.chunk, self.shortcut]
        if self.depth < 2:
            kinds += [self.group, self.use]
        for step in self.draw(st.lists(st.sampled_from(kinds), max_size=4)):
            step()
        if not self.entries:
            self.unary()
        self.finish()

    def unary(self) -> None:
        """Add what keeps the shape, perhaps not always."""
        ops: list[Data] = [
            {"op": "relu"},
            {"op": "batch_norm2d"},
            {"op": "max_pool2d", "kernel_size": 3, "stride": 1, "padding": 1},
            {"op": "sigmoid"},
            {"op": "layer_scale"},
            {"op": "local_response_norm", "size": 3},
            {"op": "dropout"},
        ]
        if self.block is not None:
            ops.append({"op": "$act"})
        sources, value = self.pick(lambda _: True)
        op = self.one(*ops)
        if op["op"] == "$act":
            self.param("act")
        more = {}
        times = 1
        if self.flip():
            more["when"] = self.condition()
        elif self.flip():
            times = more["repeat"] = self.one(2, 3)
        self.add(op | more, sources, value, times)

    def convolve(self) -> None:
        """Add a convolution."""
        sources, value = self.pick(lambda _: True)
        text, width = self.width()
        stride = self.stride()
        self.add(self.convolution(text, stride), sources, strided(width, value, stride))

    def convolution(self, width: Any, stride: str) -> Data:
        size = self.one(1, 3, *(["$size"] if self.block is not None else []))
        if size == "$size":
            self.param("size")
        conv: Data = {"op": "conv2d", "out_channels": width, "kernel_size": size}
        if size != 1:
            conv["padding"] = "$(size // 2)" if size == "$size" else 1
        if stride == "stride":
            self.param("stride")
        if stride != "1":
            conv["stride"] = "$stride" if stride == "stride" else 2
        return conv | ({"bias": False} if self.flip() else {})

    def join(self) -> None:
        """Join two values that fit."""
        kind = self.one("add", "multiply", "concat")
        one, x = self.pick(lambda _: True)
        other, y = self.pick(
            lambda each: (
                each == x
                or (kind == "concat" and each.strides == x.strides and sums(each, x))
            )
        )
        # The entry before has a name, but what a group reads may have none.
        sources = [*(one or [self.before]), *(other or [self.before])]
        if not all(sources) or (kind == "concat" and not sums(x, y)):
            return
        width = x.width
        if kind == "concat":
            width = tuple(a + b for a, b in zip(x.width, y.width, strict=True))
        self.add({"op": kind}, sources, Value(width, x.strides))

    def chunk(self) -> None:
        """Add half of the channels, and mostly the other half, too."""
        sources, x = self.pick(lambda _: True)
        half = Value(tuple(part / 2 for part in x.width), x.strides)
        if any((WIDE * part).denominator > 1 for part in half.width):
            return
        source = sources or [self.before]
        self.add({"op": "chunk", "chunks": 2, "index": 0}, sources, half)
        visible = (self.outer | self.own).get(source[0]) == x
        if visible and self.flip():
            self.add({"op": "chunk", "chunks": 2, "index": 1}, source, half)

    def shortcut(self) -> None:
        """Add a residual, as in a ResNet."""
        if self.block is None or "input" not in self.outer or self.around:
            return
        width, stride = self.param("channels"), self.param("stride")
        given = Value(term("channels"), ("stride",))
        main = self.add(self.convolution(width, "stride"), ["input"], given)
        conv = {"op": "conv2d", "kernel_size": 1, "out_channels": width}
        conv |= {"stride": stride}
        if self.flip():
            conv = {"layers": [conv, {"op": "batch_norm2d"}]}
        different = "$(stride != 1 or in.channels != channels)"
        other = self.add(conv | {"when": different}, ["input"], given)
        self.add({"op": "add"}, [main, other], given)

    def group(self) -> None:
        """Add a group, perhaps several times or not always."""
        sources, value = self.pick(lambda _: True)
        seen = self.outer | self.own
        optional, listed = self.flip(), self.flip()
        inner = Frame(
            *(self.drawn, value, seen, self.block, self.depth + 1),
            around=self,
            optional=optional,
            listed=listed,
        )
        inner.steps()
        entry: Data = {"layers": inner.layers}
        times = 1
        if inner.value == value and optional:
            if self.flip():
                entry["when"] = self.condition()
            else:
                times = entry["repeat"] = self.one(2, 3)
        self.add(entry, sources, inner.value, times)

    def use(self, name: str = "") -> None:
        """Add a use of a block, perhaps several times."""
        names = [*self.drawn.blocks] if not name else [name]
        sources, x = self.pick(lambda each: each.is_round or not names)
        if not names or not x.is_round:
            return
        name = self.one(*names)
        block = self.drawn.blocks[name]
        skip = x
        if block.inputs > 1:
            other, skip = self.pick(
                lambda each: each.is_round and each.strides == x.strides
            )
            sources = [*(sources or [self.before]), *(other or [self.before])]
            if not all(sources):
                return
        needs, given, first = block.data.get("params", {}), Data(), Data()
        times = self.one(1, 2, 3) if block.inputs == 1 else 1
        channels, stride = term(""), "1"
        wider = times > 1 and self.flip()
        if "channels" in needs and wider:
            given["channels"] = f"$({WIDE} * (index + 1))"
        elif "channels" in needs:
            given["channels"], channels = self.width()
        for param, choices in (
            ("size", (1, 5)),
            ("act", ("silu", "tanh")),
            ("more", (True,)),
        ):
            if param in needs and self.flip():
                given[param] = self.one(*choices)
        stride = self.one("2", self.stride()) if "stride" in needs else "1"
        only_first = times > 1 and stride != "1" and self.one(True, True, False)
        if stride != "1":
            where = first if only_first else given
            where["stride"] = self.param("stride") if stride == "stride" else 2
        value = x
        for index in range(times):
            here = "1" if only_first and index else stride
            width = term("", index + 1) if wider else channels
            value = block.gives(value, skip, width, here)
            if sum(value.width) > LARGEST or not value.is_round:
                return
        entry: Data = {"block": name}
        entry |= {"with": given} if given else {}
        entry |= {"repeat": times} if times > 1 else {}
        entry |= {"first": first} if first else {}
        if times > 1 and self.flip():
            entry["names"] = "unit$(index + 1)of$count"
        elif times == 1 and value == x and block.inputs == 1 and self.flip():
            entry["when"] = self.condition()
        self.used.add(name)
        self.add(entry, sources, value, times)

    def finish(self) -> None:
        """Join what nothing reads to the last value."""
        for name in [each for each in self.unread if each != self.before]:
            known = self.outer | self.own
            if name not in self.unread:
                continue
            if known[name] == self.value:
                self.add({"op": "add"}, [self.before, name], self.value)
                continue
            if self.value.written is None:
                text, width = self.width()
                self.add(
                    self.convolution(text, "1"), [], Value(width, self.value.strides)
                )
            last, value = self.before, self.value
            if value.width[TERMS.index("channels")]:
                self.param("channels")
            mean = Value(known[name].width, ("all",))
            self.add({"op": "adaptive_avg_pool2d", "output_size": 1}, [name], mean)
            conv = {"op": "conv2d", "out_channels": value.written, "kernel_size": 1}
            factor = self.add(conv, [], Value(value.width, ("all",)))
            self.add({"op": "multiply"}, [last, factor], value)


def block(drawn: Drawn) -> Block:
    """Draw a block that reads one value, or two."""
    several = drawn.draw(st.booleans())
    x, skip = Value(term("in.channels")), Value(term("skip"))
    values = {"x": x, "skip": skip} if several else {"input": x}
    params: Data = {}
    listed = drawn.draw(st.booleans())
    frame = Frame(drawn, x, values, params, 1, listed=listed)
    frame.unread |= {"skip": None} if several else {}
    frame.steps()
    data: Data = {"layers": frame.layers}
    if params:
        data = {
            "params": {name: params[name] for name in PARAMS if name in params}
        } | data
    if several:
        data = {"inputs": ["x", "skip"]} | data
    return Block(data, frame.value, len(values), frame.used)


@st.composite
def nested(draw: st.DrawFn) -> Data:
    """Draw the data of a spec with blocks and groups, without a placement."""
    drawn = Drawn(draw)
    for number in range(draw(st.integers(0, 3))):
        each = block(drawn)
        if each.output.is_round:
            drawn.blocks[f"block{number}"] = each
    wide = Value(term("", 1))
    top = Frame(drawn, wide, {}, None)
    top.add(top.convolution(WIDE, "1"), [], wide)
    top.steps()
    for name in [*reversed(drawn.blocks)]:
        if name not in drawn.reached(top.used):
            top.add(top.convolution(WIDE, "1"), [], strided(term(""), top.value, "1"))
            top.use(name)
    top.finish()
    layers = dict(top.entries)
    layers["flat"] = {"op": "flatten"}
    layers["fc"] = {"op": "linear", "out_features": draw(st.integers(2, 5))}
    sizes = [draw(st.integers(1, 6)) for _ in range(2)]
    found: Data = {"specgen": 1, "name": "Net"}
    found["input"] = dict(zip(("height", "width"), sizes, strict=True), channels=3)
    if used := drawn.reached(top.used):
        found["blocks"] = {n: b.data for n, b in drawn.blocks.items() if n in used}
    found["layers"] = layers
    return found | ({"params": {"on": 1}} if "$(on" in str(found) else {})


@st.composite
def placed_nested(draw: st.DrawFn) -> Data:
    """Draw a network with blocks and groups, each layer placed by its path."""
    data = draw(nested())
    return data | {"placement": draw(placements(data))}
