"""What each op refuses, where, and with what help; how each can be split."""

from __future__ import annotations

import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import OPS, Data

from specgen.diagnostics import Diagnostic
from specgen.ops.base import Refusal, Shape, divisible

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
WRONG += [
    (
        "conv2d, out_channels: 8, kernel_size: 3, stride: 2, padding: same",
        "padding can be `same` only with a stride of 1",
        "padding",
        "give it as numbers",
    ),
    (
        "adaptive_avg_pool2d, output_size: [9, 5]",
        "9 columns cannot be pooled to 5 by equal windows",
        "output_size",
        "9 can be pooled to 1, 2, 3, 4, 8, 9",
    ),
    (
        "adaptive_max_pool2d, output_size: 10",
        "9 rows cannot be pooled to 10 by equal windows",
        "output_size",
        "9 can be pooled to 1, 2, 3, 4, 8, 9",
    ),
    (
        f"conv_transpose2d, {CONV[8:]}, groups: 4",
        "6 input channels cannot be divided into 4 groups",
        "groups",
        "6 is divisible by 1, 2, 3, 6",
    ),
    (
        f"conv_transpose2d, {CONV[8:]}, stride: 2, output_padding: 2",
        "an output padding of 2 is not smaller than the stride of 2",
        "output_padding",
        "output_padding can be at most 1 here",
    ),
    (
        f"conv_transpose2d, {CONV[8:]}, padding: [0, 6]",
        "a padding of 6 cuts off all of the width of 11",
        "padding",
        "padding can be at most 5 here",
    ),
    (
        "upsample, scale_factor: 2, align_corners: true",
        "nearest has no corners to align",
        "align_corners",
        None,
    ),
    (
        "reshape, shape: [5, -1]",
        "the 486 values of (6, 9, 9) do not fill (5, -1)",
        "shape",
        "leave one size to the compiler: write -1",
    ),
    (
        "reshape, shape: [-1, 9, -1]",
        "only one size can be -1, which stands for the rest",
        "shape",
        None,
    ),
    ("reshape, shape: [0, 9]", "a size cannot be 0", "shape", None),
    (
        "permute, dims: [0, 2, 1]",
        "dims must be the 4 axes of its input and the batch, but the input is"
        " (6, 9, 9)",
        "dims",
        None,
    ),
    (
        "permute, dims: [0, 2, 2, 1]",
        "dims must have each of 0, 1, 2, 3 once",
        "dims",
        "0 is the batch, 1 the channels: [0, 2, 3, 1]",
    ),
    (
        "permute, dims: [1, 2, 3, 0]",
        "dims must begin with 0, as the batch stays the first axis",
        "dims",
        None,
    ),
    (
        "permute, dims: [0, 1, 2, 3]",
        "this order changes nothing",
        "dims",
        "leave it out",
    ),
    (
        "upsample, scale_factor: 1",
        "a factor of 1 changes nothing",
        "scale_factor",
        None,
    ),
    (
        "channel_shuffle, groups: 6",
        "groups of one channel each stay in their order",
        "groups",
        None,
    ),
    (
        "channel_shuffle, groups: 4",
        "6 channels cannot be divided into 4 groups",
        "groups",
        "6 is divisible by 1, 2, 3, 6",
    ),
]
READ_MAPS = [
    CONV,
    "max_pool2d, kernel_size: 2",
    "avg_pool2d, kernel_size: 2",
    "adaptive_avg_pool2d, output_size: 1",
    f"conv_transpose2d, {CONV[8:]}",
    "upsample, scale_factor: 2",
    "channel_shuffle, groups: 2",
    "dropout2d",
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
        "conv_transpose2d, out_channels: 6, kernel_size: 3, groups: 3",
        "a share of 3 channels cuts through groups of 2",
        "groups",
        "place it on one device",
    ),
    (
        "stochastic_depth, p: 0.1",
        "stochastic_depth drops all channels of an image or none, and devices draw"
        " separately",
        "op",
        "place it on one device",
    ),
    (
        "channel_shuffle, groups: 2",
        "channel_shuffle takes channels from everywhere and cannot be split",
        "op",
        "place it on one device",
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


def refusal(layer: Data, share: range, x: Shape) -> Diagnostic:
    with pytest.raises(Refusal) as caught:
        OPS.validate_python(layer).part(share, x)
    return caught.value.diagnostic


def test_shares_that_cannot_be() -> None:
    reshape = {"op": "reshape", "shape": [4, 3]}
    last = {"op": "linear", "out_features": 4, "axis": "last"}
    for layer, size, x, message in (
        ({"op": "softmax"}, 2, (4,), "softmax needs all classes at once"),
        (
            {"op": "flatten"},
            6,
            (3, 2, 2),
            "a share of 6 features cuts through maps of 4",
        ),
        (reshape, 2, (3, 2, 2), "a share of 2 would cut through channels of its input"),
        (last, 2, (4, 3), "linear on the last axis cannot be split"),
        (
            {"op": "permute", "dims": [0, 2, 1]},
            2,
            (3, 4),
            "permute can be split only if the channels stay in their place",
        ),
    ):
        found = refusal(layer, range(size), x)
        assert found.code == "cannot-split"
        assert found.message.startswith(message)
        assert found.help


def test_every_wrong_layer_is_reported() -> None:
    wrong = "max_pool2d, kernel_size: 3, padding: 2"
    text = NET.format(first=f"one: {{op: {wrong}}}", second=f"two: {{op: {wrong}}}")
    found = refused(text.replace("  last:", "  flat: {op: flatten}\n  last:"))
    assert [place.path for place in found] == [
        ("layers", "one", "padding"),
        ("layers", "two", "padding"),
    ]


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


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, "1"),
        (2, "1 and 2"),
        (127, "1 and 127"),
        (128, "1, 2, 4, 8, 16, 32, 64, 128"),
        (169, "1, 13, 169"),
        (256, "1, 2, 4, 8, 16, 32, 64, 128, ..."),
    ],
)
def test_divisors_are_cut_only_where_there_are_more(number: int, expected: str) -> None:
    assert divisible(number) == f"{number} is divisible by {expected}"
