"""How tensors are initialized: what reset_parameters does with each, and its tables.

Weights are drawn by one rule, the spec's. The weights and variances of norms are 1, and
everything else is 0. Other initial values are in a table for their distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from specgen.backends.layout import INDENT, comments, fits
from specgen.backends.lookup import table
from specgen.graph import Node, tensor_name
from specgen.ops.base import Shape, volume
from specgen.ops.start import GAINS, BiasDistribution, Draw, Fan, Rule, Start, name
from specgen.ops.weighted import DEFAULT_START, Init, draws

ONE = (".weight", ".running_var")  # of norms
FILL = {
    "constant": "whole.fill_({size})",
    "normal": "whole.normal_(0, {size}, generator=generator)",
    "trunc_normal": "nn.init.trunc_normal_(whole, std={size}, generator=generator)",
    "uniform": "whole.uniform_(-{size}, {size}, generator=generator)",
}
TABLES = {
    "constant": "Tensors that are initialized to a constant.",
    "normal": "Tensors with their own standard deviation.",
    "trunc_normal": "Standard deviations of normal distributions, cut at -2 and 2.",
    "uniform": "Bounds of uniform distributions around 0.",
}
DEPTH = 4 * len(INDENT)  # in a method, a loop and a branch
FANS = {"fan_in": "whole[0].numel()", "fan_out": "whole[:, 0].numel()"}


@dataclass(frozen=True, slots=True)
class Starts:
    """Lines of the tables, and of what is done with each tensor.

    `random` says whether anything is drawn.
    """

    tables: list[str]
    body: list[str]
    random: bool


def starts(nodes: Iterable[Node], default: Init) -> Starts:
    """Return how these layers are initialized; `default` is the spec's `init`."""
    rule: Rule = (DEFAULT_START | default.given())["weight"]
    rows: dict[str, list[tuple[str, str]]] = {}
    drawn = norms = False
    known: dict[int, list[tuple[str, Draw, Draw | None]]] = {}  # of equal layers
    for node in nodes:
        tensors = node.applied.tensors
        if id(tensors) not in known:
            known[id(tensors)] = [
                (leaf, draw, _by_rule(rule, tensors[leaf].shape))
                for leaf, draw in draws(tensors, default).items()
            ]
        for leaf, draw, usual in known[id(tensors)]:
            key = tensor_name(node.name, leaf)
            one = key.endswith(ONE)
            if draw == (usual or Draw("constant", one)):
                drawn |= usual is not None
                norms |= usual is None and one
            else:
                rows.setdefault(draw.kind, []).append((key, _number(draw.size)))
    tables: list[str] = []
    cases = []
    for kind in filter(rows.__contains__, FILL):
        sizes = kind.upper()
        tables += ["", *comments([TABLES[kind]], 0), *table(sizes, rows[kind])]
        cases.append((f"name in {sizes}", [*_look_up(kind, f"{sizes}[name]")]))
    if drawn:
        cases.append(("tensor.dim() > 1", [*_code(rule)]))
    body = [*_before(norms=norms), *_branches(cases)]
    is_random = drawn and not isinstance(rule, int | float)
    return Starts(tables[1:], body, is_random or bool(rows.keys() - {"constant"}))


def _before(*, norms: bool) -> Iterator[str]:
    """Yield what gives each tensor its usual values."""
    if norms:
        ends = ", ".join(f'"{end}"' for end in ONE)
        yield f"one = name.endswith(({ends}))  # the weights of norms"
        yield 'whole = torch.full_like(tensor, one, device="cpu")'
    else:
        yield 'whole = torch.zeros_like(tensor, device="cpu")'


def _branches(cases: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    word = "if"
    for condition, lines in cases:
        yield f"{word} {condition}:"
        yield from (f"{INDENT}{line}" for line in lines)
        word = "elif"


def _look_up(kind: str, size: str) -> Iterator[str]:
    """Yield what draws a tensor by its table."""
    if not fits(_fill(kind, size), DEPTH):
        yield f"size = {size}"
        size = "size"
    yield _fill(kind, size)


def _fill(kind: str, size: str) -> str:
    return FILL[kind].format(size=size)


def _by_rule(rule: Rule, shape: Shape) -> Draw | None:
    """How `_code` draws a tensor of this shape; it leaves out vectors."""
    if len(shape) < 2:
        return None
    fans = volume(shape[1:]), shape[0] * volume(shape[2:])
    found = Start(rule, fans).draw(rule)
    if fan := _fan(rule):
        size = {"fan_in": fans[0], "fan_out": fans[1], "fans": sum(fans)}[fan]
        return Draw(found.kind, round((_numerator(rule) / size) ** 0.5, 6))
    return found


def _code(rule: Rule) -> Iterator[str]:
    """Yield what draws a weight."""
    found = Start(rule).draw(rule)
    if not (fan := _fan(rule)):
        yield _fill(found.kind, _number(found.size))
        return
    size = "bound" if found.kind == "uniform" else "std"
    yield f"{fan} = {FANS.get(fan) or ' + '.join(FANS.values())}"
    yield f"{size} = round(({_numerator(rule)} / {fan}) ** 0.5, 6)  # {name(rule)}"
    yield _fill(found.kind, size)


def _fan(rule: Rule) -> str:
    """Which of its fans a rule divides by; empty if it gives a size."""
    if isinstance(rule, BiasDistribution):
        given = getattr(rule, name(rule))
        return given.mode if isinstance(given, Fan) else ""
    if isinstance(rule, str):
        return "fans" if rule.startswith("xavier") else "fan_in"
    return ""


def _numerator(rule: Rule) -> int:
    """A uniform distribution has a third of its bound's square as the variance."""
    gain = GAINS[name(rule)]
    return round(3 * gain if name(rule).endswith("uniform") else gain)


def _number(value: float) -> str:
    """A number of the spec, exactly, as Python source."""
    whole = value == int(value) and abs(value) < 1e9
    return str(int(value)) if whole else repr(value)
