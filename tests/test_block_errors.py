"""What is wrong with blocks, groups and params: each once, in its place."""

from __future__ import annotations

import pytest
from helpers import refused

from specgen.diagnostics import Diagnostic, render_text

HEAD = """\
specgen: 1
name: Net
input: {channels: 3, height: 16, width: 16}
"""
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 10}\n"


def found(sections: str, layers: str) -> list[tuple[str, str, str]]:
    """Return the code, the text under the caret and the message of each error."""
    problems = refused(f"{HEAD}{sections}layers:\n{layers}{END}")
    return [(problem.code, caret(problem), problem.message) for problem in problems]


def caret(problem: Diagnostic) -> str:
    assert problem.span
    start = problem.span.column - 1
    return problem.span.text[start : start + problem.span.length]


BLOCK = """\
blocks:
  unit:
    params: {out: , k: 3}
    layers:
      conv: {op: conv2d, out_channels: $out, kernel_size: $k}
      act: {op: relu}
"""


def test_an_error_in_a_block_is_shown_once_with_its_use() -> None:
    layers = "  a: {block: unit, with: {out: 0}, repeat: 3}\n"
    layers += "  b: {block: unit, with: {out: 4, k: 30}}\n"
    problems = refused(f"{HEAD}{BLOCK}layers:\n{layers}{END}")
    assert (
        render_text(problems)
        == """\
error[out-of-range]: must be at least 1, got 0
  --> net.yaml:11:32
   |
11 |   a: {block: unit, with: {out: 0}, repeat: 3}
   |                                ^
   = note: out_channels is $out at net.yaml:8"""
    )


def test_each_instance_can_be_wrong_in_its_own_place() -> None:
    layers = "  a: {block: unit, with: {out: 4, k: 15}}\n"
    layers += "  b: {block: unit, with: {out: 4, k: 15}}\n"
    problems = refused(f"{HEAD}{BLOCK}layers:\n{layers}{END}")
    assert (
        render_text(problems)
        == """\
error[shape-mismatch]: b.conv: a window of 15 does not fit the padded height of 2
  --> net.yaml:12:38
   |
12 |   b: {block: unit, with: {out: 4, k: 15}}
   |                                      ^^
   = note: kernel_size is $k at net.yaml:8
   = help: kernel_size can be at most 2 here, or add padding"""
    )


def test_the_uses_of_nested_blocks_are_all_shown() -> None:
    nested = (
        f"{BLOCK}  outer:\n    layers:\n      x: {{block: unit, with: {{out: 0}}}}\n"
    )
    (problem,) = refused(f"{HEAD}{nested}layers:\n  a: {{block: outer}}\n{END}")
    assert caret(problem) == "0"
    assert problem.notes == (
        "out_channels is $out at net.yaml:8",
        "used as a at net.yaml:14",
    )


@pytest.mark.parametrize(
    ("sections", "layers", "errors"),
    [
        (
            BLOCK,
            "  a: {block: unit}\n",
            [("missing-key", "a", "out is missing: the block unit needs it")],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4, kk: 1}}\n",
            [("unknown-param", "kk", "the block unit has no param kk")],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4, k: 3.5}}\n",
            [("wrong-type", "3.5", "expected a whole number, got 3.5")],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: [4]}}\n",
            [
                (
                    "wrong-type",
                    "[4]",
                    "expected a number, true, false or a word, got a list",
                )
            ],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4}, first: {k: 1}}\n",
            [("no-effect", "first", "first has no effect without repeat")],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4}, names: a$index}\n",
            [
                ("no-effect", "names", "names has no effect without repeat"),
                (
                    "unknown-param",
                    "a$index",
                    "index is defined only where an entry repeats",
                ),
            ],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4}, from: [input, input]}\n",
            [
                (
                    "bad-from",
                    "[input, input]",
                    "the block unit reads one input, not 2",
                )
            ],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4}, repeat: 2, names: a}\n",
            [("bad-name", "a", "two instances have the name a")],
        ),
        (
            BLOCK,
            "  a: {block: unit, with: {out: 4}, repeat: 2, names: $index}\n",
            [
                (
                    "bad-name",
                    "$index",
                    "'0' is not a name: letters, digits and single underscores,"
                    " beginning with a letter",
                )
            ],
        ),
        (
            BLOCK,
            "  a: {block: unit, op: relu, with: {out: 4}}\n",
            [("unknown-key", "op", "an entry has block or op, not both")],
        ),
        (
            "blocks: {unit: {layers: {a: {op: relu, from: stem}}}}\n",
            "  stem: {op: relu}\n  b: {block: unit}\n",
            [("unknown-layer", "stem", "there is no layer 'stem' in the block unit")],
        ),
        (
            "blocks: {unit: {inputs: [x, skip], layers: {a: {op: relu}}}}\n",
            "  stem: {op: relu}\n  b: {block: unit, from: [stem, input]}\n",
            [("no-effect", "skip", "no layer of the block unit reads skip")],
        ),
        (
            "blocks: {unit: {inputs: [x, x], layers: {a: {op: add, from: [x, x]}}}}\n",
            "  b: {block: unit, from: [input, input]}\n",
            [("bad-name", "[x, x]", "two inputs have the same name")],
        ),
        (
            "blocks: {unit: {inputs: [x, y], layers: {y: {op: add, from: [x, y]}}}}\n",
            "  b: {block: unit, from: [input, input]}\n",
            [("bad-name", "y", "y is given twice")],
        ),
        (
            "blocks: {unit: {params: {out: 1, rest: 2}, layers: {a: {op: relu}}}}\n",
            "  b: {block: unit}\n",
            [
                ("no-effect", "out", "nothing in unit uses the param out"),
                ("no-effect", "rest", "nothing in unit uses the param rest"),
            ],
        ),
        (
            "blocks: {a: {layers: [{block: b}]}, b: {layers: [{block: a}]}}\n",
            "  x: {op: relu}\n",
            [
                ("no-effect", "a", "no layer uses the block a"),
                ("no-effect", "b", "no layer uses the block b"),
            ],
        ),
        (
            "blocks: {a: {layers: [{block: b}]}, b: {layers: [{block: a}]}}\n",
            "  x: {block: a}\n",
            [("recursive-block", "a", "the block a uses itself")],
        ),
        (
            "params: {in_channels: 1, round: 1, lambda: 1, index: 1, 2x: 1}\n",
            "  x: {op: relu}\n",
            [
                (
                    "bad-name",
                    "in_channels",
                    "'in_channels' cannot be a param: write in.channels",
                ),
                ("bad-name", "round", "'round' already has a meaning in expressions"),
                ("bad-name", "lambda", "'lambda' is a Python keyword"),
                ("bad-name", "index", "'index' already has a meaning in expressions"),
                (
                    "bad-name",
                    "2x",
                    "'2x' is not a name: letters, digits and single underscores,"
                    " beginning with a letter",
                ),
            ],
        ),
        (
            "params: {width: 1, unused: 2}\n",
            "  x: {op: conv2d, out_channels: $width, kernel_size: 1}\n",
            [("no-effect", "unused", "nothing uses the param unused")],
        ),
        (
            "params: {width: , next: $width, size: [1]}\n",
            "  x: {op: conv2d, out_channels: $(next + size), kernel_size: 1}\n",
            [
                (
                    "wrong-type",
                    "width",
                    "expected a number, true, false or a word, got nothing",
                ),
                (
                    "wrong-type",
                    "[1]",
                    "expected a number, true, false or a word, got a list",
                ),
            ],
        ),
        (
            "params: {next: $width, width: 1}\n",
            "  x: {op: conv2d, out_channels: $(next + width), kernel_size: 1}\n",
            [("unknown-param", "$width", "there is no param width")],
        ),
        (
            "params: {w: 1.0}\n",
            "  x: {op: conv2d, out_channels: $(64 * w), kernel_size: $(8 / 2)}\n",
            [
                (
                    "wrong-type",
                    "$(64 * w)",
                    "expected a whole number, got 64.0",
                ),
                (
                    "wrong-type",
                    "$(8 / 2)",
                    "expected a whole number or two of them, [height, width], got 4.0",
                ),
            ],
        ),
        (
            "",
            "  x: {op: conv2d, out_channels: $(in.channels / 0), kernel_size: $in.d}\n",
            [("unknown-param", "$in.d", "there is no in.d")],
        ),
        (
            "",
            "  x: {op: conv2d, out_channels: $(1 // 0), kernel_size: 1}\n",
            [("bad-expression", "$(1 // 0)", "there is a division by zero")],
        ),
        (
            "",
            "  x: {op: relu, when: $(in.channels)}\n",
            [
                (
                    "wrong-type",
                    "$(in.channels)",
                    "expected true or false, got 3",
                )
            ],
        ),
        (
            "",
            "  x: {op: add, from: [input, input], when: true}\n",
            [
                (
                    "bad-from",
                    "[input, input]",
                    "an entry with `when` reads one input, not 2",
                )
            ],
        ),
        (
            "",
            "  x: {layers: [{op: relu}], from: [input, input]}\n",
            [("bad-from", "[input, input]", "a group reads one input, not 2")],
        ),
        (
            "",
            "  x: {layers: [{op: relu}, {op: relu, from: input}]}\n",
            [
                (
                    "no-effect",
                    "{op: relu}",
                    "no layer reads x.0, and it is not the last one",
                )
            ],
        ),
        (
            "",
            "  x: {layers: {a: {op: relu}}}\n  y: {op: relu, from: x.a}\n",
            [("unknown-layer", "x.a", "there is no layer 'x.a'")],
        ),
        (
            "",
            "  x: {layers: {a: {op: relu}}}\n  y: {op: relu, from: input}\n",
            [("no-effect", "x", "no layer reads x, and it is not the last one")],
        ),
        (
            "",
            "  x: {layers: {train: {op: relu}, input: {op: relu}, a-b: {op: relu}}}\n",
            [
                (
                    "bad-name",
                    "train",
                    "'train' is already an attribute of torch modules",
                ),
                (
                    "bad-name",
                    "input",
                    "'input' already names the image that the network reads",
                ),
                (
                    "bad-name",
                    "a-b",
                    "'a-b' is not a name: letters, digits and single underscores,"
                    " beginning with a letter",
                ),
            ],
        ),
        (
            "",
            "  x: {layers: [{op: relu, name: a}, {op: relu, name: a}]}\n",
            [("bad-name", "{op: relu, name: a}", "a is given twice")],
        ),
        (
            "",
            "  x: {op: relu, name: a}\n",
            [("unknown-key", "name", "unknown key name")],
        ),
        (
            "",
            "  x: {op: relu, repeat: 0}\n  y: {op: relu, repeat: $(2 - 3)}\n",
            [
                ("out-of-range", "0", "must be at least 1, got 0"),
                ("out-of-range", "$(2 - 3)", "must be at least 1, got -1"),
            ],
        ),
    ],
)
def test_an_error_has_its_place(
    sections: str, layers: str, errors: list[tuple[str, str, str]]
) -> None:
    assert found(sections, layers) == errors


def test_an_op_for_a_block_and_a_block_for_an_op() -> None:
    layers = (
        "  a: {op: unit}\n  b: {block: relu}\n  c: {block: untit, with: {out: 1}}\n"
    )
    problems = refused(f"{HEAD}{BLOCK}layers:\n{layers}{END}")
    assert [(problem.code, problem.help) for problem in problems] == [
        ("unknown-op", "it is a block: write block: unit"),
        ("unknown-block", "it is an op: write op: relu"),
        ("unknown-block", "the nearest name is unit"),
    ]


def test_an_error_in_a_repeated_layer_is_on_its_line() -> None:
    assert found("", "  pool: {op: max_pool2d, kernel_size: 2, repeat: 5}\n") == [
        (
            "shape-mismatch",
            "2",
            "pool.4: a window of 2 does not fit the padded height of 1",
        )
    ]
