"""The classes of model.py: which uses of a block share one, and what it is called."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from helpers import compile_text

from specgen.compiler import render
from specgen.plan import make_plan

NET = """
specgen: 1
name: Net
input: {{channels: 4, height: 8, width: 8}}
{placement}
blocks:
{blocks}
layers:
{layers}
  pool: {{op: adaptive_avg_pool2d, output_size: 1}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 5}}
"""


def code(blocks: str, layers: str, placement: str = "") -> str:
    """Return model.py, which is laid out as ruff would lay it out."""
    text = NET.format(blocks=blocks, layers=layers, placement=placement)
    found = render(compile_text(text))["model.py"].decode()
    ast.parse(found)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "-"]
    done = subprocess.run(command, input=found, capture_output=True, text=True)
    assert done.stdout == found
    return found


def classes(text: str) -> dict[str, str]:
    """Return the signature of each constructor by class, without devices."""
    found = {}
    for node in ast.parse(text).body[1:]:
        if isinstance(node, ast.ClassDef) and node.name != "Net":
            (init,) = (n for n in node.body if getattr(n, "name", "") == "__init__")
            assert isinstance(init, ast.FunctionDef)
            names = [a.arg for a in (*init.args.args, *init.args.kwonlyargs)]
            found[node.name] = " ".join(names)
    return found


# A formula that is longer than people read is a number for the class: 0 here.
LONG = "min(0, " + ", ".join(["k * k"] * 6) + ")"


def test_parameters_that_the_block_has_not_are_named_after_their_layer() -> None:
    first, padding, second = (
        f'"$({short} + {LONG})"' for short in ("k * k + 1", "k % 3", "k * k + k")
    )
    blocks = f"""\
  two:
    params: {{k: }}
    layers:
      - {{op: conv2d, out_channels: {first}, kernel_size: 3, padding: {padding}}}
      - layers:
          - {{op: conv2d, out_channels: {second}, kernel_size: 1}}
          - {{op: relu}}
"""
    layers = "".join(f"  u{k}: {{block: two, with: {{k: {k}}}}}\n" for k in (1, 2, 5))
    assert classes(code(blocks, layers)) == {
        "Two": "self in_channels layer0_out_channels padding layer1_0_out_channels"
        " device"
    }


def test_a_parameter_of_the_block_keeps_its_name() -> None:
    square = f"stride * stride + 1 + {LONG.replace('k', 'stride')}"
    blocks = f"""\
  two:
    params: {{stride: }}
    layers:
      a: {{op: conv2d, out_channels: 4, kernel_size: 1, stride: "$({square})"}}
      b: {{op: conv2d, out_channels: 4, kernel_size: 1, stride: $stride}}
"""
    layers = "".join(
        f"  u{stride}: {{block: two, with: {{stride: {stride}}}}}\n"
        for stride in (1, 2)
    )
    text = code(blocks, layers)
    assert classes(text) == {"Two": "self stride a_stride device"}
    assert "self.u2 = Two(2, a_stride=5, device=self.gpu0)" in text


def test_a_chunk_is_the_same_however_wide_it_is() -> None:
    blocks = """\
  unit:
    params: {channels: }
    layers:
      right: {op: chunk, chunks: 2, index: 1}
      conv: {op: conv2d, out_channels: $(channels // 2), kernel_size: 1}
      left: {op: chunk, chunks: 2, index: 0, from: input}
      all: {op: concat, from: [left, conv]}
"""
    layers = """\
  stem: {op: conv2d, out_channels: 4, kernel_size: 1}
  one: {block: unit, with: {channels: 4}}
  wide: {op: conv2d, out_channels: 8, kernel_size: 1}
  two: {block: unit, with: {channels: 8}}
"""
    text = code(blocks, layers)
    assert list(classes(text)) == ["Unit"]
    assert "torch.unflatten(x, 1, (2, -1))[:, 1]" in text


def test_classes_of_a_block_are_called_after_what_only_some_have() -> None:
    blocks = """\
  conv:
    params: {act: relu}
    layers:
      - {op: conv2d, out_channels: 4, kernel_size: 1}
      - {op: $act}
  bottle:
    params: {act: relu, dropped: false}
    layers:
      conv: {block: conv, with: {act: $act}}
      drop: {op: dropout, when: $dropped}
"""
    layers = """\
  a: {block: bottle}
  b: {block: bottle, with: {act: silu}}
  c: {block: bottle, with: {dropped: true}}
"""
    assert list(classes(code(blocks, layers))) == [
        "BottleConvReLU",
        "ConvReLU",
        "BottleConvSiLU",
        "ConvSiLU",
        "BottleDrop",
    ]


def test_a_group_is_called_after_the_block_that_it_is_in() -> None:
    blocks = """\
  wide:
    layers:
      wide:
        layers:
          one: {op: conv2d, out_channels: 4, kernel_size: 1}
          two: {op: add, from: [one, input]}
"""
    assert list(classes(code(blocks, "  a: {block: wide}\n"))) == ["Wide", "WideWide"]


def test_a_class_of_a_group_is_not_called_like_a_block_that_has_it() -> None:
    blocks = """\
  unit:
    params: {skips: false}
    layers:
      conv: {op: conv2d, out_channels: 4, kernel_size: 1}
      skip:
        when: $skips
        layers:
          norm: {op: batch_norm2d}
          add: {op: add, from: [norm, input]}
"""
    layers = "  a: {block: unit}\n  b: {block: unit, with: {skips: true}}\n"
    assert list(classes(code(blocks, layers))) == ["Unit", "UnitSkip", "UnitSkipGroup"]


def test_classes_that_differ_only_in_a_list_are_called_after_a_param() -> None:
    blocks = """\
  unit:
    params: {depth: 2, channels: }
    layers:
      inner:
        layers:
          - {op: conv2d, out_channels: $channels, kernel_size: 1}
          - {op: conv2d, out_channels: $channels, kernel_size: 1, when: $(depth > 1)}
          - {op: conv2d, out_channels: $channels, kernel_size: 1, when: $(depth > 2)}
      add: {op: add, from: [inner, inner]}
"""
    layers = "".join(
        f"  u{number}: {{block: unit, with: {{channels: {4 + number}{depth}}}}}\n"
        for number, depth in enumerate(
            [", depth: 1", "", ", depth: 3", "", ", depth: 1"]
        )
    )
    assert list(classes(code(blocks, layers))) == ["UnitDepth1", "Unit", "UnitDepth3"]


def test_a_long_name_of_a_block() -> None:
    name = "b" * 40
    blocks = f"""\
  {name}:
    params: {{act: relu}}
    layers: {{conv: {{op: conv2d, out_channels: 4, kernel_size: 1}}, act: {{op: $act}}}}
"""
    layers = "".join(
        f"  {act}1: {{block: {name}, with: {{act: {act}}}}}\n"
        for act in ("relu", "silu")
    )
    assert [*map(len, classes(code(blocks, layers)))] == [36, 37]


def test_a_class_that_moves_tensors_is_laid_out_like_others() -> None:
    blocks = """\
  block:
    layers:
      one: {op: conv2d, out_channels: 4, kernel_size: 1}
      two: {op: conv2d, out_channels: 4, kernel_size: 1}
      add: {op: add, from: [two, input]}
"""
    placement = """\
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {a: split, pool..fc: gpu0}
"""
    text = code(blocks, "  a: {block: block}\n", placement)
    assert text.count("def _apply(") == 2


def test_a_device_that_holds_one_of_several_inputs_is_local() -> None:
    placement = """\
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {a: gpu0, b: gpu1, add..fc: gpu1}
"""
    layers = """\
  a: {op: conv2d, out_channels: 4, kernel_size: 1}
  b: {op: conv2d, out_channels: 4, kernel_size: 1, from: input}
  add: {op: add, from: [b, a]}
"""
    text = NET.format(
        blocks="  x: {layers: {r: {op: relu}}}", layers=layers, placement=placement
    )
    program = compile_text(
        text.replace("blocks:\n  x: {layers: {r: {op: relu}}}\n", "")
    )
    plan = make_plan(program.spec, program.placed)
    local = {layer.name: layer.local for layer in plan.layers}
    assert (local["a"], local["add"]) == ((), ("gpu1",))


def test_a_group_may_read_an_item_of_a_list() -> None:
    layers = """
  list:
    layers:
      - {op: relu}
      - {op: sigmoid}
      - layers:
          conv: {op: conv2d, out_channels: 4, kernel_size: 1}
          add: {op: add, from: [conv, "0"]}
  unit: {block: unit}
"""
    text = code("  unit: {layers: {relu: {op: relu}}}", layers)
    assert "list_0: Tensor) -> Tensor" in text


def test_uses_with_numbered_names_are_a_loop() -> None:
    block = "  one: {params: {p: 0.1}, layers: {drop: {op: dropout2d, p: $p}}}\n"
    same = "  body: {block: one, repeat: 4, names: %s$(index + 1)}\n"
    loop = '(f"cell{i}", One()) for i in range(1, 5)'
    assert f"nn.Sequential(OrderedDict({loop}))" in code(block, same % "cell")
    for length in (20, 25, 35):  # the loop on one line, on two, on five
        name = length * "a"
        long = code(block.replace("one", name), same.replace("one", name) % name)
        assert "for i in range(1, 5)" in long
    other = same.replace("repeat: 4", "with: {p: $(0.1 * index)}, repeat: 4")
    assert "for i in" not in code(block, other % "cell")


def test_blocks_whose_names_are_alike_have_classes_of_their_own() -> None:
    blocks = """\
  a_b:
    params: {one: }
    layers: {conv: {op: conv2d, out_channels: $one, kernel_size: 1}}
  aB:
    params: {two: }
    layers: {conv: {op: conv2d, out_channels: $two, kernel_size: 1}}
"""
    layers = "".join(
        f"  {block}{width}: {{block: {block}, with: {{{param}: {width}}}}}\n"
        for block, param in (("a_b", "one"), ("aB", "two"))
        for width in (4, 5)
    )
    assert classes(code(blocks, layers)) == {
        "AB": "self one device",
        "AB2": "self in_channels two device",
    }


def test_layers_of_a_group_without_modules_are_among_others() -> None:
    layers = """\
  group:
    layers:
      relu: {op: relu}
      conv: {op: conv2d, out_channels: 4, kernel_size: 1}
      inner: {layers: {relu: {op: relu}}}
  unit: {block: unit}
"""
    text = code("  unit: {layers: {relu: {op: relu}}}\n", layers)
    assert list(classes(text)) == ["Group"]


@pytest.mark.parametrize(
    "items",
    [
        "- {layers: [{op: relu6, name: act}], repeat: 2}",
        "- {layers: [{op: relu6, name: act}]}\n      - {op: relu, name: act}",
        "- {layers: {a: {layers: {act: {op: relu}}}}}\n"
        "      - {layers: {b: {layers: {act: {op: sigmoid}}}}}",
    ],
)
def test_layers_of_one_name_in_scopes_without_modules(items: str) -> None:
    pool = "      - {op: max_pool2d, kernel_size: 2, name: pool}"
    text = code(
        "  one: {layers: {relu: {op: relu}}}",
        f"""
  u: {{block: one}}
  g:
    layers:
      {items}
{pool}
""",
    )
    assert "OrderedDict(" not in text
    assert "self.pool(" in text
