"""What layers read: `from`, and what is wrong with it."""

from __future__ import annotations

import pytest
from helpers import compile_text, refused

from specgen.diagnostics import Diagnostic, Problems
from specgen.frontend.elaborate import Draft, elaborate
from specgen.plan import make_plan
from specgen.source import parse

HEAD = """\
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
data: {size: 16}
layers:
"""


def draft(layers: str) -> tuple[Draft, Problems]:
    problems = Problems()
    source = parse(f"{HEAD}{layers}".encode(), "net.yaml")
    return elaborate(source, problems), problems


def caret(problem: Diagnostic) -> str:
    """Return the text that an error points to."""
    assert problem.span
    start = problem.span.column - 1
    return problem.span.text[start : start + problem.span.length]


@pytest.mark.parametrize("op", ["add", "multiply", "concat"])
def test_shapes_that_do_not_fit_are_named_with_their_layers(op: str) -> None:
    text = f"""
specgen: 1
name: Net
input: {{channels: 3, height: 16, width: 16}}
layers:
  narrow: {{op: conv2d, out_channels: 8, kernel_size: 3}}
  wide: {{op: conv2d, out_channels: 8, kernel_size: 1, from: input}}
  both: {{op: {op}, from: [narrow, wide]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 10}}
"""
    (error,) = refused(text)
    assert error.code == "shape-mismatch"
    assert error.message.startswith(f"both: {op} needs ")
    assert error.message.endswith("but narrow is (8, 14, 14) and wide is (8, 16, 16)")


def test_several_layers_read_one_and_one_reads_several() -> None:
    found, problems = draft("""\
  conv1: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  relu1: {op: relu}
  conv2: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1, from: conv1}
  add: {op: add, from: [conv2, relu1, conv1]}
  twice: {op: add, from: [add, add]}
  image: {op: conv2d, out_channels: 4, kernel_size: 1, from: input}
  sum: {op: add, from: [image, twice]}
  flat: {op: flatten, from: sum}
""")
    assert not list(problems)
    assert (
        str(found.graph)
        == """\
input (3, 8, 8)
conv1 = conv2d(input) (4, 8, 8)
relu1 = relu(conv1) (4, 8, 8)
conv2 = conv2d(conv1) (4, 8, 8)
add = add(conv2, relu1, conv1) (4, 8, 8)
twice = add(add, add) (4, 8, 8)
image = conv2d(input) (4, 8, 8)
sum = add(image, twice) (4, 8, 8)
flat = flatten(sum) (256,)"""
    )


LAST = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 10}\n"


@pytest.mark.parametrize(
    ("layers", "code", "message", "marked", "help"),
    [
        (
            "  conv1: {op: relu, from: imput}\n",
            "unknown-layer",
            "there is no layer 'imput'",
            "imput",
            "the nearest name is input",
        ),
        (
            "  conv1: {op: relu, from: [conv1]}\n",
            "bad-from",
            "conv1 reads itself",
            "conv1",
            None,
        ),
        (
            "  conv1: {op: relu, from: flat}\n",
            "bad-from",
            "conv1 reads flat, which comes after it",
            "flat",
            "move it below the layers that it reads",
        ),
        (
            "  conv1: {op: relu, from: [input, input]}\n",
            "bad-from",
            "conv1: relu reads one input, not 2",
            "[input, input]",
            "first join them in a layer such as {op: add, from: [NAME, NAME]}",
        ),
        (
            "  conv1: {op: add}\n",
            "bad-from",
            "conv1: add reads at least 2 inputs, not 1",
            "add",
            "name them in a list: from: [NAME, NAME]",
        ),
        (
            "  conv1: {op: relu}\n  side: {op: relu, from: input}\n",
            "no-effect",
            "no layer reads conv1, and it is not the last one",
            "conv1",
            None,
        ),
        (
            "  conv1: {op: relu}\n  sum: {op: add, from: conv1, input}\n",
            "bad-from",
            "several inputs are a list, in brackets",
            "conv1",
            "write from: [conv1, input]",
        ),
        (
            "  conv1: {op: relu}\n  sum:\n    op: add\n    from: conv1, input\n",
            "bad-from",
            "several inputs are a list, in brackets",
            "conv1, input",
            "write from: [conv1, input]",
        ),
        (
            "  conv1: {op: relu, from: 1}\n",
            "wrong-type",
            "expected a string or a list, got 1",
            "1",
            None,
        ),
        (
            "  conv1: {op: relu, from: []}\n",
            "out-of-range",
            "must have a length of at least 1, got 0",
            "[]",
            None,
        ),
        (
            "  conv1: {op: relu, form: input}\n",
            "unknown-key",
            "unknown key form",
            "form",
            "the nearest name is from",
        ),
        (
            "  conv1: {op: relu, bottom: input}\n",
            "unknown-key",
            "unknown key bottom",
            "bottom",
            "it is called from here",
        ),
    ],
)
def test_a_wrong_edge_has_its_place(
    layers: str, code: str, message: str, marked: str, help: str | None
) -> None:
    (found,) = refused(HEAD + layers + LAST)
    assert (found.code, found.message, found.help) == (code, message, help)
    assert caret(found) == marked


def test_all_wrong_edges_are_reported_at_once() -> None:
    layers = "  a: {op: relu, from: [b, c, input]}\n  b: {op: relu, from: b}\n"
    found = refused(HEAD + layers + LAST)
    assert [problem.code for problem in found] == [
        "bad-from",
        "unknown-layer",
        "bad-from",
    ]


def test_a_softmax_that_another_layer_reads_is_inside() -> None:
    (found,) = refused(f"""\
{HEAD}  flat: {{op: flatten}}
  prob: {{op: softmax}}
  fc: {{op: linear, out_features: 10, from: prob}}
""")
    assert found.code == "softmax-inside"
    assert found.message == "prob: softmax must be the last layer, but fc reads it"


def test_a_from_that_repeats_the_order_changes_nothing() -> None:
    plain, said = LAST, LAST.replace("linear,", "linear, from: [flat],")
    assert said != plain
    graphs = [compile_text(HEAD + text).graph for text in (plain, said)]
    assert graphs[0] == graphs[1]


def test_what_crosses_is_named() -> None:
    """A layer may be sent several values, each whole or in part."""
    layers = "  a: {op: conv2d, out_channels: 4, kernel_size: 1}\n"
    layers += "  b: {op: conv2d, out_channels: 4, kernel_size: 1, from: input}\n"
    layers += "  sum: {op: add, from: [a, b, a]}\n"
    place = "placement: {devices: {gpu0: {}, gpu1: {}},"
    place += " layers: {a..b: split, sum..fc: gpu1}}\n"
    program = compile_text(f"{HEAD}{layers}{LAST}{place}")
    plan = make_plan(program.spec, program.placed)
    found = {edge.before: edge.values for edge in plan.traffic}
    assert found == {"a": ("input",), "sum": ("a", "b")}
