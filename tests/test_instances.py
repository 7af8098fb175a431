"""What is wrong with an instance of an entry that repeats is shown where that is."""

from __future__ import annotations

import pytest
from test_block_errors import found

TWO_INPUTS = (
    "blocks: {g: {inputs: [x, y], layers: {m: {op: multiply, from: [x, y]}}}}\n"
)


@pytest.mark.parametrize(
    ("sections", "layers", "caret_", "message"),
    [
        (
            TWO_INPUTS,
            "  g: {block: g, repeat: 2}\n",
            "g",
            "the block g reads 2 inputs (x, y), not 1",
        ),
        (
            TWO_INPUTS,
            "  c: {op: relu}\n  g: {block: g, repeat: 2, from: [c, input]}\n",
            "[c, input]",
            "an entry with `repeat` reads one input, not 2",
        ),
        (
            "",
            "  c: {op: conv2d, out_channels: 3, kernel_size: 9, repeat: 3}\n",
            "9",
            "c.1: a window of 9 does not fit the padded height of 8",
        ),
    ],
)
def test_an_error_in_an_instance_is_where_its_entry_is(
    sections: str, layers: str, caret_: str, message: str
) -> None:
    ((_, shown, said),) = found(sections, layers)
    assert (shown, said) == (caret_, message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("same", "two instances have the name same"),
        ("$(index)", "'0' is not a name"),
        ("to$(1 // (1 - index))", "there is a division by zero"),
    ],
)
@pytest.mark.parametrize("layers", ["  r: {%s}\n", "  g: {layers: [{%s}]}\n"])
def test_names_of_instances_that_cannot_be(
    layers: str, names: str, message: str
) -> None:
    entry = f"op: conv2d, out_channels: 5, kernel_size: 1, repeat: 3, names: {names}"
    ((_, shown, said),) = found("", layers % entry)
    assert shown == names
    assert said.startswith(message)
