"""What layers read: each change of it is listed, and reaches as far as it does."""

from __future__ import annotations

from typing import Any

import pytest
from graphs import graphs
from helpers import compile_data, compile_text
from hypothesis import given, settings
from hypothesis import strategies as st
from nested import nested
from rewiring import edited
from strategies import Data

from specgen.backends import torch
from specgen.compiler import Program
from specgen.diagnostics import SpecError
from specgen.diff import Difference, Tier, compare
from specgen.diff.difference import Change
from specgen.diff.markdown import markdown
from specgen.diff.text import summary, text
from specgen.graph import INPUT
from specgen.page.page import page

HEAD = """\
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
"""
CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1"
BRANCHES = f"""\
  c1: {CONV}}}
  c2: {CONV}, from: c1}}
  c3: {CONV}, from: c1}}
  c4: {CONV}, from: c1}}
  r4: {{op: relu}}
  add: {{op: add, from: [c2, c3]}}
  cat: {{op: concat, from: [add, r4, c1]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
  prob: {{op: softmax}}
"""
BLOCKS = f"""\
blocks:
  cell:
    layers:
      c1: {CONV}}}
      r1: {{op: relu}}
      c2: {CONV}}}
      skip: {{from: input, layers: [{CONV}}}, {{op: relu}}]}}
      add: {{op: multiply, from: [c2, skip]}}
      cat: {{op: concat, from: [add, input]}}
"""
USES = f"""\
  c0: {CONV}}}
  one: {{block: cell}}
  two: {{block: cell, repeat: 2}}
  red: {CONV}}}
  twin: {CONV}, from: two}}
  sum: {{op: add, from: [red, twin]}}
  three: {{block: cell}}
  all: {{op: concat, from: [three, sum, one]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""


def branches(*edits: tuple[str, str], layers: str = BRANCHES) -> Program:
    """Compile the network with some of its text replaced."""
    for old, new in edits:
        assert old in layers
        layers = layers.replace(old, new, 1)
    return compile_text(f"{HEAD}layers:\n{layers}")


def blocks(*edits: tuple[str, str]) -> Program:
    return branches(*edits, layers=f"{USES}{BLOCKS}")


def listed(found: Difference) -> list[tuple[str, str, Any, Any]]:
    return [(c.path, str(c.tier), c.before, c.after) for c in found.changes]


# --- in a network


FUNCTION, SAME, RECIPE, CHECKPOINT = "function", "same", "recipe", "checkpoint"
CAT = ["add", "r4", "c1"]


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # Other operands, or the same in another order.
        (
            [("[add, r4, c1]", "[r4, add, c1]")],
            [("layers.cat.from", FUNCTION, CAT, ["r4", "add", "c1"])],
        ),
        (
            [("[add, r4, c1]", "[add, r4, c3]")],
            [("layers.cat.from", FUNCTION, CAT, ["add", "r4", "c3"])],
        ),
        (
            [("[add, r4, c1]", "[add, r4, c1, c2]")],
            [
                ("layers.cat.from", CHECKPOINT, CAT, [*CAT, "c2"]),
            ],
        ),
        (
            [("[c2, c3]", "[c3, c2]")],
            [("layers.add.from", SAME, ["c2", "c3"], ["c3", "c2"])],
        ),
        (
            [("[c2, c3]", "[c3, c3]"), ("r4, c1", "r4, c2")],
            [
                ("layers.add.from", FUNCTION, ["c2", "c3"], ["c3", "c3"]),
                ("layers.cat.from", FUNCTION, CAT, ["add", "r4", "c2"]),
            ],
        ),
        (
            [("1, from: c1}\n  c4", "1, from: c2}\n  c4")],
            [("layers.c3.from", FUNCTION, "c1", "c2")],
        ),
        # What reads the layer before says nothing.
        ([("{op: relu}", "{op: relu, from: c4}")], []),
        # Independent layers in another order.
        (
            [("c2: ", "cx: "), ("c3: ", "c2: "), ("cx: ", "c3: ")],
            [("layers.c2.after", SAME, "c1", "c3")],
        ),
        # In a chain, the layer after another one reads that one.
        (
            [("  flat:", "  r5: {op: relu}\n  flat:")],
            [("layers.r5", FUNCTION, None, {"op": "relu"})],
        ),
        (
            [("  r4: {op: relu}\n", ""), ("r4, c1", "c4, c1")],
            [
                ("layers.r4", FUNCTION, {"op": "relu"}, None),
                ("layers.cat.from", FUNCTION, CAT, ["add", "c4", "c1"]),
            ],
        ),
        # A new layer, and a layer that is renamed, where they are read by name.
        (
            [
                ("  add:", "  r2: {op: relu, from: c2}\n  add:"),
                ("[c2, c3]", "[r2, c3]"),
            ],
            [
                ("layers.r2", FUNCTION, None, {"op": "relu", "from": "c2"}),
                ("layers.add.from", FUNCTION, ["c2", "c3"], ["r2", "c3"]),
            ],
        ),
        (
            [("  r4:", "  act:"), ("add, r4, c1", "add, act, c1")],
            [("layers.r4", SAME, "r4", "act")],
        ),
        (
            [("  r4:", "  act:"), ("add, r4, c1", "act, add, c1")],
            [
                ("layers.r4", SAME, "r4", "act"),
                ("layers.cat.from", FUNCTION, CAT, ["act", "add", "c1"]),
            ],
        ),
        # Layers that act only in training.
        (
            [
                ("  add:", "  d4: {op: dropout}\n  add:"),
                ("add, r4, c1", "add, d4, c1"),
            ],
            [
                ("layers.d4", RECIPE, None, {"op": "dropout"}),
                ("layers.cat.from", RECIPE, CAT, ["add", "d4", "c1"]),
            ],
        ),
        # A group, read by its name.
        (
            [
                (
                    f"  c2: {CONV}, from: c1}}",
                    f"  c2: {{from: c1, layers: [{CONV}}}]}}",
                ),
            ],
            [("layers.c2", CHECKPOINT, "c2", "c2.0")],
        ),
    ],
)
def test_what_is_listed(
    edits: list[tuple[str, str]], expected: list[tuple[str, str, Any, Any]]
) -> None:
    found = compare(branches(), branches(*edits))
    assert listed(found) == expected


def test_what_moves_within_a_chain_is_one_change() -> None:
    chain = BRANCHES.replace(
        "  flat:", "  r5: {op: relu}\n  d5: {op: dropout}\n  flat:"
    )
    relu, drop = "  r5: {op: relu}\n", "  d5: {op: dropout}\n"
    old = branches(layers=chain)
    found = compare(old, branches((relu, ""), ("  fc:", f"{relu}  fc:"), layers=chain))
    assert listed(found) == [("layers.r5.after", FUNCTION, "cat", "flat")]
    found = compare(old, branches((drop, ""), ("  fc:", f"{drop}  fc:"), layers=chain))
    assert listed(found) == [("layers.d5.after", RECIPE, "r5", "flat")]


def test_a_dropout_that_moves_away_from_what_it_was_of() -> None:
    """It is read by name, too, and gives something else, even outside training."""
    layers = BRANCHES.replace("  add:", "  d4: {op: dropout}\n  s4: {op: tanh}\n  add:")
    layers = layers.replace("add, r4, c1", "s4, d4, c1, add")
    drop, tanh = "  d4: {op: dropout}\n", "  s4: {op: tanh}\n"
    new = branches((f"{drop}{tanh}", f"{tanh}{drop}"), layers=layers)
    found = compare(branches(layers=layers), new)
    assert found.tier == Tier.FUNCTION
    assert max(change.tier for change in found.changes) == Tier.FUNCTION


def test_changes_that_cancel_out_change_no_function() -> None:
    """Another branch is read under the name of the first."""
    twin = ("  add:", "  r5: {op: relu, from: c4}\n  add:")
    both = branches(twin, ("r4, c1", "r4, r5"))
    other = branches(twin, ("r4, c1", "r5, r4"))
    assert listed(compare(both, other)) == [
        ("layers.cat.from", SAME, ["add", "r4", "r5"], ["add", "r5", "r4"])
    ]


def test_the_tier_of_each_change_is_its_own() -> None:
    """Whatever else changes the function."""
    more = "  d4: {op: dropout}\n  add:"
    edits = [("r4: {op: relu}", "r4: {op: tanh}"), ("[c2, c3]", "[c3, c2]")]
    edits += [("  add:", more), ("r4, c1", "d4, c1")]
    assert listed(compare(branches(), branches(*edits))) == [
        ("layers.r4", FUNCTION, {"op": "relu"}, {"op": "tanh"}),
        ("layers.d4", RECIPE, None, {"op": "dropout"}),
        ("layers.add.from", SAME, ["c2", "c3"], ["c3", "c2"]),
        ("layers.cat.from", RECIPE, CAT, ["add", "d4", "c1"]),
    ]


def test_a_layer_is_blamed_for_what_it_reshapes_where_it_moves_to() -> None:
    layers = f"""\
  c0: {CONV}}}
  norm: {{op: batch_norm2d, from: input}}
  c1: {CONV}}}
  cat: {{op: concat, from: [c1, c0]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""
    first, second, *_ = layers.splitlines(keepends=True)
    new = branches((first + second, second + first), layers=layers)
    found = compare(branches(layers=layers), new)
    assert listed(found) == [("layers.c0.after", CHECKPOINT, "input", "norm")]
    assert [tensor.name for tensor in found.checkpoint.reshaped] == ["c1.weight"]


def test_every_form_says_it() -> None:
    swap = ("[add, r4, c1]", "[r4, add, c1]")
    old, new = branches(), branches(swap)
    found, path = compare(old, new), "layers.cat.from"
    line = f"  {path}   [add, r4, c1] -> [r4, add, c1]"
    assert f"\n\n{line}{' ' * (69 - len(line))}net.yaml:11\n" in text(found)
    assert summary(found) == f"{path} [add, r4, c1] -> [r4, add, c1]"
    row = f"| `{path}` | `[add, r4, c1]` | `[r4, add, c1]` | function |"
    assert row in markdown(found)
    change = {
        "path": path,
        "tier": FUNCTION,
        "before": CAT,
        "after": ["r4", "add", "c1"],
    }
    assert found.as_json()["changes"] == [change]
    report = page("old", old, ("new", new))
    for cell in (path, "[add, r4, c1]", "[r4, add, c1]"):
        assert f"<code>{cell}</code></td>" in report


# --- in groups and blocks


@pytest.mark.parametrize(
    ("edits", "lines"),
    [
        (
            [("[add, input]", "[input, add]")],
            ["one to three (4 uses of cell): cat.from   [add, input] -> [input, add]"],
        ),
        (
            [("[c2, skip]", "[skip, c2]")],
            ["one to three (4 uses of cell): add.from   [c2, skip] -> [skip, c2]"],
        ),
        (
            [("{from: input, layers", "{from: c1, layers")],
            [  # two reads 8 channels
                "two.0 and two.1 (2 uses of cell): skip.from   input -> c1",
                "one and three (2 uses of cell): skip.from   input -> c1",
            ],
        ),
        # c1, the group and cat read it; they are written once, in the block.
        (
            [("three: {block: cell}", "three: {block: cell, from: red}")],
            ["layers.three.from   sum -> red"],
        ),
        ([("[red, twin]", "[twin, red]")], ["layers.sum.from   [red, twin] -> [twin,"]),
        (
            [
                (
                    "two: {block: cell, repeat: 2}",
                    "two: {block: cell, repeat: 2, from: c0}",
                )
            ],
            ["layers.two.from   one -> c0"],
        ),
        (
            [("      r1: {op: relu}\n", "")],
            ["one to three (4 uses of cell): r1 "],
        ),
        ([("two: {block: cell, r", "two: {block: cell, from: one, r")], []),
        (
            [("block: cell}\n  two", "block: cell2}\n  two")],
            ["layers.one.block   cell -> cell2"],
        ),
    ],
)
def test_what_is_listed_of_blocks(
    edits: list[tuple[str, str]], lines: list[str]
) -> None:
    two = BLOCKS.partition("\n")[2].replace("  cell:", "  cell2:", 1)
    if "cell2" in str(edits):
        edits = [*edits, ("blocks:\n", f"blocks:\n{two}")]
    found = compare(blocks(), blocks(*edits))
    shown = text(found).splitlines()
    starts = [
        line[2:] for line in shown if line.startswith(("  one", "  two", "  layers"))
    ]
    assert len(starts) == len(lines)
    for line, start in zip(starts, lines, strict=True):
        assert line.startswith(start)


ONE = (
    f"  g: {{from: c1, layers: {{a: {CONV}}}, b: {{op: relu}}}}}}\n  r: {{op: tanh}}\n"
)
TWO = f"""\
  h: {{from: c1, layers: [{CONV}}}, {{op: relu}}, {{op: elu}}]}}
  s: {{op: sigmoid}}
"""
GROUPS = f"""\
  c1: {CONV}}}
{ONE}{TWO}\
  i: {{layers: {{a: {{op: relu, from: c1}}, b: {CONV}, from: a}}}}}}
  cat: {{op: concat, from: [r, s, i]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # The layers in a group, and those that read it, come with it.
        ([(ONE + TWO, TWO + ONE)], [("layers.g.after", SAME, "c1", "s")]),
        ([("h: {from: c1", "h: {from: r")], [("layers.h.from", FUNCTION, "c1", "r")]),
        ([("h: {from: c1", "h: {from: g")], [("layers.h.from", FUNCTION, "c1", "g")]),
        # Both have the group's value in turn.
        (
            [
                (
                    f"a: {{op: relu, from: c1}}, b: {CONV}, from: a}}",
                    f"b: {CONV}, from: c1}}, a: {{op: relu, from: b}}",
                )
            ],
            [
                ("layers.i.b.from", FUNCTION, "a", "c1"),
                ("layers.i.a.after", SAME, "input", "b"),
                ("layers.i.a.from", FUNCTION, "c1", "b"),
                ("layers.cat.from", FUNCTION, ["r", "s", "i.b"], ["r", "s", "i.a"]),
            ],
        ),
    ],
)
def test_what_is_listed_of_groups(
    edits: list[tuple[str, str]], expected: list[tuple[str, str, Any, Any]]
) -> None:
    found = compare(branches(layers=GROUPS), branches(*edits, layers=GROUPS))
    assert listed(found) == expected


# --- any network


def python(program: Program) -> str:
    parts = program.spec, program.source, program.stem, program.placed
    return torch.render(*parts)["model.py"]


def function(program: Program, names: Data, numbers: dict[str, int]) -> int:
    """Return a number for what a network computes, found without specgen.diff."""
    graph = program.graph
    found = {INPUT: numbers.setdefault(repr(graph.input_shape), len(numbers))}
    for node in graph.nodes:
        reads = [found[name] for name in node.inputs]
        fields = node.op.model_dump(exclude={"init"})
        if fields["op"] == "dropout":
            found[node.name] = reads[0]
            continue
        if fields["op"] in ("add", "multiply"):
            reads.sort()
        tensors = [names.get(tensor, tensor) for tensor in node.tensors]
        term = repr((fields, reads, tensors))
        found[node.name] = numbers.setdefault(term, len(numbers))
    return found[graph.nodes[-1].name]


def compiled(data: Data) -> Program | None:
    try:
        return compile_data(data)
    except SpecError:
        return None


@settings(max_examples=60)
@given(graphs() | nested(), st.data())
def test_any_rewiring_of_any_network(data: Data, draw: st.DataObject) -> None:
    old, new = compile_data(data), None
    for _ in range(draw.draw(st.integers(1, 2))):
        data = draw.draw(edited(data))
        new = compiled(data)
        if new is None:
            return
    assert new
    found, back = compare(old, new), compare(new, old)
    assert found.tier == back.tier
    assert max((c.tier for c in found.changes), default=Tier.SAME) == found.tier
    if not found.changes:
        assert python(old) == python(new)
    for shown in (text(found), markdown(found), summary(found)):
        assert shown.endswith("no differences") == (not found.changes)
    tensors = found.checkpoint
    if tensors.missing or tensors.unexpected or tensors.reshaped:
        assert found.tier >= Tier.CHECKPOINT
        return
    numbers: dict[str, int] = {}
    same = function(old, {**tensors.renamed}, numbers) == function(new, {}, numbers)
    reaches = {c.tier for c in found.changes if not is_rename(c)}
    assert (max(reaches, default=Tier.SAME) < Tier.FUNCTION) == same


def is_rename(change: Change) -> bool:
    return f"layers.{change.before}" == change.path
