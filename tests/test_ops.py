"""What each op refuses, where, and with what help; how each can be split."""

from __future__ import annotations

import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from strategies import OPS

from specgen.ops.base import Refusal

NET = """
specgen: 1
name: Net
input: {{channels: 3, height: 9, width: 9}}
layers:
  six: {{op: conv2d, out_channels: 6, kernel_size: 1}}
  {first}
  {second}
  last: {{op: linear, out_features: 2}}
"""
FLAT = "flat: {op: flatten}"

CONV = "conv2d, out_channels: 8, kernel_size: 3"
WRONG = [
    (
        f"{CONV}, groups: 4",
        "6 input channels cannot be divided into 4 groups",
        "groups",
        "6 is divisible by 1, 2, 3, 6",
    ),
    (
        "conv2d, out_channels: 8, kernel_size: 3, groups: 3",
        "8 output channels cannot be divided into 3 groups",
        "groups",
        "8 is divisible by 1, 2, 4, 8",
    ),
    (
        "conv2d, out_channels: 8, kernel_size: [3, 12], padding: {left: 1}",
        "a window of 12 does not fit the padded width of 10",
        "kernel_size",
        "kernel_size can be at most 10 here, or add padding",
    ),
    (
        "conv2d, out_channels: 8, kernel_size: 5, dilation: 3",
        "a window of 13 does not fit the padded height of 9",
        "kernel_size",
        "kernel_size can be at most 3 here, or add padding",
    ),
    (
        f"{CONV}, bias: false, init: {{bias: 1}}",
        "this layer has no bias to initialize",
        "init.bias",
        "remove it, or remove `bias: false`",
    ),
    (
        "max_pool2d, kernel_size: 12, padding: 1",
        "a window of 12 does not fit the padded height of 11",
        "kernel_size",
        "kernel_size can be at most 11 here",
    ),
    (
        "max_pool2d, kernel_size: 3, padding: 2",
        "a padding of 2 is more than half the window of 3",
        "padding",
        "padding can be at most 1 here",
    ),
    (
        "avg_pool2d, kernel_size: [3, 10]",
        "a window of 10 does not fit the padded width of 9",
        "kernel_size",
        "kernel_size can be at most 9 here",
    ),
    (
        "avg_pool2d, kernel_size: 3, count_include_pad: false",
        "without padding there is nothing to leave out of the count",
        "count_include_pad",
        None,
    ),
    (
        "local_response_norm, size: 3, groups: 4",
        "6 channels cannot be divided into 4 groups",
        "groups",
        "6 is divisible by 1, 2, 3, 6",
    ),
    (
        "linear, out_features: 3",
        "linear needs features, but its input is (6, 9, 9)",
        "op",
        "insert a layer {op: flatten} before it",
    ),
    (
        "softmax",
        "softmax needs features, but its input is (6, 9, 9)",
        "op",
        "insert a layer {op: flatten} before it",
    ),
]
READ_MAPS = [
    CONV,
    "max_pool2d, kernel_size: 2",
    "avg_pool2d, kernel_size: 2",
    "local_response_norm, size: 3",
    "spatial_response_norm, size: 3",
    "flatten",
]
SPLIT = """
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {six: gpu0, one: split, flat..last: gpu0}
"""
CANNOT_SPLIT = [
    (
        "conv2d, out_channels: 9, kernel_size: 3",
        "9 channels cannot be shared equally by 2 devices",
        "",
        "9 can be shared by 1, 3, 9 devices",
    ),
    (
        "conv2d, out_channels: 6, kernel_size: 3, groups: 3",
        "a share of 3 channels cuts through groups of 2",
        "groups",
        "2 devices can share 1, 2 groups, or a multiple of 2",
    ),
    (
        "local_response_norm, size: 3, groups: 3",
        "a window over 2 channels cannot be split into shares of 3",
        "groups",
        "with groups: 2 each share is normalized separately (a different function),"
        " or place the layer on one device",
    ),
    (
        "local_response_norm, size: 3",
        "a window over 6 channels cannot be split into shares of 3",
        "op",
        "with groups: 2 each share is normalized separately (a different function),"
        " or place the layer on one device",
    ),
]


def check(
    text: str, message: str, field: str, help: str | None, notes: tuple[str, ...] = ()
) -> None:
    (found,) = refused(text)
    assert found.message == f"one: {message}"
    assert found.path == ("layers", "one", *filter(None, field.split(".")))
    assert (found.help, found.notes) == (help, notes)
    assert found.span
    before = found.span.text[: found.span.column - 1]
    assert before.startswith("  one: ")
    assert before.endswith(f"{(field or 'one').rpartition('.')[2]}: ")


@pytest.mark.parametrize(("layer", "message", "field", "help"), WRONG)
def test_refusals(layer: str, message: str, field: str, help: str | None) -> None:
    text = NET.format(first=f"one: {{op: {layer}}}", second=FLAT)
    check(text, message, field, help)


@pytest.mark.parametrize("layer", READ_MAPS)
def test_maps_come_before_the_flatten(layer: str) -> None:
    op = layer.split(",")[0]
    check(
        NET.format(first=FLAT, second=f"one: {{op: {layer}}}"),
        f"{op} needs maps (channels, height, width), but its input is (486,)",
        "op",
        "place it before the flatten layer",
    )


@pytest.mark.parametrize(("layer", "message", "field", "help"), CANNOT_SPLIT)
def test_what_cannot_be_split(layer: str, message: str, field: str, help: str) -> None:
    text = NET.format(first=f"one: {{op: {layer}}}", second=FLAT) + SPLIT
    check(text, message, field, help, ("placement.layers.one asks for this",))


def test_softmax_and_flatten_that_cannot_be_split() -> None:
    softmax, flatten = (
        OPS.validate_python({"op": op}) for op in ("softmax", "flatten")
    )
    with pytest.raises(Refusal, match="softmax needs all classes at once"):
        softmax.part(range(2), (4,))
    with pytest.raises(Refusal, match="a share of 6 features cuts through maps of 4"):
        flatten.part(range(6), (3, 2, 2))


def test_every_wrong_layer_is_reported() -> None:
    wrong = "max_pool2d, kernel_size: 3, padding: 2"
    text = NET.format(first=f"one: {{op: {wrong}}}", second=f"two: {{op: {wrong}}}")
    found = refused(text.replace("  last:", "  flat: {op: flatten}\n  last:"))
    assert [place.path for place in found] == [
        ("layers", "one", "padding"),
        ("layers", "two", "padding"),
    ]


@pytest.mark.parametrize(
    ("layer", "place", "message"),
    [
        ({"op": "local_response_norm", "size": 4}, "size", "the window must be odd"),
        ({"op": "local_response_norm", "size": 3, "k": 0.0}, "k", "greater than 0"),
        ({"op": "spatial_response_norm", "size": 4}, "size", "the window must be odd"),
        ({"op": "spatial_response_norm", "size": 3, "groups": 2}, "groups", "Extra"),
        ({"op": "dropout", "p": 1.0}, "p", "less than 1"),
        ({"op": "dropout", "p": -0.1}, "p", "greater than or equal to 0"),
        ({"op": "max_pool2d", "kernel_size": 0}, "kernel_size", "greater than"),
        ({"op": "linear", "out_features": True}, "out_features", "valid integer"),
        ({"op": "relu", "inplace": True}, "inplace", "Extra inputs"),
        ({"op": "max_pool2d"}, "kernel_size", "required"),
        ({"op": "linear", "out_features": 2**40}, "out_features", "less than"),
    ],
)
def test_values_are_checked(layer: dict[str, object], place: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OPS.validate_python(layer)
    assert any(
        place in error["loc"] and message in error["msg"]
        for error in caught.value.errors()
    )


@given(groups=st.sampled_from([1, 2, 4]), devices=st.sampled_from([1, 2, 4]))
def test_a_split_convolution_reads_its_groups(groups: int, devices: int) -> None:
    op = OPS.validate_python(
        {"op": "conv2d", "out_channels": 16, "kernel_size": 1, "groups": groups}
    )
    x = (8, 3, 3)
    size = 16 // devices
    for index in range(devices):
        span = range(index * size, (index + 1) * size)
        part = op.part(span, x)
        (reads,) = part.reads
        assert reads
        # Output channel c belongs to group c // (16 / groups).
        touched = {channel * groups // 16 for channel in span}
        read = {c for c in range(8) if c * groups // 8 in touched}
        assert set(reads) == read
        assert part.op.output((len(reads), 3, 3)) == (size, 3, 3)
        weight = part.op.parameters((len(reads), 3, 3))["weight"]
        assert weight == (size, 8 // groups, 1, 1)
