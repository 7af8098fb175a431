"""Blocks, groups, params and repeats become layers, whose names are paths."""

from __future__ import annotations

import pytest
from helpers import compile_text, refused

from specgen.compiler import Program

HEAD = """\
specgen: 1
name: Net
input: {channels: 3, height: 16, width: 16}
data: {size: 18}
"""
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 10}\n"

RESNET = """\
params: {width: 1.0}
blocks:
  basic:
    params: {channels: , stride: 1}
    layers:
      conv1:
        op: conv2d
        out_channels: $channels
        kernel_size: 3
        stride: $stride
        padding: 1
      relu1: {op: relu}
      conv2: {op: conv2d, out_channels: $channels, kernel_size: 3, padding: 1}
      # the shortcut
      downsample:
        from: input
        when: $(stride != 1 or in.channels != channels)
        layers:
          - {op: conv2d, out_channels: $channels, kernel_size: 1, stride: $stride}
          # an item
          - {op: relu}
      add: {op: add, from: [conv2, downsample]}
layers:
  stem: {op: conv2d, out_channels: $(round(8 * width)), kernel_size: 1}
  layer1: {block: basic, with: {channels: $(round(8 * width))}, repeat: 2}
  # half the size, twice the channels
  layer2:
    block: basic
    with: {channels: $(round(16 * width))}
    repeat: 2
    first: {stride: 2}
"""


def net(text: str, *, head: str = "") -> Program:
    return compile_text(f"{HEAD}{head}layers:\n{text}{END}")


def lines(program: Program) -> list[str]:
    """Return the layers but for the last two."""
    return str(program.graph).splitlines()[1:-2]


def test_a_residual_network() -> None:
    graph = compile_text(f"{HEAD}{RESNET}{END}").graph
    assert (
        str(graph)
        == """\
input (3, 16, 16)
stem = conv2d(input) (8, 16, 16)
layer1.0.conv1 = conv2d(stem) (8, 16, 16)
layer1.0.relu1 = relu(layer1.0.conv1) (8, 16, 16)
layer1.0.conv2 = conv2d(layer1.0.relu1) (8, 16, 16)
layer1.0.add = add(layer1.0.conv2, stem) (8, 16, 16)
layer1.1.conv1 = conv2d(layer1.0.add) (8, 16, 16)
layer1.1.relu1 = relu(layer1.1.conv1) (8, 16, 16)
layer1.1.conv2 = conv2d(layer1.1.relu1) (8, 16, 16)
layer1.1.add = add(layer1.1.conv2, layer1.0.add) (8, 16, 16)
layer2.0.conv1 = conv2d(layer1.1.add) (16, 8, 8)
layer2.0.relu1 = relu(layer2.0.conv1) (16, 8, 8)
layer2.0.conv2 = conv2d(layer2.0.relu1) (16, 8, 8)
layer2.0.downsample.0 = conv2d(layer1.1.add) (16, 8, 8)
layer2.0.downsample.1 = relu(layer2.0.downsample.0) (16, 8, 8)
layer2.0.add = add(layer2.0.conv2, layer2.0.downsample.1) (16, 8, 8)
layer2.1.conv1 = conv2d(layer2.0.add) (16, 8, 8)
layer2.1.relu1 = relu(layer2.1.conv1) (16, 8, 8)
layer2.1.conv2 = conv2d(layer2.1.relu1) (16, 8, 8)
layer2.1.add = add(layer2.1.conv2, layer2.0.add) (16, 8, 8)
flat = flatten(layer2.1.add) (1024,)
fc = linear(flat) (10,)"""
    )
    assert [(s.path, s.block, s.inputs, s.output) for s in graph.scopes] == [
        ("layer1", None, ("stem",), "layer1.1.add"),
        ("layer1.0", "basic", ("stem",), "layer1.0.add"),
        ("layer1.1", "basic", ("layer1.0.add",), "layer1.1.add"),
        ("layer2", None, ("layer1.1.add",), "layer2.1.add"),
        ("layer2.0", "basic", ("layer1.1.add",), "layer2.0.add"),
        ("layer2.0.downsample", None, ("layer1.1.add",), "layer2.0.downsample.1"),
        ("layer2.1", "basic", ("layer2.0.add",), "layer2.1.add"),
    ]
    params = {scope.path: scope.params for scope in graph.scopes if scope.block}
    assert params["layer2.0"] == {"channels": 16, "stride": 2}
    assert params["layer2.1"] == {"channels": 16, "stride": 1}
    comments = {node.name: node.comments for node in graph.nodes if node.comments}
    assert comments == {"layer2.0.downsample.1": ("an item",)}
    comments = {scope.path: scope.comments for scope in graph.scopes if scope.comments}
    assert comments == {
        "layer2": ("half the size, twice the channels",),
        "layer2.0.downsample": ("the shortcut",),
    }


def test_a_width_multiplier() -> None:
    text = f"{HEAD}{RESNET}{END}".replace("width: 1.0", "width: 0.5")
    shapes = {node.name: node.shape for node in compile_text(text).graph.nodes}
    assert shapes["layer1.1.add"] == (4, 16, 16)
    assert shapes["layer2.1.add"] == (8, 8, 8)


def test_a_list_numbers_its_items_as_sequential_does() -> None:
    program = net("""\
  features:
    layers:
      - {op: conv2d, out_channels: 4, kernel_size: 1}
      - {op: relu, when: false}
      - {op: relu}
      - {op: relu, name: act}
      - {op: conv2d, out_channels: 4, kernel_size: 1, repeat: 3}
      - {layers: [{op: relu}]}
      - {op: relu, repeat: 2, names: last$(index + 1)}
      - {op: relu}
""")
    assert [line.partition(" =")[0] for line in lines(program)] == [
        "features.0",
        "features.1",
        "features.act",
        "features.2",
        "features.3",
        "features.4",
        "features.5.0",
        "features.last1",
        "features.last2",
        "features.6",
    ]


def test_names_and_numbers_of_instances() -> None:
    program = net("""\
  cells:
    layers: {conv: {op: conv2d, out_channels: $(4 + index), kernel_size: 1}}
    repeat: 3
    names: cell$(index + 1)_of_$count
  relu: {op: relu, repeat: 2}
""")
    assert lines(program) == [
        "cells.cell1_of_3.conv = conv2d(input) (4, 16, 16)",
        "cells.cell2_of_3.conv = conv2d(cells.cell1_of_3.conv) (5, 16, 16)",
        "cells.cell3_of_3.conv = conv2d(cells.cell2_of_3.conv) (6, 16, 16)",
        "relu.0 = relu(cells.cell3_of_3.conv) (6, 16, 16)",
        "relu.1 = relu(relu.0) (6, 16, 16)",
    ]


def test_a_group_sees_the_names_around_it_and_a_block_its_inputs() -> None:
    head = """\
blocks:
  join:
    inputs: [x, skip]
    layers:
      conv: {op: conv2d, out_channels: $in.channels, kernel_size: 1, from: skip}
      add: {op: add, from: [x, conv]}
"""
    program = net(
        """\
  a: {op: relu}
  b: {op: relu}
  group:
    from: a
    layers:
      one: {op: relu}
      two: {op: add, from: [one, b, input]}
  use: {block: join, from: [group, a]}
""",
        head=head,
    )
    assert lines(program)[2:] == [
        "group.one = relu(a) (3, 16, 16)",
        "group.two = add(group.one, b, input) (3, 16, 16)",
        "use.conv = conv2d(a) (3, 16, 16)",
        "use.add = add(group.two, use.conv) (3, 16, 16)",
    ]
    group, use = program.graph.scopes
    assert group.inputs == ("a", "b", "input")
    assert (use.inputs, use.arguments) == (("group.two", "a"), ("x", "skip"))


def test_blocks_in_blocks_and_defaults_that_are_computed() -> None:
    head = """\
params: {base: 4}
blocks:
  conv: {params: {out: }, layers: [{op: conv2d, out_channels: $out, kernel_size: 1}]}
  expand:
    params: {factor: 2, hidden: $(in.channels * factor), last: $(hidden + base)}
    layers:
      up: {block: conv, with: {out: $hidden}}
      down: {block: conv, with: {out: $last}}
"""
    text = "  one: {block: expand}\n  two: {block: expand, with: {factor: 3}}\n"
    assert lines(net(text, head=head)) == [
        "one.up.0 = conv2d(input) (6, 16, 16)",
        "one.down.0 = conv2d(one.up.0) (10, 16, 16)",
        "two.up.0 = conv2d(one.down.0) (30, 16, 16)",
        "two.down.0 = conv2d(two.up.0) (34, 16, 16)",
    ]


def test_a_word_names_an_op() -> None:
    head = "blocks: {act: {params: {kind: relu}, layers: [{op: $kind}]}}\n"
    text = "  a: {block: act}\n  b: {block: act, with: {kind: dropout}}\n"
    assert lines(net(text, head=head)) == [
        "a.0 = relu(input) (3, 16, 16)",
        "b.0 = dropout(a.0) (3, 16, 16)",
    ]


@pytest.mark.parametrize("when", ["false", "$(depth > 3)", "$deep"])
def test_what_when_leaves_out_does_not_exist(when: str) -> None:
    head = "params: {depth: 3, deep: false, more: $(depth > 2)}\n"
    program = net(
        f"""\
  conv: {{op: conv2d, out_channels: 4, kernel_size: 1}}
  out: {{op: relu, when: {when}}}
  group: {{layers: {{a: {{op: relu, when: {when}}}}}}}
  all: {{op: add, from: [out, group]}}
  used: {{op: relu, when: $(more and depth == 3 and not deep)}}
""",
        head=head,
    )
    assert lines(program) == [
        "conv = conv2d(input) (4, 16, 16)",
        "all = add(conv, conv) (4, 16, 16)",
        "used = relu(all) (4, 16, 16)",
    ]
    assert program.graph.scopes == ()


def test_an_expression_anywhere_in_an_op() -> None:
    head = "params: {k: 3, std: 0.5}\n"
    program = net(
        "  conv: {op: conv2d, out_channels: 4, kernel_size: [$k, 1],"
        " padding: {top: $(k - 1)}, init: {weight: {normal: {std: $std}}}}\n",
        head=head,
    )
    assert lines(program) == ["conv = conv2d(input) (4, 16, 16)"]


def test_a_fraction_has_fifteen_digits() -> None:
    """So that numbers in the generated code are as short as people write them."""
    program = net(
        "  a: {op: dropout, p: $(0.1 * 3)}\n  b: {op: dropout, p: $(1 / 3)}\n"
    )
    dropped = [node.op.model_dump()["p"] for node in program.graph.nodes[:2]]
    assert dropped == [0.3, 0.333333333333333]


def test_a_param_by_its_bare_name_is_not_rounded() -> None:
    program = net(
        "  a: {op: dropout, p: $p}\n  b: {op: dropout, p: $(p)}\n",
        head="params: {p: 0.12345678901234567}\n",
    )
    dropped = [node.op.model_dump()["p"] for node in program.graph.nodes[:2]]
    assert dropped == [0.12345678901234567] * 2


def test_layers_that_share_a_definition_are_equal() -> None:
    program = net("  a: {layers: [{op: relu}], repeat: 3}\n")
    ops = [node.op for node in program.graph.nodes[:3]]
    assert ops[0] == ops[1] == ops[2]


def test_what_is_wrong_in_a_block_stays_so_where_one_instance_is_changed() -> None:
    text = f"""{HEAD}blocks:
  conv:
    params: {{out: 4}}
    layers: [{{op: conv2d, out_channels: $ou', kernel_size: $out}}]
layers:
  x: {{block: conv, repeat: 2, "0": {{"0": {{stride: 2}}}}}}
{END}"""
    (found,) = refused(text)
    assert (found.code, found.span and found.span.line) == ("bad-expression", 8)
