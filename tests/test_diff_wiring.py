"""What layers read: each change of it is listed, and reaches as far as it does."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import compile_text

from specgen.compiler import Program
from specgen.diff import Difference, Tier, compare
from specgen.diff.markdown import markdown
from specgen.diff.text import summary, text
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


def branches(*edits: tuple[str, str], layers: str = BRANCHES) -> Program:
    """Compile the network with some of its text replaced."""
    for old, new in edits:
        assert old in layers
        layers = layers.replace(old, new, 1)
    return compile_text(f"{HEAD}layers:\n{layers}")


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
        # Another op, with what it reads.
        (
            [("{op: relu}", "{op: multiply, from: [c4, c1]}")],
            [
                (
                    "layers.r4",
                    FUNCTION,
                    {"op": "relu"},
                    {"op": "multiply", "from": ["c4", "c1"]},
                ),
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


def test_changes_that_cancel_each_other_out_change_no_function() -> None:
    more = ("  add:", "  t4: {op: tanh, from: c4}\n  add:")
    old = branches(more, ("r4, c1", "r4, t4"))
    turned = (
        "  r4: {op: relu}\n  t4: {op: tanh,",
        "  r4: {op: tanh}\n  t4: {op: relu,",
    )
    new = branches(more, turned, ("r4, c1", "t4, r4"))
    changes = compare(old, new).changes
    assert [change.path for change in changes] == [
        *("layers.r4", "layers.t4", "layers.cat.from")
    ]
    assert {change.tier for change in changes} == {Tier.SAME}


def test_the_tier_of_each_change_is_its_own() -> None:
    """Whatever else changes the function."""
    more = "  d4: {op: dropout}\n  add:"
    edits = [("r4: {op: relu}", "r4: {op: tanh}"), ("[c2, c3]", "[c3, c2]")]
    edits += [("  add:", more), ("r4, c1", "d4, c1")]
    old, new = branches(), branches(*edits)
    back = {change.path: str(change.tier) for change in compare(new, old).changes}
    assert back["layers.cat.from"] == RECIPE
    assert listed(compare(old, new)) == [
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
    part = "  part: {op: chunk, chunks: 2, index: 0}\n"
    chain = f"""\
  c0: {CONV}}}
{part}  c1: {CONV}}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""
    later = branches((part, ""), ("  flat:", f"{part}  flat:"), layers=chain)
    found = compare(branches(layers=chain), later)
    assert listed(found) == [("layers.part.after", CHECKPOINT, "c0", "c1")]


def test_a_join_that_goes_is_blamed_for_what_is_read_then() -> None:
    """It has the shape of its first input, but another one is read now."""
    times = "  times: {op: multiply, from: [c0, c1]}\n"
    layers = f"""\
  c0: {CONV}}}
  mean: {{op: adaptive_avg_pool2d, output_size: 1}}
  c1: {CONV}}}
{times}  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""
    found = compare(branches(layers=layers), branches((times, ""), layers=layers))
    ((path, tier, _, now),) = listed(found)
    assert (path, tier, now) == ("layers.times", CHECKPOINT, None)


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
