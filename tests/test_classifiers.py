"""How a network can end: in a linear layer, or in a convolution and pooling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import compile_text, model, refused

NET = """
specgen: 1
name: Net
input: {{channels: 3, height: 8, width: 8}}
layers:
  conv: {{op: conv2d, out_channels: {classes}, kernel_size: 1}}
  pool: {{op: adaptive_avg_pool2d, output_size: {size}}}
  {more}
"""


def test_a_convolution_and_global_pooling(tmp_path: Path) -> None:
    more = "flat: {op: flatten}\n  prob: {op: softmax}"
    program = compile_text(NET.format(classes=5, size=1, more=more))
    net = model(program, tmp_path)
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("size", "help"),
    [
        (1, "insert {op: flatten} after it: it has 5 scores"),
        (2, "end it with flatten, linear and softmax layers"),
    ],
)
def test_an_ending_in_maps(size: int, help: str) -> None:
    (found,) = refused(NET.format(classes=5, size=size, more=""))
    assert found.message.startswith("the network ends in maps (5, ")
    assert found.help == help


@pytest.mark.parametrize(
    ("shape", "what", "help"),
    [
        (
            "[20, -1]",
            "tokens (20, 16)",
            "end it with select, linear and softmax layers",
        ),
        (
            "[320, 1]",
            "tokens (320, 1)",
            "end it with select, linear and softmax layers",
        ),
        (
            "[2, 2, 5, -1]",
            "values (2, 2, 5, 16)",
            "end it with reshape, linear and softmax layers",
        ),
    ],
)
def test_an_ending_in_tokens_or_values(shape: str, what: str, help: str) -> None:
    more = f"last: {{op: reshape, shape: {shape}}}"
    (found,) = refused(NET.format(classes=5, size=8, more=more))
    assert found.message.startswith(f"the network ends in {what}, ")
    assert found.help == help


def test_tokens_are_made_features_by_a_reshape() -> None:
    more = "tokens: {op: reshape, shape: [20, -1]}\n  flat: {op: flatten}"
    (found,) = refused(NET.format(classes=5, size=8, more=more))
    assert found.help == "{op: reshape, shape: [-1]} also makes features of tokens"
    compile_text(
        NET.format(
            classes=5, size=8, more=more.replace("flatten", "reshape, shape: [-1]")
        )
    )


def test_a_single_score_is_blamed_on_what_makes_it() -> None:
    (found,) = refused(NET.format(classes=1, size=1, more="flat: {op: flatten}"))
    assert found.path == ("layers", "conv", "out_channels")
