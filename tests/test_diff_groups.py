"""What groups and blocks read: it is listed where it is written, once."""

from __future__ import annotations

from typing import Any

import pytest
from test_diff_wiring import CONV, FUNCTION, SAME, branches, listed

from specgen.compiler import Program
from specgen.diff import compare
from specgen.diff.text import text

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


def blocks(*edits: tuple[str, str]) -> Program:
    return branches(*edits, layers=f"{USES}{BLOCKS}")


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
  cat: {{op: concat, from: [r, i, s]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""
TURN = (
    f"a: {{op: relu, from: c1}}, b: {CONV}, from: a}}",
    f"b: {CONV}, from: c1}}, a: {{op: relu, from: b}}",
)
TURNED = [
    ("layers.i.b.from", FUNCTION, "a", "c1"),
    ("layers.i.a.after", SAME, "input", "b"),
    ("layers.i.a.from", FUNCTION, "c1", "b"),
    ("layers.cat.from", FUNCTION, ["r", "i.b", "s"], ["r", "i.a", "s"]),
]


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # The layers in a group, and those that read it, come with it.
        ([(ONE + TWO, TWO + ONE)], [("layers.g.after", SAME, "c1", "s")]),
        ([("h: {from: c1", "h: {from: r")], [("layers.h.from", FUNCTION, "c1", "r")]),
        ([("h: {from: c1", "h: {from: g")], [("layers.h.from", FUNCTION, "c1", "g")]),
        # Another layer comes last, and its output is the group's.
        ([TURN], TURNED),
        (
            [TURN, ("s: {op: sigmoid}", "s: {layers: [{op: sigmoid}, {op: elu}]}")],
            [
                ("layers.s", SAME, "s", "s.0"),
                ("layers.s.1", FUNCTION, None, {"op": "elu"}),
                *TURNED[:-1],
                ("layers.cat.from", FUNCTION, ["r", "i.b", "s"], ["r", "i.a", "s.1"]),
            ],
        ),
    ],
)
def test_what_is_listed_of_groups(
    edits: list[tuple[str, str]], expected: list[tuple[str, str, Any, Any]]
) -> None:
    found = compare(branches(layers=GROUPS), branches(*edits, layers=GROUPS))
    assert listed(found) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["c2", "c1"], ["c1", "c2"]),
        (["c2", "c2"], ["c2", "c1"]),
        (["c1", "c2"], ["c2", "c2"]),
    ],
)
def test_a_block_that_reads_several(before: list[str], after: list[str]) -> None:
    def net(reads: list[str]) -> Program:
        layers = f"""\
  c1: {CONV}}}
  c2: {CONV}}}
  m: {{block: merge, from: [{", ".join(reads)}]}}
  all: {{op: concat, from: [m, c1]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
blocks:
  merge:
    inputs: [x, skip]
    layers:
      c: {CONV}, from: x}}
      cat: {{op: concat, from: [c, skip]}}
"""
        return branches(layers=layers)

    found = compare(net(before), net(after))
    assert listed(found) == [("layers.m.from", FUNCTION, before, after)]


def test_operands_in_another_order_have_no_new_shapes() -> None:
    assert compare(blocks(), blocks(("[add, input]", "[input, add]"))).shapes == ()
