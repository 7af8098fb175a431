"""Stochastic depth in training: whole images, drawn as dropout draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from single import ONE, alone, built
from strategies import OPS
from torch import Tensor

IMAGES = 400
X = (3, 2, 2)


def trained(p: float, folder: Path) -> Any:
    op = OPS.validate_python({"op": "stochastic_depth", "p": p})
    return built(alone(op, X), folder).get_submodule(ONE).train()


def images() -> Tensor:
    return torch.rand(IMAGES, *X, requires_grad=True) + 0.5


@pytest.mark.parametrize("p", [0.0, 0.25])
def test_images_are_kept_or_zeroed_as_a_whole(p: float, tmp_path: Path) -> None:
    layer, x = trained(p, tmp_path), images()
    torch.manual_seed(0)
    factor = (layer(x) / x).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    kept = factor[:, 0] > 0
    torch.testing.assert_close(factor[kept], torch.full_like(factor[kept], 1 / (1 - p)))
    assert (~kept).double().mean().item() == pytest.approx(p, abs=0.1)


def test_a_seed_gives_the_same_draws_and_gradients(tmp_path: Path) -> None:
    layer, x = trained(0.5, tmp_path), images()
    torch.manual_seed(1)
    first = layer(x)
    other = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(other, first)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, first / x)


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    x = images()
    assert trained(0.5, tmp_path).eval()(x) is x
