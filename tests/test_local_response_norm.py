"""The LocalResponseNorm that generated models contain, against NumPy in float64."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
import torch
from helpers import import_file
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

TEMPLATES = Path(__file__).parent.parent / "templates"
MODULE = """\
from __future__ import annotations
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
{% include "_local_response_norm.py.j2" %}
"""
ALEXNET = {"alpha": 1e-4, "beta": 0.75, "k": 2.0}
STRONG = {"alpha": 0.5, "beta": 0.75, "k": 1.0}  # the window's share is easy to see
Array = NDArray[np.float64]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a module with the class, rendered as the compiler does."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)
    path = tmp_path_factory.mktemp("model") / "rendered_norm.py"
    path.write_text(environment.from_string(MODULE).render(fused=True))
    module = import_file(path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(
            sys.modules, module.__name__, module
        )  # as torch.compile asks
        yield module


@pytest.fixture(scope="session")
def norm_class(rendered: Any) -> Any:
    return rendered.LocalResponseNorm


def reference(
    x: Array, grad: Array, size: int, alpha: float, beta: float, k: float, groups: int
) -> tuple[Array, Array, Array]:
    """Return y, dx and the base of the power, by a matrix of who sees whom."""
    channel = np.arange(x.shape[1])
    near = abs(channel[:, None] - channel) <= size // 2
    group = channel // (len(channel) // groups)
    window = alpha / size * (near & (group[:, None] == group))
    base = k + np.einsum("dc,nc...->nd...", window, x**2)
    term = np.einsum("dc,nd...->nc...", window, grad * x * base ** (-beta - 1))
    return x * base**-beta, grad * base**-beta - 2 * beta * x * term, base


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def run(
    norm: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y and dx."""
    x = x.detach().requires_grad_()
    y = norm(x)
    (dx,) = torch.autograd.grad(y, x, grad)
    return y.detach(), dx


def assert_close(actual: Tensor, expected: Array, tolerance: float = 1e-6) -> None:
    """Compare relative to the largest element."""
    error = abs(array(actual) - expected).max(initial=0)
    assert error <= tolerance * abs(expected).max(initial=0)


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@settings(deadline=None)
@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 9),
    groups=st.integers(1, 3),
    places=st.lists(st.integers(1, 4), max_size=3),
    size=st.sampled_from([1, 3, 5, 7, 21]),
    alpha=st.sampled_from([1e-4, 0.1, 2.0]),
    beta=st.sampled_from([0.5, 0.75, 1.0, 0.6]),
    k=st.sampled_from([1.0, 2.0]),
    channels_last=st.booleans(),
    seed=st.integers(0, 999),
)
def test_equals_numpy(
    norm_class: Any,
    batch: int,
    channels: int,
    groups: int,
    places: list[int],
    size: int,
    alpha: float,
    beta: float,
    k: float,
    channels_last: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, channels * groups, *places)
    x, grad = torch.randn((2, *shape), generator=generator) * 3
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    norm = norm_class(size, alpha=alpha, beta=beta, k=k, groups=groups)
    y, dx = run(norm, x, grad)
    expected_y, expected_dx, base = reference(
        array(x), array(grad), size, alpha, beta, k, groups
    )
    np.testing.assert_allclose(array(y), expected_y, rtol=1e-6)
    largest_term = abs(array(grad) * base**-beta).max(
        initial=0
    )  # the other may cancel it
    np.testing.assert_allclose(array(dx), expected_dx, rtol=0, atol=1e-6 * largest_term)


@pytest.mark.parametrize("values", [ALEXNET, STRONG])
def test_equals_torch(norm_class: Any, values: dict[str, float]) -> None:
    x, grad = draw(2, 3, 12, 5, 5).unbind()
    expected = run(nn.LocalResponseNorm(5, **values), x, grad)
    for ours, theirs in zip(
        run(norm_class(5, **values), x, grad), expected, strict=True
    ):
        assert_close(ours, array(theirs))


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradcheck(norm_class: Any, beta: float, groups: int) -> None:
    norm = norm_class(5, alpha=0.5, beta=beta, k=1.0, groups=groups)
    x = draw(2, 8, 2, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(norm, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_sums_in_float32(norm_class: Any, dtype: torch.dtype) -> None:
    norm = norm_class(5, **STRONG, groups=2)
    x, grad = (draw(2, 3, 8, 4, 4) * 2).to(dtype).unbind()
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.autocast("cpu", dtype), hooks:
        y, dx = run(norm, x, grad)
    assert y.dtype == dx.dtype == dtype
    expected = reference(array(x), array(grad), 5, **STRONG, groups=2)
    rounding = torch.finfo(dtype).eps  # twice that of one rounding, at the end
    assert_close(y, expected[0], rounding)
    assert_close(dx, expected[1], rounding)
    assert saved[1].dtype == torch.float32
    assert_close(saved[1].flatten(1, 2), expected[2])


def test_keeps_the_memory_format(norm_class: Any) -> None:
    norm = norm_class(5, **ALEXNET, groups=2)
    x = draw(2, 8, 3, 3)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for tensor in run(norm, x.contiguous(memory_format=memory_format), x):
            assert tensor.is_contiguous(memory_format=memory_format)


def test_takes_views(norm_class: Any) -> None:
    norm = norm_class(5, **STRONG, groups=2)
    x = draw(2, 16, 6, 6)[:, ::2, 1:4, ::2]
    y, dx = run(norm, x, torch.ones(()).expand(x.shape))
    expected = reference(array(x), np.ones(x.shape), 5, **STRONG, groups=2)
    assert_close(y, expected[0])
    assert_close(dx, expected[1])


def test_keeps_the_output_of_relu_and_one_more_tensor(norm_class: Any) -> None:
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    net = nn.Sequential(nn.ReLU(), norm_class(5, **ALEXNET, groups=2))
    x = draw(2, 8, 3, 3)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.no_grad():
            net(x.requires_grad_())
        net(x.detach())
        assert not storages
        y = net(x)
    assert list(storages.values()) == [x.nbytes] * 2
    assert y.data_ptr() not in storages


def test_has_no_state_and_works_on_any_device_and_width(norm_class: Any) -> None:
    norm = norm_class(5, **STRONG)
    assert not norm.state_dict()
    for channels in (4, 9, 2):
        assert norm(torch.empty(2, channels, 3, device="meta")).device.type == "meta"
        x = draw(2, channels, 3)
        expected = reference(array(x), array(x), 5, **STRONG, groups=1)
        assert_close(copy.deepcopy(norm)(x), expected[0])


def test_refuses_channels_that_groups_do_not_divide(norm_class: Any) -> None:
    with pytest.raises(RuntimeError, match=r"\[2, -1\].*dim 1 \(7\)"):
        norm_class(5, **ALEXNET, groups=2)(draw(1, 7, 2, 2))


def test_refuses_a_second_derivative(norm_class: Any) -> None:
    x = draw(1, 4, 2, 2).requires_grad_()
    loss = norm_class(5, **ALEXNET)(x).square().sum()
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(dx.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_gradients_are_the_same(norm_class: Any, dtype: torch.dtype) -> None:
    """In one graph; torch 2.11 has a fault that makes such gradients 0."""
    norm = norm_class(5, **STRONG, groups=2)
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    x, grad = draw(2, 3, 8, 4, 4, dtype=dtype).unbind()
    for ours, theirs in zip(run(compiled, x, grad), run(norm, x, grad), strict=True):
        assert ours.dtype == dtype
        assert_close(ours, array(theirs), 1e-6 if dtype == torch.float32 else 1e-2)


class Fused(nn.Module):
    """A norm as it runs on CUDA, on the CPU and without a compiler unless asked."""

    norm: Any

    def __init__(self, rendered: Any, norm: nn.Module) -> None:
        super().__init__()
        self.rendered, self.norm = rendered, norm

    def forward(self, x: Tensor) -> Tensor:
        x = torch.unflatten(x, 1, (self.norm.groups, -1))
        y: Tensor = self.rendered._normalize(x, self.norm, True).flatten(1, 2)
        return y


@pytest.fixture
def eager(rendered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what CUDA would compile as it is written."""
    monkeypatch.setattr(rendered, "_compile", lambda function: function)


@settings(deadline=None, max_examples=50)
@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 9),
    groups=st.integers(1, 3),
    places=st.lists(st.integers(1, 4), max_size=3),
    size=st.sampled_from([1, 3, 5, 21]),
    beta=st.sampled_from([0.75, 0.6]),
    channels_last=st.booleans(),
)
def test_the_fused_formula_is_the_same(
    rendered: Any,
    batch: int,
    channels: int,
    groups: int,
    places: list[int],
    size: int,
    beta: float,
    channels_last: bool,
) -> None:
    x, grad = draw(2, batch, channels * groups, *places, dtype=torch.float64) * 3
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    norm = rendered.LocalResponseNorm(size, alpha=0.5, beta=beta, k=1.0, groups=groups)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rendered, "_compile", lambda function: function)
        fused = run(Fused(rendered, norm), x, grad)
    for ours, theirs in zip(fused, run(norm, x, grad), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_formula_saves_x_only(
    rendered: Any, eager: None, dtype: torch.dtype
) -> None:
    """In the dtype and memory format of x."""
    fused = Fused(rendered, rendered.LocalResponseNorm(5, **STRONG, groups=2))
    x = draw(2, 8, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y, dx = run(fused, x, x)
    assert [tensor.data_ptr() for tensor in saved] == [x.data_ptr()]
    for tensor in (y, dx):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_formula_compiles(rendered: Any, dtype: torch.dtype) -> None:
    """Alone, as on CUDA, and inside a compiled network."""
    norm = rendered.LocalResponseNorm(5, **STRONG, groups=2)
    x, grad = draw(2, 3, 8, 4, 4, dtype=dtype).unbind()
    fused = Fused(rendered, norm)
    whole = torch.compile(fused, backend="aot_eager", fullgraph=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        compiled = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
        monkeypatch.setattr(rendered, "_compile", functools.cache(compiled))
        found = run(fused, x, grad), run(whole, x, grad)
    expected = run(norm, x, grad)
    for its in found:
        for ours, theirs in zip(its, expected, strict=True):
            assert ours.dtype == dtype
            assert_close(ours, array(theirs), 1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_formula_ends_in_a_copy(rendered: Any, dtype: torch.dtype) -> None:
    """Or torch 2.11 compiles networks in which its gradient is 0."""
    norm = rendered.LocalResponseNorm(5, **ALEXNET, groups=2)
    x = torch.unflatten(draw(2, 8, 3, 3, dtype=dtype), 1, (2, -1))
    steps = make_fx(lambda x: rendered._output(x, norm))(x).graph.nodes
    *_, last, _ = steps  # the one after it returns it
    assert last.target == torch.ops.aten._to_copy.default


def test_the_fused_formula_moves_nine_tensors(
    rendered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kernel forward, two backward: nothing is stored between but the term."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    profile: Any = importlib.import_module("gpu_profile")
    norm = rendered.LocalResponseNorm(5, **ALEXNET, groups=2)
    x = torch.randn(2, 32, 6, 6).contiguous(memory_format=torch.channels_last)
    x = torch.unflatten(x, 1, (2, -1))
    functions = rendered._output, rendered._term, rendered._gradient
    for count, function in enumerate(functions, start=1):
        compiled: Any = torch.compile(function, dynamic=True)
        with profile.kernels() as moved:
            compiled(x, norm, *(x.clone() for _ in range(count - 1)))
        # A few bytes more are sizes.
        assert moved == [pytest.approx((1 + count) * x.nbytes, rel=0.01)]


def test_cuda_without_a_compiler_takes_the_steps_of_the_cpu(
    rendered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise RuntimeError("Cannot find a working triton installation")

    monkeypatch.setattr(rendered, "_compile", missing)
    rendered._can_compile.cache_clear()
    assert not rendered._can_compile()
    rendered._can_compile.cache_clear()
