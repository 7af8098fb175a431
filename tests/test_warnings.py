"""What is valid but probably a mistake, and what looks like it but is common."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ROOT, compile_text
from hypothesis import assume, given
from hypothesis import strategies as st

from specgen import cli
from specgen.cli import terminal
from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic
from specgen.ops.base import Window
from specgen.passes.warnings import count_read

SPEC = """
specgen: 1
name: Net
input: {channels: 3, height: 32, width: 32}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
  LAYER
  flat: {op: flatten}
  fc1: {op: linear, out_features: 10}
  prob: {op: softmax}
"""


def warnings(layer: str = "relu1: {op: relu}", more: str = "") -> list[Diagnostic]:
    found = compile_text(SPEC.replace("LAYER", layer) + more).warnings
    assert all(warning.warning and warning.span for warning in found)
    return list(found)


def codes(*spec: str) -> list[str]:
    return [warning.code for warning in warnings(*spec)]


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").glob("*.yaml")), ids=str)
def test_our_specs_give_no_warnings(spec: Path) -> None:
    assert compile_file(spec).warnings == ()


@pytest.mark.parametrize(
    ("fields", "unread"),
    [
        ("kernel_size: 2, stride: 4", "16 of 32 rows and columns"),
        ("kernel_size: [3, 2], stride: [3, 4]", "16 of 32 columns"),
        ("kernel_size: 20, stride: 20", "12 of 32 rows and columns"),
        (
            "kernel_size: 2, stride: 4, padding: {top: 1}",
            "17 of 32 rows and 16 of 32 columns",
        ),
        ("kernel_size: 9, stride: 8, dilation: 1", "7 of 32 rows and columns"),
        ("kernel_size: 3, stride: 2, dilation: 2", "16 of 32 rows and columns"),
        ("kernel_size: 5, stride: 4, dilation: [4, 1]", "24 of 32 rows"),
    ],
)
def test_values_that_no_window_reads(fields: str, unread: str) -> None:
    (first,) = warnings(f"conv2: {{op: conv2d, out_channels: 8, {fields}}}")
    assert first.code == "unread-values"
    assert first.message == f"conv2: no window reads {unread}"
    assert first.path == ("layers", "conv2", "stride")


@pytest.mark.parametrize(
    "layer",
    [
        "conv2: {op: conv2d, out_channels: 8, kernel_size: 1, stride: 2}",
        "pool1: {op: max_pool2d, kernel_size: 3}",  # 2 of 32
        "pool1: {op: max_pool2d, kernel_size: 20, ceil_mode: true}",
        "conv2: {op: conv2d, out_channels: 8, kernel_size: 5, dilation: 4, stride: 3}",
        "conv2: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 2, padding: 2}",
    ],
)
def test_common_things_give_no_warning(layer: str) -> None:
    assert codes(layer) == []


def test_dropout_at_the_end() -> None:
    last = "flat: {op: flatten}\n  fc1: {op: linear, out_features: 10}"
    text = SPEC.replace("LAYER", "relu1: {op: relu}")
    dropped = text.replace(last, f"{last}\n  drop1: {{op: dropout}}")
    for spec in (dropped, dropped.replace("  prob: {op: softmax}\n", "")):
        (found,) = compile_text(spec).warnings
        assert (found.code, found.path) == ("last-dropout", ("layers", "drop1", "op"))
    assert codes("drop1: {op: dropout}") == []


@pytest.mark.parametrize(
    ("size", "expected"), [(64, []), (65, ["small-crops"]), (256, ["small-crops"])]
)
def test_crops_far_smaller_than_images(size: int, expected: list[str]) -> None:
    assert codes("relu1: {op: relu}", f"data: {{size: {size}}}\n") == expected


def test_crops_that_are_not_square() -> None:
    text = SPEC.replace("LAYER", "relu1: {op: relu}") + "data: {size: 600}\n"
    (warning,) = compile_text(text.replace("width: 32", "width: 256")).warnings
    shown = "crops of 32 x 256 show 2.3% of an image of 600 x 600"
    assert warning.message == shown


@given(st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 4), st.integers(1, 30))
def test_what_windows_read_is_counted(
    sizes: tuple[int, int, int], padding: int, length: int
) -> None:
    kernel, stride, dilation = sizes
    reach = dilation * (kernel - 1) + 1
    assume(length + 2 * padding >= reach)
    count = (length + 2 * padding - reach) // stride + 1
    window = Window((kernel,) * 2, (stride,) * 2, (padding,) * 4, (dilation,) * 2)
    read = {
        row
        for index in range(count)
        for tap in range(kernel)
        if 0 <= (row := index * stride + tap * dilation - padding) < length
    }
    assert count_read(window, 0, length, count) == len(read)


def test_a_size_of_its_own_gives_no_warning() -> None:
    text = SPEC.replace("LAYER", "relu1: {op: relu}")
    wide = text.replace("height: 32, width: 32", "height: 8, width: 224")
    assert compile_text(wide).warnings == ()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("data: {std: 1}", ["large-values"]),
        ("data: {std: 16}", []),
        ("data: {std: 1}\ninit: {weight: {normal: {std: 0.01}}}", []),
        ("data: {std: 1}\ninit: {weight: kaiming_normal}", ["large-values"]),
    ],
)
def test_values_too_large_for_the_start(more: str, expected: list[str]) -> None:
    assert codes("relu1: {op: relu}", f"{more}\n") == expected


@pytest.mark.parametrize(
    ("groups", "first", "second", "expected"),
    [
        (2, "split", "split", ["groups-across-devices"]),
        (4, "split", "split", []),
        (8, "split", "split", []),
        (4, "split", "{split: [d, c, b, a]}", ["groups-across-devices"]),
        (4, "a", "split", []),  # what is on one device must be sent to the others
        (1, "split", "split", []),
        (2, "{split: [a, b]}", "{split: [a, b]}", []),
    ],
)
def test_groups_on_devices(
    groups: int, first: str, second: str, expected: list[str]
) -> None:
    conv2 = f"conv2: {{op: conv2d, out_channels: 8, kernel_size: 3, groups: {groups}}}"
    placement = (
        "placement:\n  devices: {a: {}, b: {}, c: {}, d: {}}\n"
        f"  layers: {{conv1: {first}, conv2: {second}, flat..prob: a}}\n"
    )
    if "a, b]" in first:
        placement = placement.replace(", c: {}, d: {}", "")
    assert codes(conv2, placement) == expected


def biased(count: int) -> str:
    """Return layers with so many biases that norms take away."""
    conv = "{op: conv2d, out_channels: 8, kernel_size: 1}"
    layers = [
        f"  c{i}: {conv}\n  n{i}: {{op: batch_norm2d}}\n" for i in range(1, count)
    ]
    return f"norm1: {{op: batch_norm2d}}\n{''.join(layers)}"


@pytest.mark.parametrize(
    ("count", "shown", "note"),
    [
        (3, 3, ()),
        (4, 1, ("and 3 more: lines 8, 10, 12",)),
        (20, 1, ("and 19 more: lines 8, 10, 12, ",)),
    ],
)
def test_of_many_warnings_of_one_kind_the_first_is_shown(
    count: int, shown: int, note: tuple[str, ...]
) -> None:
    crops = "\ndata: {size: 300}\n"
    found = warnings(biased(count), crops)
    assert len(found) == count + 1
    *biases, other = terminal.folded(found)
    assert (biases[0].message, len(biases)) == (found[0].message, shown)
    assert other == found[-1]
    (said,) = biases[0].notes or ("",)
    assert said.startswith(note[0] if note else "")
    assert said.endswith(", ...") == (count > 17)


def test_programs_are_given_all_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(SPEC.replace("LAYER", biased(9)))
    cli.main(["show", str(spec), "--errors", "json"])
    assert len(json.loads(capsys.readouterr().err)) == 9
    cli.main(["show", str(spec)])
    said = capsys.readouterr().err
    assert said.count("warning[") == 1
    assert "\n9 warnings\n" in said


def test_errors_are_all_shown() -> None:
    found = [replace(each, warning=False) for each in warnings(biased(9))]
    assert [*terminal.folded(found)] == found
