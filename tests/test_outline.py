"""What `show` prints of blocks and groups: an outline that fits a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from branching import residual
from helpers import ROOT, compile_text
from test_report import table

from specgen.backends import report
from specgen.backends.outline import outline
from specgen.compiler import compile_file
from specgen.tables import aligned


def test_an_outline_has_each_scope_once() -> None:
    names = ["a", "b.0.x", "b.0.c.0", "b.0.c.1.y", "b.0.z", "b.1.x", "d.e", "f"]
    lines = [*outline(names, {})]
    assert [line.text for line in lines] == [
        "a",
        "b.0",
        "  x",
        "  c",
        "    0",
        "    1",
        "      y",
        "  z",
        "b.1",
        "  x",
        "d",
        "  e",
        "f",
    ]
    assert [line.name for line in lines if line.name] == names


def test_equal_blocks_are_shown_once() -> None:
    text = report.table(residual((3, 1)))
    _, layers, costs, *_ = text.split("\n\n")
    for table_ in (layers, costs):
        lines = [line.split("  ")[0] for line in table_.splitlines()]
        assert lines.count("layer1.0..layer1.2: each") == 1
        assert not any(line.startswith(("layer1.1", "layer1.2")) for line in lines)
    assert "total 1,100 11,000" in " ".join(costs.split())  # of all


def test_a_run_of_blocks_of_groups_has_a_line() -> None:
    names = ["a.b.0.c.x", "a.b.0.d.y", "a.e"]
    assert [line.text for line in outline(names, {"a.b.0": "a.b.3"})] == [
        "a.b.0..a.b.3: each",
        "  c",
        "    x",
        "  d",
        "    y",
        "a",
        "  e",
    ]


@pytest.mark.parametrize("path", sorted(ROOT.glob("specs/zoo/*.yaml")), ids=str)
def test_every_network_of_the_zoo_fits_a_terminal(path: Path) -> None:
    lines = table(compile_file(path)).splitlines()
    assert max(map(len, lines)) <= 80


def test_blocks_are_an_outline_with_lines_of_what_is_read() -> None:
    _, layers, costs, *_ = report.table(residual((1, 1))).split("\n\n")
    head, *lines = layers.splitlines()
    assert "groups" not in head  # nothing is divided
    assert "padding" in head
    words = [re.sub(r"(?<=\S) +", " ", line) for line in lines]
    start = words.index("layer2.0")
    assert words[start - 3 : start + 12] == [
        "  add add 64 x 56 x 56",
        "    from bn2, maxpool",
        "  relu2 relu 64 x 56 x 56",
        "layer2.0",
        "  conv1 conv2d 3 1 1 128 x 28 x 28",
        "  bn1 batch_norm2d 128 x 28 x 28",
        "  relu1 relu 128 x 28 x 28",
        "  conv2 conv2d 3 1 1 128 x 28 x 28",
        "  bn2 batch_norm2d 128 x 28 x 28",
        "  downsample",
        "    0 conv2d 3 1 1 128 x 28 x 28",
        "      from layer1.0.relu2",
        "    1 batch_norm2d 128 x 28 x 28",
        "  add add 128 x 28 x 28",
        "    from bn2, downsample.1",
    ]
    assert "  downsample" in costs.splitlines()


def test_a_column_of_what_is_read_where_it_has_room() -> None:
    text = "layers: {flat: {op: flatten}, sum: {op: add, from: [flat, flat]}"
    text += ", fc: {op: linear, out_features: 2}}"
    head = "specgen: 1\nname: Net\ninput: {channels: 3, height: 2, width: 2}\n"
    _, layers, *_ = table(compile_text(head + text)).split("\n\n")
    ends = [line.split("  ")[-1] for line in layers.splitlines()]
    assert ends[0] == "from"
    assert ends[4] == "flat, flat"


def test_what_a_layer_reads_takes_as_many_lines_as_it_needs() -> None:
    names = [f"a_branch_called_{index}" for index in range(9)]
    branches = "".join(f"{name}: {{op: relu, from: input}}, " for name in names)
    text = f"layers: {{{branches}sum: {{op: add, from: [{', '.join(names)}]}}"
    text += ", flat: {op: flatten}, fc: {op: linear, out_features: 2}}"
    head = "specgen: 1\nname: Net\ninput: {channels: 3, height: 2, width: 2}\n"
    lines = table(compile_text(head + text)).splitlines()
    assert max(map(len, lines)) <= 80
    start = [" ".join(line.split()) for line in lines].index("sum add 3 x 2 x 2 1")
    read = " ".join(line.strip() for line in lines[start + 1 : start + 4])
    assert read == f"from {', '.join(names)}"


@pytest.mark.parametrize(("most", "gap"), [(None, 2), (12, 2), (11, 1), (9, 2)])
def test_columns_are_closer_where_that_makes_a_table_fit(
    most: int | None, gap: int
) -> None:
    rows = [("abc", "d", "ef"), None, ("g", "hij", "kl"), ["a longer line"]]
    lines = aligned(rows, "<<>", most).splitlines()
    assert lines[2] == (" " * gap).join(("g  ", "hij", "kl"))
    assert lines[1] == "-" * (8 + 2 * gap)


def test_receptive_fields_of_equal_blocks_are_from_the_first_to_the_last() -> None:
    block = "{layers: {c: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}}}"
    text = f"""\
specgen: 1
name: Net
input: {{channels: 4, height: 8, width: 8}}
blocks: {{b: {block}}}
layers:
  x: {{block: b, repeat: 3}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 3}}
"""
    assert "5..7" in table(compile_text(text))
