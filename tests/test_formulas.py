"""Formulas in classes of model.py: the rules of the spec, and no others."""

from __future__ import annotations

import pytest
from test_classes import classes, code

# By what they show: a block, its uses, and lines that its class or a call has.
CASES: dict[str, tuple[str, str, list[str]]] = {
    "what the block reads": (
        """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $(in.channels // 4), kernel_size: 1}
      b: {op: conv2d, out_channels: $channels, kernel_size: 1}
""",
        "{channels: 8} {channels: 16}",
        ["(in_channels, in_channels // 4, 1", "(in_channels // 4, channels, 1"],
    ),
    "a function": (
        """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: "$(max(in.channels // 4, 2))", kernel_size: 1}
      b: {op: conv2d, out_channels: $channels, kernel_size: 1}
""",
        "{channels: 8} {channels: 16}",
        [
            "(in_channels, max(in_channels // 4, 2), 1",
            "(max(in_channels // 4, 2), channels, 1",
        ],
    ),
    "two params that have the same values": (
        """
    params: {one: , two: }
    layers:
      a: {op: conv2d, out_channels: $two, kernel_size: 1}
      b: {op: conv2d, out_channels: $one, kernel_size: 1}
""",
        "{one: 8, two: 8} {one: 16, two: 16}",
        ["(in_channels, two, 1", "(two, one, 1", "Block(4, 8, 8, device"],
    ),
    "a concat": (
        """
    params: {one: , two: }
    layers:
      a: {op: conv2d, out_channels: $one, kernel_size: 1}
      b: {op: conv2d, out_channels: $(2 * two), kernel_size: 1}
      all: {op: concat, from: [a, input, b]}
      c: {op: conv2d, out_channels: 5, kernel_size: 1}
      again: {op: concat, from: [c, c, a]}
      d: {op: conv2d, out_channels: $one, kernel_size: 1}
""",
        "{one: 8, two: 2} {one: 6, two: 9}",
        ["(one + in_channels + 2 * two, 5, 1", "(10 + one, one, 1"],
    ),
    "groups and windows": (
        """
    params: {channels: , size: 3}
    layers:
      a:
        op: conv2d
        out_channels: $in.channels
        kernel_size: $size
        padding: $(size // 2)
        groups: $in.channels
      b: {op: chunk, chunks: 2, index: 0}
      c: {op: conv2d, out_channels: $channels, kernel_size: 1}
""",
        "{channels: 8} {channels: 6, size: 5} {channels: 8}",
        ["size, padding=size // 2, groups=in_channels", "(in_channels // 2, channels"],
    ),
    "a residual makes widths equal": (
        """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
      b: {op: conv2d, out_channels: $(2 * channels), kernel_size: 1}
      sum: {op: add, from: [b, input]}
""",
        "{channels: 2} {channels: 2} 8 {channels: 4}",
        ["(2 * channels, channels, 1", "(channels, 2 * channels, 1", "Block(2, dev"],
    ),
    "a residual, in a group that is a class": (
        """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
      skip:
        layers:
          drop: {op: dropout}
          sum: {op: add, from: [input, drop]}
""",
        "{channels: 4} 8 {channels: 8}",
        ["self, channels: int", "(channels, channels, 1"],
    ),
    "a width that a residual makes of itself": (
        """
    params: {channels: }
    layers:
      right: {op: chunk, chunks: 2, index: 1}
      a: {op: conv2d, out_channels: $(channels // 2), kernel_size: 1}
      all: {op: concat, from: [right, a]}
      sum: {op: add, from: [all, input]}
""",
        "8 {channels: 8} 4 {channels: 4}",
        ["(in_channels // 2, channels // 2, 1"],
    ),
    "a factor of one pixel": (
        """
    params: {channels: }
    layers:
      turned: {op: permute, dims: [0, 2, 3, 1]}
      factor: {op: adaptive_avg_pool2d, output_size: 1}
      product: {op: multiply, from: [turned, factor]}
      back: {op: permute, dims: [0, 3, 1, 2]}
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
""",
        "{channels: 8} {channels: 16}",
        ["(in_channels, channels, 1"],
    ),
    "the same in all uses, but not in others": (
        """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
      b: {op: conv2d, out_channels: "$(min(8, channels))", kernel_size: 1}
""",
        "{channels: 8} {channels: 16}",
        ["(channels, min(8, channels), 1"],
    ),
    "what the spec rounds": (
        """
    params: {channels: , ratio: 0.25}
    layers:
      a: {op: conv2d, out_channels: $(round(channels * ratio)), kernel_size: 1}
      b: {op: conv2d, out_channels: $(round(channels * 3)), kernel_size: 1}
""",
        "{channels: 10} {channels: 18, ratio: 0.75}",
        ["int(channels * ratio + 0.5), 1", "channels * 3, 1"],
    ),
    "fractions, in a group that is a class": (
        """
    params: {number: , channels: 4}
    layers:
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
      skip:
        layers:
          drop: {op: stochastic_depth, p: $(0.1 * number / 3)}
          b: {op: conv2d, out_channels: $(in.channels + channels), kernel_size: 1}
          c: {op: conv2d, out_channels: $channels, kernel_size: 1}
          sum: {op: add, from: [c, a]}
""",
        "{number: 1} {number: 2, channels: 6} {number: 2}",
        [
            "StochasticDepth(0.1 * number / 3)",
            "b_out_channels=in_channels + channels",
            "(b_out_channels, in_channels, 1",
        ],
    ),
}


LONG = """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: "$(WIDE)", kernel_size: 1}
      norm: {op: batch_norm2d}
      b: {op: conv2d, out_channels: $channels, kernel_size: 1}
      all: {op: concat, from: [a, b]}
      c: {op: conv2d, out_channels: 4, kernel_size: 1}
""".replace("WIDE", "max(8, (channels * 3 // 4 + 4) // 8 * 8 + channels // 16)")
# Each has the name of its params in the block around it, and adds a rule of its own.
INNER = """\
  inner:
    params: {channels: , size: 1}
    layers:
      - {op: conv2d, out_channels: $channels, kernel_size: $size, padding: $(size // 2)}
      - {op: conv2d, out_channels: $(channels + in.channels), kernel_size: 1}
  middle:
    params: {channels: , more: }
    layers:
      a: {block: inner, with: {channels: $(channels * 4)}}
      b: {block: inner, with: {channels: $more, size: 3}}
      c: {op: conv2d, out_channels: $channels, kernel_size: 1}
  outer:
    params: {width: }
    layers:
      unit: {block: middle, repeat: 2, with: {channels: $width, more: $(width // 2)}}
      end: {block: middle, with: {channels: $(in.channels + 1), more: 9}}
"""
OUTER = """\
  one: {block: outer, with: {width: 8}}
  two: {block: outer, with: {width: 6}}
  three: {block: middle, with: {channels: 7, more: 9}}
"""


def net(block: str, uses: str) -> tuple[str, str]:
    """Return a block, and its uses with these params: with 8 before it, of 8 maps."""
    entries = []
    for number, use in enumerate(uses.replace("} ", "}|").split("|")):
        width, params = use.split(" ", 1) if use[0] != "{" else ("", use)
        if width:
            wide = f"{{op: conv2d, out_channels: {width}, kernel_size: 1}}"
            entries.append(f"  wide{number}: {wide}")
        entries.append(f"  use{number}: {{block: block, with: {params}}}")
    return f"  block:{block.rstrip()}", "\n".join(entries)


def joined(blocks: str, layers: str, placement: str = "") -> str:
    """Return model.py with each call on one line."""
    return " ".join(code(blocks, layers, placement).split()).replace("( ", "(")


@pytest.mark.parametrize("case", CASES)
def test_a_class_says_what_the_spec_says(case: str) -> None:
    block, uses, wanted = CASES[case]
    found = joined(*net(block, uses))
    for each in wanted:
        assert each in found, found[found.index("class Block") :]


def test_what_a_use_gives_is_a_formula_of_the_block_around_it() -> None:
    text = joined(INNER, OUTER)
    assert classes(code(INNER, OUTER)) == {
        "Outer": "self in_channels width device",
        "Middle": "self in_channels channels more device",
        "Inner": "self in_channels channels size device",
    }
    assert "Inner(in_channels, channels * 4, device=device)" in text
    between = "channels * 4 + in_channels"  # what the first one gives
    assert f"Inner({between}, more, size=3, device=device)" in text
    assert "Middle(in_channels, width, width // 2, device=device)" in text
    assert "Middle(width, in_channels + 1, 9, device=device)" in text


def test_a_long_formula_is_a_parameter_that_all_readers_share() -> None:
    blocks, layers = net(LONG, "{channels: 16} {channels: 32}")
    found = joined(blocks, layers)
    assert classes(code(blocks, layers)) == {
        "Block": "self channels a_out_channels device"
    }
    assert "nn.BatchNorm2d(a_out_channels, device" in found
    assert "nn.Conv2d(a_out_channels + channels, 4, 1, device" in found


def test_what_is_changed_for_one_use_is_a_parameter_of_one_layer() -> None:
    block = """
    layers:
      a: {op: conv2d, out_channels: 5, kernel_size: 1}
      norm: {op: batch_norm2d}
      b: {op: conv2d, out_channels: 5, kernel_size: 1}
      c: {op: conv2d, out_channels: 4, kernel_size: 1}
"""
    layers = """\
  one: {block: block}
  two: {block: block, a: {out_channels: 6}, b: {out_channels: 6}}
"""
    found = joined(f"  block:{block.rstrip()}", layers)
    assert "self.a = nn.Conv2d(4, a_out_channels, 1" in found
    assert "nn.BatchNorm2d(a_out_channels, device" in found
    assert "self.b = nn.Conv2d(a_out_channels, b_out_channels, 1" in found
    assert "self.c = nn.Conv2d(b_out_channels, 4, 1" in found


def test_what_is_changed_for_one_use_is_known_to_its_readers() -> None:
    block = """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $channels, kernel_size: 1}
      norm: {op: batch_norm2d}
      b: {op: conv2d, out_channels: $channels, kernel_size: 1}
"""
    layers = """\
  one: {block: block, with: {channels: 8}}
  two: {block: block, with: {channels: 6}, a: {out_channels: 7}}
"""
    found = joined(f"  block:{block.rstrip()}", layers)
    assert "self.a = nn.Conv2d(in_channels, a_out_channels, 1" in found
    assert "nn.BatchNorm2d(a_out_channels, device" in found
    assert "self.b = nn.Conv2d(a_out_channels, channels, 1" in found


def test_params_of_a_block_without_a_class_are_its_own() -> None:
    blocks = """\
  part: {params: {n: }, layers: {chunk: {op: chunk, chunks: $n, index: 1}}}
  block:
    params: {n: }
    layers:
      right: {block: part, with: {n: 2}}
      a: {op: conv2d, out_channels: $(4 * n), kernel_size: 1}
"""
    layers = "".join(
        f"  wide{n}: {{op: conv2d, out_channels: {width}, kernel_size: 1}}\n"
        f"  use{n}: {{block: block, with: {{n: {n}}}}}\n"
        for n, width in ((4, 8), (2, 12))
    )
    assert "nn.Conv2d(in_channels // 2, 4 * n, 1" in joined(blocks, layers)


def test_a_value_that_is_read_twice_has_one_width() -> None:
    block = """
    inputs: [x, y]
    layers:
      a: {op: conv2d, out_channels: $(2 * in.channels), kernel_size: 1, from: x}
      b: {op: conv2d, out_channels: $in.channels, kernel_size: 1, from: y}
      all: {op: concat, from: [a, b]}
"""
    layers = """\
  one: {block: block, from: [input, input]}
  two: {block: block, from: [one, one]}
"""
    blocks = f"  block:{block.rstrip()}"
    assert classes(code(blocks, layers)) == {"Block": "self in_channels device"}


def test_a_block_that_reads_two_values_knows_both_widths() -> None:
    block = """
    inputs: [x, y]
    params: {y_channels: 3}
    layers:
      a: {op: conv2d, out_channels: $y_channels, kernel_size: 1, from: y}
      all: {op: concat, from: [a, x, y]}
      b: {op: conv2d, out_channels: $(in.channels + 1), kernel_size: 1}
"""
    layers = """\
  stem: {op: conv2d, out_channels: 6, kernel_size: 1}
  one: {block: block, from: [stem, input]}
  two: {block: block, from: [one, stem], with: {y_channels: 5}}
"""
    found = joined(f"  block:{block.rstrip()}", layers)
    assert "self.one = Block(6, 4, device" in found
    assert "self.two = Block(7, 6, y_channels=5, device" in found
    assert "self.a = nn.Conv2d(y_channels_, y_channels, 1" in found
    wide = "y_channels + in_channels + y_channels_"
    assert f"self.b = nn.Conv2d({wide}, in_channels + 1, 1" in found


def test_tokens_have_features() -> None:
    block = """
    params: {features: }
    layers:
      norm: {op: layer_norm, axis: last}
      fc: {op: linear, out_features: $(2 * features), axis: last}
"""
    layers = """\
  patches: {op: reshape, shape: [4, -1]}
  tokens: {op: permute, dims: [0, 2, 1]}
  one: {block: block, with: {features: 5}}
  two: {block: block, with: {features: 6}}
  back: {op: permute, dims: [0, 2, 1]}
  maps: {op: reshape, shape: [12, 8, 8]}
"""
    found = joined(f"  block:{block.rstrip()}", layers)
    assert "nn.LayerNorm(in_features, device" in found
    assert "nn.Linear(in_features, 2 * features, device" in found


def test_a_share_has_a_part_of_what_the_spec_says() -> None:
    block = """
    params: {channels: }
    layers:
      one: {op: conv2d, out_channels: $channels, kernel_size: 1}
      norm: {op: batch_norm2d}
      two: {op: conv2d, out_channels: $(in.channels + 2), kernel_size: 1, groups: 2}
"""
    blocks, layers = net(block, "{channels: 8} {channels: 16}")
    stem = "  stem: {op: conv2d, out_channels: 6, kernel_size: 1}\n"
    placement = """\
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {stem..use1: split, pool..fc: gpu0}
"""
    found = joined(blocks, stem + layers, placement)
    for share in "ab":
        assert f"self.one{share} = nn.Conv2d(in_channels, channels // 2, 1" in found
        assert f"self.norm{share} = nn.BatchNorm2d(channels // 2, device" in found
        half = "channels // 2, (in_channels + 2) // 2, 1"
        assert f"self.two{share} = nn.Conv2d({half}, device" in found


def test_equal_numbers_of_other_specs_have_no_say() -> None:
    """One is whole and one is not: what is kept between specs keeps them apart."""
    block = """
    params: {channels: }
    layers:
      a: {op: conv2d, out_channels: $(round(channels * wide)), kernel_size: 1}
"""
    blocks, layers = net(block, "{channels: 8} {channels: 16}")
    for wide, formula in (("2", "channels * 2"), ("2.0", "int(channels * 2.0 + 0.5)")):
        found = joined(blocks, layers, f"params: {{wide: {wide}}}")
        assert f"nn.Conv2d(in_channels, {formula}, 1" in found
