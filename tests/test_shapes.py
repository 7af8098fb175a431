"""Shape rules and costs against torch itself, on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import compile_data
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import OPS, Data, networks, output, pairs, sides
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from specgen.ops.attention import MultiHeadAttention
from specgen.ops.base import Op, Shape, volume
from specgen.ops.conv import Conv2d
from specgen.ops.linear import Flatten, Linear
from specgen.ops.norm import LocalResponseNorm, SpatialResponseNorm
from specgen.ops.pool import AvgPool2d, MaxPool2d
from specgen.ops.upsampling import ConvTranspose2d

BATCH = 2


def oracle(op: Op, x: Tensor) -> Tensor:
    """What torch makes of x, without anything of specgen but the op's fields."""
    match op:
        case Conv2d(sides=pad):
            x = F.pad(x, (pad.left, pad.right, pad.top, pad.bottom))
            return module(op, x).forward(x)
        case Linear():
            return module(op, x).forward(x)
        case LocalResponseNorm():
            return F.local_response_norm(x, op.size, op.alpha, op.beta, op.k)
        case SpatialResponseNorm():
            squares = F.pad(x.square(), [op.size // 2] * 4)
            windows = squares.unfold(2, op.size, 1).unfold(3, op.size, 1)
            return x / (op.k + op.alpha * windows.mean((-2, -1))) ** op.beta
        case MaxPool2d():
            window = op.kernel_size, op.stride, op.padding
            return F.max_pool2d(x, *window, ceil_mode=op.ceil_mode)
        case AvgPool2d():
            window = op.kernel_size, op.stride, op.padding
            return F.avg_pool2d(x, *window, op.ceil_mode, op.count_include_pad)
        case Flatten():
            return x.flatten(1)
        case ConvTranspose2d():
            weight = torch.empty(op.weight(tuple(x.shape[1:])), device=x.device)
            more = op.padding, op.output_padding, op.groups, op.dilation
            return F.conv_transpose2d(x, weight, None, op.stride, *more)
        case MultiHeadAttention():
            args = x.shape[-1], op.num_heads, op.dropout, op.bias
            attend = nn.MultiheadAttention(*args, batch_first=True, device=x.device)
            return attend.forward(x, x, x)[0]  # with weights: kernels are not counted
    # What is not drawn here with all its fields: see test_every_op.py.
    return torch.empty(len(x), *op.output(tuple(x.shape[1:])), device=x.device)


def module(op: Conv2d | Linear, x: Tensor) -> nn.Conv2d | nn.Linear:
    if isinstance(op, Linear):
        return nn.Linear(x.shape[-1], op.out_features, op.bias, device=x.device)
    window = op.kernel_size, op.stride, 0, op.dilation
    args = x.shape[1], op.out_channels, *window, op.groups, op.bias
    return nn.Conv2d(*args, device=x.device)


def meta(x: Shape) -> Tensor:
    return torch.empty(BATCH, *x, device="meta")


def torch_shape(layer: Data, x: Shape) -> Shape | None:
    """Shape of the output, or None if torch refuses."""
    try:
        return tuple(oracle(OPS.validate_python(layer), meta(x)).shape[1:])
    except (RuntimeError, ValueError):
        return None


maps = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
# Anything that the fields allow, whether it fits or not.
convolutions = st.fixed_dictionaries(
    {
        "op": st.just("conv2d"),
        "out_channels": st.integers(1, 6),
        "kernel_size": pairs(1, 6),
        "stride": pairs(1, 4),
        "padding": sides(),
        "dilation": pairs(1, 3),
        "groups": st.integers(1, 3),
        "bias": st.booleans(),
    }
)
pools = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["max_pool2d", "avg_pool2d"]),
        "kernel_size": pairs(1, 6),
        "stride": pairs(1, 6),
        "padding": pairs(0, 4),
        "ceil_mode": st.booleans(),
    }
)


@given(layer=convolutions | pools, x=maps)
def test_accepts_what_torch_accepts_with_the_same_shape(layer: Data, x: Shape) -> None:
    assert output(layer, x) == torch_shape(layer, x)


@given(layer=pools, x=maps)
def test_uncounted_padding_changes_no_shape(layer: Data, x: Shape) -> None:
    uncounted = layer | {"op": "avg_pool2d", "count_include_pad": False}
    if layer["padding"] not in (0, [0, 0]):
        assert output(uncounted, x) == output(layer, x)
    else:
        assert output(uncounted, x) is None  # it would have no effect


@settings(max_examples=50)
@given(networks())
def test_chains(data: Data) -> None:
    graph = compile_data(data).graph
    x = meta(graph.input_shape)
    for node in graph.nodes:
        with FlopCounterMode(display=False) as counter:
            y = oracle(node.op, x)
        assert node.input_shapes == (tuple(x.shape[1:]),)
        assert node.shape == tuple(y.shape[1:])
        assert 2 * BATCH * node.op.macs(node.x) == counter.get_total_flops()
        if isinstance(node.op, Conv2d | Linear):
            found = dict(module(node.op, x).named_parameters())
            expected = {name: tuple(p.shape) for name, p in found.items()}
            assert node.op.parameters(node.x) == expected
        x = y


@pytest.mark.parametrize(
    ("size", "padding", "expected"),
    [
        (224, 0, 54),
        (227, 0, 55),
        (224, 2, 55),
        (224, {"bottom": 3, "right": 3}, 55),  # what the code of 2012 did
    ],
)
def test_the_first_convolution_of_2012(size: int, padding: Any, expected: int) -> None:
    layer = {"op": "conv2d", "out_channels": 96, "kernel_size": 11, "stride": 4}
    layer |= {"padding": padding}
    x = (3, size, size)
    assert output(layer, x) == torch_shape(layer, x) == (96, expected, expected)


def test_sizes_do_not_overflow() -> None:
    op = OPS.validate_python(
        {"op": "conv2d", "out_channels": 2**20, "kernel_size": 2**20}
    )
    x = (2**20, 2**20, 2**20)
    assert op.macs(x) == 2**80
    assert volume(op.parameters(x)["weight"]) == 2**80
