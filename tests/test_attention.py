"""Attention against torch's own module, tokens, and what cannot work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import compile_text, model, refused
from placed import step, weights
from single import ONE, alone, built, run
from strategies import OPS
from torch import nn

from specgen.compiler import render
from specgen.diagnostics import Diagnostic
from specgen.ops.base import Op
from specgen.ops.weighted import Init, draws
from specgen.verify import verify


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_attention_is_torchs(heads: int, bias: bool, tmp_path: Path) -> None:
    reference: Any = nn.MultiheadAttention(12, heads, bias=bias, batch_first=True)
    layer = {"op": "multi_head_attention", "num_heads": heads, "bias": bias}
    op = OPS.validate_python(layer)
    net = built(alone(op, (5, 12)), tmp_path).double()
    state = reference.double().state_dict()
    assert [f"{ONE}.{leaf}" for leaf in state] == list(net.state_dict())
    net.load_state_dict({f"{ONE}.{leaf}": tensor for leaf, tensor in state.items()})
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 12, dtype=torch.float64, generator=draw)
    x.requires_grad_()
    y, expected = run(net, x), reference(x, x, x)[0]
    torch.testing.assert_close(y, expected)
    direction = torch.randn(y.shape, dtype=torch.float64, generator=draw)
    (found,), (wanted,) = (
        torch.autograd.grad(each, x, direction) for each in (y, expected)
    )
    torch.testing.assert_close(found, wanted)


def test_dropout_is_for_training_only(tmp_path: Path) -> None:
    layer = {"op": "multi_head_attention", "num_heads": 3, "dropout": 0.5}
    net = built(alone(OPS.validate_python(layer), (5, 12)), tmp_path)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run(net, x), run(net, x))
    net.train()
    assert not torch.equal(run(net, x), run(net, x))


def test_it_starts_as_torchs_unless_it_says_otherwise() -> None:
    tensors = attention().tensors((5, 12))
    found = draws(tensors, Init(weight="kaiming_normal", bias=1.0))  # the spec's
    bounds = {leaf: (draw.kind, draw.size) for leaf, draw in found.items()}
    assert bounds == {
        "in_proj_weight": ("uniform", round((6 / 48) ** 0.5, 6)),
        "in_proj_bias": ("constant", 0),
        "out_proj.weight": ("uniform", round(12**-0.5, 6)),
        "out_proj.bias": ("constant", 0),
    }
    own = attention(init={"weight": {"trunc_normal": {"std": 0.02}}, "bias": 0.5})
    said = draws(own.tensors((5, 12)), Init()).values()
    assert {(draw.kind, draw.size) for draw in said} == {
        ("trunc_normal", 0.02),
        ("constant", 0.5),
    }


def attention(**fields: Any) -> Op:
    layer = {"op": "multi_head_attention", "num_heads": 2} | fields
    return OPS.validate_python(layer)


def test_an_init_that_only_attention_could_read_has_no_effect() -> None:
    shaped = NET.replace("LAYER", "multi_head_attention, num_heads: 2")
    stem = "  stem: {op: conv2d, out_channels: 12, kernel_size: 1}\n"
    shaped = shaped.replace(stem, "").replace("shape: [12, -1]", "shape: [4, -1]")
    last = "fc: {op: linear, out_features: 3, init: {weight: uniform, bias: 1}}"
    shaped = shaped.replace("fc: {op: linear, out_features: 3}", last)
    compile_text(shaped)
    (found,) = refused(shaped + "init: {weight: uniform}\n")
    assert found.message == "no layer uses this default weight"


def test_positions_and_the_class_token_start_as_torchvisions() -> None:
    starts = {
        name: draws(
            OPS.validate_python({"op": name}).tensors((5, 12)), Init(weight=3.0)
        )[""]
        for name in ("class_token", "position_embedding")
    }
    assert (starts["class_token"].kind, starts["class_token"].size) == ("constant", 0)
    learned = starts["position_embedding"]
    assert (learned.kind, learned.size) == ("normal", 0.02)


# --- errors


NET = """
specgen: 1
name: Net
input: {channels: 3, height: 2, width: 2}
layers:
  stem: {op: conv2d, out_channels: 12, kernel_size: 1}
  patches: {op: reshape, shape: [12, -1]}
  tokens: {op: permute, dims: [0, 2, 1]}
  one: {op: LAYER}
  two: {op: select, index: 0}
  fc: {op: linear, out_features: 3}
"""


@pytest.mark.parametrize(
    ("layer", "message", "field", "help"),
    [
        (
            "multi_head_attention, num_heads: 5",
            "12 features cannot be divided into 5 heads",
            "num_heads",
            "12 is divisible by 1, 2, 3, 4, 6, 12",
        ),
        (
            "multi_head_attention, num_heads: 2, bias: false, init: {bias: 1}",
            "this layer has no bias to initialize",
            "bias",
            "remove it, or remove `bias: false`",
        ),
        (
            "select, index: 4",
            "there is no token 4: the last one is 3",
            "index",
            None,
        ),
    ],
)
def test_what_cannot_work(layer: str, message: str, field: str, help: str) -> None:
    found = refused(NET.replace("LAYER", layer))[0]
    assert (found.message, found.help) == (f"one: {message}", help)
    assert found.path
    assert found.path[-1] == field


@pytest.mark.parametrize(
    "layer",
    [
        "multi_head_attention, num_heads: 2",
        "class_token",
        "position_embedding",
        "select, index: 0",
    ],
)
def test_what_needs_tokens(layer: str) -> None:
    text = NET.replace("LAYER", layer)
    tokens = [line for line in text.splitlines(True) if "tokens:" in line]
    patches = [line for line in text.splitlines(True) if "patches:" in line]
    maps = text.replace(tokens[0], "").replace(patches[0], "")
    found: Diagnostic = refused(maps)[0]
    name = layer.partition(",")[0]
    assert found.message == (
        f"one: {name} needs tokens (tokens, features), but its input is (12, 2, 2)"
    )
    assert found.help == "make them from maps: a reshape to (C, -1), then a permute"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (
            "multi_head_attention, num_heads: 2",
            "each token reads all tokens: multi_head_attention cannot be split",
        ),
        ("layer_norm, axis: last", "layer_norm needs the whole axis at once"),
    ],
)
def test_what_cannot_be_split(layer: str, reason: str) -> None:
    placement = "placement: {devices: {gpu0: {}, gpu1: {}}, layers:"
    where = f"{placement} {{stem..tokens: gpu0, one: split, two..fc: gpu0}}}}\n"
    found, *_ = refused(NET.replace("LAYER", layer) + where)
    assert found.message.startswith(f"one: {reason}")
    assert found.help == "place it on one device"


def test_positions_are_split_by_tokens(tmp_path: Path) -> None:
    """A checkpoint has them whole."""
    placement = "placement: {devices: {gpu0: {}, gpu1: {}}, layers:"
    where = f"{placement} {{stem..tokens: gpu0, one: split, norm..fc: gpu0}}}}\n"
    text = NET.replace("LAYER", "position_embedding")
    text = text.replace("  two:", "  norm: {op: layer_norm, axis: last}\n  two:")
    program = compile_text(text + where)
    net = model(program, tmp_path)
    assert [p.shape for name, p in net.named_parameters() if name[:3] == "one"] == [
        (1, 2, 12),
        (1, 2, 12),
    ]
    assert net.state_dict()["one"].shape == (1, 4, 12)
    assert [check for check in verify(program) if not check.ok] == []


def test_a_layer_can_be_called_like_a_function_of_the_code() -> None:
    program = compile_text(
        NET.replace("one: {op: LAYER}", "prepend: {op: class_token}").replace(
            "  two:",
            "  SelfAttention: {op: multi_head_attention, num_heads: 2}\n"
            "  parameter: {op: add, from: [prepend, SelfAttention]}\n  two:",
        )
    )
    drawn = weights(program)
    taken = step(program, weights=drawn, dtype=torch.float64)
    assert set(taken.gradients) == set(drawn)


# --- how it reads


def test_each_step_to_tokens_is_a_statement() -> None:
    program = compile_text(NET.replace("LAYER", "class_token"))
    text = render(program)["model.py"].decode()
    _, _, body = text.partition('logits (N, 3) on gpu0."""\n')
    body, _, _ = body.partition("\n\n")
    assert [line.strip().partition("  #")[0] for line in body.splitlines()] == [
        "x = x.to(self.gpu0)",
        "x = self.stem(x)",
        "x = torch.reshape(x, (-1, 12, 4))",
        "x = torch.permute_copy(x, (0, 2, 1))",
        "x = prepend(x, self.one)",
        "x = x[:, 0]",
        "x = self.fc(x)",
        "return x",
    ]


@pytest.mark.parametrize(
    ("devices", "reads"),
    [
        ("stem..fc: gpu0", ["[:, 0]", "[:, 0]", "[:, 3]"]),
        # The other device gets a token once, and each reader drops its axis.
        ("stem..one: gpu0, two..fc: gpu1", ["[:, :1].to(", "[:, 3:].to("]),
    ],
)
def test_a_token_that_a_device_has_is_an_index(devices: str, reads: list[str]) -> None:
    text = NET.replace("{op: LAYER}", "{op: relu}").replace(
        "  fc:",
        "  again: {op: select, from: one, index: 0}\n"
        "  last: {op: select, from: one, index: 3}\n"
        "  sum: {op: add, from: [two, again, last]}\n"
        "  fc:",
    )
    names = "gpu0: {}, gpu1: {}" if "gpu1" in devices else "gpu0: {}"
    where = f"placement: {{devices: {{{names}}}, layers: {{{devices}}}}}\n"
    program = compile_text(text + where)
    code = render(program)["model.py"].decode()
    assert re.findall(r"\[:, [\d:]+\](?:\.to\()?", code) == reads
    assert code.count("torch.squeeze") == (3 if "gpu1" in devices else 0)
    assert [check for check in verify(program) if not check.ok] == []
