"""Values that the fields of ops refuse, and any that they take against torch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from strategies import OPS, Data, output, pairs

from specgen.ops.base import Shape
from specgen.ops.pool import AdaptivePool2d
from specgen.ops.upsampling import ConvTranspose2d


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
        ({"op": "elu", "alpha": 0.0}, "alpha", "greater than 0"),
        ({"op": "softplus", "beta": 0.0}, "beta", "greater than 0"),
        ({"op": "gelu", "approximate": "erf"}, "approximate", "'none' or 'tanh'"),
        ({"op": "stochastic_depth"}, "p", "required"),
        ({"op": "stochastic_depth", "p": 1.0}, "p", "less than 1"),
        ({"op": "upsample", "scale_factor": 1.5}, "scale_factor", "whole number"),
        ({"op": "channel_shuffle", "groups": 1}, "groups", "greater than"),
        ({"op": "reshape", "shape": 4}, "shape", "expected a list"),
        ({"op": "reshape", "shape": []}, "shape", "at least 1 item"),
        ({"op": "reshape", "shape": [-2, 3]}, "shape", "greater than"),
        ({"op": "permute", "dims": [0.5, 1]}, "dims", "valid integer"),
        ({"op": "linear", "out_features": 2, "axis": -1}, "axis", "'last'"),
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


maps = st.tuples(st.just(6), st.integers(1, 9), st.integers(1, 9))
transposed = st.fixed_dictionaries(
    {
        "op": st.just("conv_transpose2d"),
        "out_channels": st.integers(1, 6),
        "kernel_size": pairs(1, 4),
        "stride": pairs(1, 3),
        "padding": pairs(0, 3),
        "output_padding": pairs(0, 2),
        "dilation": pairs(1, 2),
        "groups": st.integers(1, 3),
    }
)


@given(layer=transposed, x=maps)
def test_a_transposed_convolution_is_torchs(layer: Data, x: Shape) -> None:
    op = OPS.validate_python(layer)
    assert isinstance(op, ConvTranspose2d)
    shape = output(layer, x)
    if any(more >= s for more, s in zip(op.output_padding, op.stride, strict=True)):
        assert shape is None  # though torch may take it
        return
    try:
        net = torch.nn.ConvTranspose2d(
            x[0],
            op.out_channels,
            op.kernel_size,
            op.stride,
            op.padding,
            op.output_padding,
            op.groups,
            dilation=op.dilation,
            device="meta",
        )
        expected = tuple(net(torch.empty(1, *x, device="meta")).shape[1:])
    except (RuntimeError, ValueError):
        assert shape is None
        return
    # On the meta device torch makes maps without rows, too.
    assert shape == (expected if all(expected) else None)
    assert op.weight(x) == tuple(net.weight.shape)


@given(size=pairs(1, 9), x=maps, kind=st.sampled_from(["avg", "max"]))
def test_an_adaptive_pool_has_the_windows_of_torch(
    size: int | list[int], x: Shape, kind: str
) -> None:
    op = OPS.validate_python({"op": f"adaptive_{kind}_pool2d", "output_size": size})
    assert isinstance(op, AdaptivePool2d)
    if output({"op": f"adaptive_{kind}_pool2d", "output_size": size}, x) is None:
        assert not all(map(equal, x[1:], op.output_size))
        return
    assert all(map(equal, x[1:], op.output_size))
    image = torch.randn(1, *x)
    window = op.window(x)
    adaptive, pool = (
        (F.adaptive_avg_pool2d, F.avg_pool2d)
        if kind == "avg"
        else (F.adaptive_max_pool2d, F.max_pool2d)
    )
    found = pool(image, window.kernel_size, window.stride)
    torch.testing.assert_close(found, adaptive(image, op.output_size))


def equal(length: int, size: int) -> bool:
    """Whether torch's windows are equal and equally far apart, by their gradients."""
    row = torch.zeros(1, 1, length, requires_grad=True)
    outputs = F.adaptive_avg_pool1d(row, size).flatten()
    windows = [
        torch.autograd.grad(value, row, retain_graph=True)[0].flatten().nonzero()
        for value in outputs
    ]
    starts = [int(window[0]) for window in windows]
    steps = {after - before for before, after in pairwise(starts)}
    return len({len(w) for w in windows}) == 1 and len(steps) <= 1 and 0 not in steps
