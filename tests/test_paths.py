"""Names are paths: in placements, warnings, and changes of single instances."""

from __future__ import annotations

import pytest
from helpers import compile_text, refused
from test_blocks import END, HEAD, RESNET

from specgen.diagnostics import Diagnostic

TWO = "placement:\n  devices: {a: {}, b: {}}\n  layers: {%s}\n"
NET = f"{HEAD}{RESNET}{END}"


def devices(layers: str) -> dict[str, list[str]]:
    """Return the layers of each device."""
    program = compile_text(NET + TWO % layers)
    found: dict[str, list[str]] = {}
    for layer in program.placed.layers:
        for share in layer.shares:
            found.setdefault(share.device, []).append(layer.node.name)
    return found


def test_a_path_stands_for_all_below_it() -> None:
    found = devices("stem: a, layer1: b, layer2.0: a, layer2.1: b, flat..fc: a")
    assert {name.rpartition(".")[0] for name in found["b"]} == {
        "layer1.0",
        "layer1.1",
        "layer2.1",
    }


def test_the_ends_of_a_range_are_paths() -> None:
    found = devices("stem..layer1.0: a, layer1.1: b, layer2..fc: a")
    assert {name.rpartition(".")[0] for name in found["b"]} == {"layer1.1"}
    inner = devices(
        "stem: a, layer1.0.conv1..layer1.0.conv2: b, layer1.0.add..layer1.1: a,"
        " layer2..fc: a"
    )
    assert inner["b"] == ["layer1.0.conv1", "layer1.0.relu1", "layer1.0.conv2"]


def test_what_when_leaves_out_can_be_named_to_no_effect() -> None:
    left_out = "layer1.0.downsample: b, layer1.0.downsample.0: b"
    found = devices(f"stem..layer1: a, {left_out}, layer2..fc: b")
    assert "layer1.0.add" in found["a"]
    found = devices(
        "stem: a, layer1.0.conv1..layer1.0.downsample: b, layer1.0.add..layer1.1: a,"
        " layer2..fc: a"
    )
    assert found["b"] == ["layer1.0.conv1", "layer1.0.relu1", "layer1.0.conv2"]


@pytest.mark.parametrize(
    ("layers", "code", "message", "help"),
    [
        (
            "stem..layer1: a, layer2..fc: b, layer2.2: a",
            "unknown-layer",
            "there is no layer 'layer2.2'",
            "the nearest name is layer2.1",
        ),
        (
            "stem..layer1: a, layer2..fc: b, layer1.1.downsampl: a",
            "unknown-layer",
            "there is no layer 'layer1.1.downsampl'",
            "the nearest name is layer1.1.downsample",
        ),
        (
            "stem..layer1: a, layer2..fc: b, layer2.0.conv1: a",
            "bad-placement",
            "already placed above: layer2.0.conv1",
            None,
        ),
        (
            "stem: a, layer2..layer1: b, flat..fc: a",
            "bad-placement",
            "layer2 comes after layer1",
            "write layer1..layer2",
        ),
    ],
)
def test_a_wrong_path(layers: str, code: str, message: str, help: str | None) -> None:
    (found,) = refused(NET + TWO % layers)
    assert (found.code, found.message, found.help) == (code, message, help)


def caret(problem: Diagnostic) -> str:
    assert problem.span
    start = problem.span.column - 1
    return problem.span.text[start : start + problem.span.length]


UNIT = """\
blocks:
  unit:
    params: {k: }
    layers: {conv: {op: conv2d, out_channels: 6, kernel_size: $k, stride: 4}}
layers:
  one: {block: unit, with: {k: 1}}
  two: {block: unit, with: {k: 2}, repeat: 1}
"""


def test_what_later_steps_find_in_a_block_is_shown_in_it() -> None:
    placed = (
        TWO.replace("b: {}", "b: {}, c: {}, d: {}") % "one..two: split, flat..fc: a"
    )
    (found,) = refused(f"{HEAD}{UNIT}{END}{placed}")
    assert found.code == "cannot-split"
    assert found.message.startswith("one.conv: ")
    assert found.path == ("blocks", "unit", "layers", "conv")
    assert found.notes[-1] == "used as one at net.yaml:10"


def test_a_warning_in_a_block_is_shown_once() -> None:
    text = f"{HEAD}{UNIT}{END}".replace("{k: 1}", "{k: 2}")
    warnings = compile_text(text).warnings
    assert [warning.message for warning in warnings] == [
        "one.conv: no window reads 8 of 16 rows and columns",
    ]
    assert {caret(warning) for warning in warnings} == {"4"}
    assert {warning.notes for warning in warnings} == {("used as one at net.yaml:10",)}
