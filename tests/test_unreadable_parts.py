"""Parts of blocks and params that cannot be read hide nothing beside them."""

from __future__ import annotations

import pytest
from helpers import refused
from test_block_errors import END, HEAD, found


@pytest.mark.parametrize(
    ("layers", "help"),
    [
        (
            "  x: {op: conv2d, out_channels: $(max(8, 9)), kernel_size: 1}\n",
            'quote it: out_channels: "$(max(8, 9))"',
        ),
        (
            "  x: {op: conv2d, out_channels: 1, kernel_size: [$(min(1, 2, 3)), 1]}\n",
            'quote it: "$(min(1, 2, 3))"',
        ),
        (
            "  x: {op: conv2d, out_channels: $(max(min(8, 9), (7))), kernel_size: 1}\n",
            'quote it: out_channels: "$(max(min(8, 9), (7)))"',
        ),
    ],
)
def test_an_expression_that_yaml_cuts(layers: str, help: str) -> None:
    (problem,) = refused(f"{HEAD}layers:\n{layers}{END}")
    assert problem.message == "YAML cuts this expression at its comma"
    assert problem.help == help


def test_quoted_expressions_are_whole() -> None:
    layers = '  x: {op: conv2d, out_channels: "$(max(8, 9))", kernel_size: 0}\n'
    assert found("", layers) == [("out-of-range", "0", "must be at least 1, got 0")]


@pytest.mark.parametrize(
    ("sections", "errors"),
    [
        ("params: {out: .nan}\n", [("bad-number", ".nan")]),
        ("params: [1]\n", [("wrong-type", "[1]")]),
        ("params: {out: 1}\nblocks: 3\n", [("wrong-type", "3")]),
        (
            "params: {out: 1}\n"
            "blocks: {unit: {params: {a: !x 1}, layers: [{op: relu}]}}\n",
            [("bad-tag", "!x")],
        ),
        (
            "params: {out: 1}\n"
            "blocks: {unit: {layers: [{op: dropout, p: !x 1}, {op: x}]}}\n",
            [("bad-tag", "!x"), ("unknown-op", "x")],
        ),
    ],
)
def test_what_cannot_be_read_is_one_error(
    sections: str, errors: list[tuple[str, str]]
) -> None:
    layers = "  x: {op: conv2d, out_channels: $(2 * out), kernel_size: 1}\n"
    layers += "  y: {block: unit, repeat: 2}\n" if "unit" in sections else ""
    layers += "  y: {block: unit}\n" if "blocks: 3" in sections else ""
    assert [(code, text) for code, text, _ in found(sections, layers)] == errors


def test_all_of_it_at_once() -> None:
    sections = "params: {a: $(1 +)}\nblocks: {b: {layers: {x: {op: rellu}}}}\n"
    layers = "  c: {block: b}\n  d: {op: relu, from: e}\n  e: {op: relu, repeat: x}\n"
    codes = [code for code, _, _ in found(sections, layers)]
    assert codes == ["bad-expression", "unknown-op", "bad-from", "wrong-type"]
