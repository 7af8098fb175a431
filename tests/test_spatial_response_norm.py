"""The SpatialResponseNorm of generated models and of ONNX, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import compile_data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from placed import model_text, module

from specgen.backends.onnx import build
from specgen.compiler import Program

Array = NDArray[np.float64]
FIELDS = {"alpha": 1e-3, "beta": 0.75, "k": 1.0}  # those of the 2012 code
STRONG = {"alpha": 2.0, "beta": 0.6, "k": 0.5}  # the window's share is easy to see


def program(x: tuple[int, int, int], size: int, **fields: float) -> Program:
    """Compile the norm, and a classifier after it."""
    norm = {"op": "spatial_response_norm", "size": size, **fields}
    layers = {"norm": norm, "flat": {"op": "flatten"}}
    layers["fc"] = {"op": "linear", "out_features": 2}
    sizes = dict(zip(("channels", "height", "width"), x, strict=True))
    return compile_data({"specgen": 1, "name": "Net", "input": sizes, "layers": layers})


@pytest.fixture(scope="session")
def norm_class() -> Any:
    """Return the class of a generated file."""
    return module(model_text(program((3, 4, 4), 3))).SpatialResponseNorm


def reference(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Divide by size ** 2, even where the window extends past an edge."""
    reach = size // 2
    y = np.empty_like(x)
    _, _, height, width = x.shape
    for row in range(height):
        for column in range(width):
            rows = slice(max(0, row - reach), row + reach + 1)
            columns = slice(max(0, column - reach), column + reach + 1)
            total = (x[:, :, rows, columns] ** 2).sum((2, 3))
            base = k + alpha / size**2 * total
            y[:, :, row, column] = x[:, :, row, column] / base**beta
    return y


@settings(deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, most) for most in (2, 3, 8, 8)]),
    size=st.sampled_from([1, 3, 5, 7]),
    fields=st.sampled_from([FIELDS, STRONG]),
    channels_last=st.booleans(),
    seed=st.integers(0, 999),
)
def test_equals_numpy(
    norm_class: Any,
    shape: tuple[int, ...],
    size: int,
    fields: dict[str, float],
    channels_last: bool,
    seed: int,
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = reference(x.double().numpy(), size, **fields)
    np.testing.assert_allclose(norm_class(size, **fields)(x), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 5])
def test_gradcheck(norm_class: Any, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(norm_class(size, **STRONG), x.requires_grad_())


@settings(deadline=None, max_examples=20)
@given(
    x=st.tuples(st.just(3), st.integers(1, 8), st.integers(1, 8)),
    size=st.sampled_from([1, 3, 5, 7]),
    fields=st.sampled_from([FIELDS, STRONG]),
)
def test_onnxruntime_gives_the_same(
    x: tuple[int, int, int], size: int, fields: dict[str, float]
) -> None:
    model = build(program(x, size, **fields).graph, "net")
    model.graph.output.extend(v for v in model.graph.value_info if v.name == "norm")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).normal(0, 3, (2, *x)).astype(np.float32)
    volume = x[0] * x[1] * x[2]
    weight, bias = (np.zeros(shape, np.float32) for shape in ((2, volume), (2,)))
    feed = {"input": images, "fc.weight": weight, "fc.bias": bias}
    (found,) = session.run(["norm"], feed)
    expected = reference(images.astype(np.float64), size, **fields)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_is_in_the_file_only_if_it_is_used() -> None:
    layers = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 2}}
    sizes = {"channels": 3, "height": 4, "width": 4}
    data = {"specgen": 1, "name": "Net", "input": sizes, "layers": layers}
    assert "ResponseNorm" not in model_text(compile_data(data))
    text = model_text(program((3, 4, 4), 3))
    assert "class SpatialResponseNorm" in text
    assert "class LocalResponseNorm" not in text


def test_sums_are_float32_in_bfloat16(norm_class: Any) -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = norm_class(5, **STRONG)
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, norm(x.float()).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_gradients_are_the_same(norm_class: Any, dtype: torch.dtype) -> None:
    """In one graph; torch 2.11 has a fault that makes such gradients 0."""
    norm = norm_class(5, **STRONG)
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn((2, 2, 3, 6, 6), generator=generator).to(dtype).unbind()
    gradients: list[torch.Tensor] = []
    for function in (norm, compiled):
        y = function(x.requires_grad_())
        gradients += torch.autograd.grad(y, x, grad)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)
