"""Attention against torch's own module, and ViT-B/16 as torchvision builds it."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, compile_text, model, refused
from placed import step, weights
from single import ONE, alone, built, run
from strategies import OPS
from torch import Tensor, nn

from specgen.compiler import Program, compile_file
from specgen.diagnostics import Diagnostic
from specgen.graph import state_order
from specgen.ops.weighted import Init, draws
from specgen.passes import cost
from specgen.verify import verify

SPEC = ROOT / "specs" / "zoo" / "vit_b_16.yaml"
SIZES = {"hidden_dim": 24, "mlp_dim": 40, "num_heads": 3, "num_layers": 2}
SIDE = 48


# --- ViT, in modules of torch: torchvision's structure and names


class Layer(nn.Module):
    """torchvision.models.vision_transformer.EncoderBlock."""

    def __init__(self, size: int, wide: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(size, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(size, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(size, eps=1e-6)
        wider, back = nn.Linear(size, wide), nn.Linear(wide, size)
        none = nn.Dropout(0.0)
        self.mlp = nn.Sequential(wider, nn.GELU(), none, back, none)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + y
        z: Tensor = x + self.mlp(self.ln_2(x))
        return z


class Encoder(nn.Module):
    """torchvision.models.vision_transformer.Encoder."""

    def __init__(self, tokens: int, size: int, wide: int, heads: int, count: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, size))
        layers = [Layer(size, wide, heads) for _ in range(count)]
        named = {f"encoder_layer_{i}": layer for i, layer in enumerate(layers)}
        self.layers = nn.Sequential(OrderedDict(named))
        self.ln = nn.LayerNorm(size, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return y


class ViT(nn.Module):
    """torchvision.models.VisionTransformer with patches of 16 x 16."""

    def __init__(self, side: int, size: int, wide: int, heads: int, count: int):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, size, 16, 16)
        self.class_token = nn.Parameter(torch.empty(1, 1, size))
        tokens = (side // 16) ** 2 + 1
        self.encoder = Encoder(tokens, size, wide, heads, count)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(size, 1000)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        y: Tensor = self.heads(self.encoder(x)[:, 0])
        return y


def test_it_has_the_keys_and_shapes_of_torchvisions() -> None:
    with torch.device("meta"):
        state = ViT(224, 768, 3072, 12, 12).state_dict()
    graph = compile_file(SPEC).graph
    shapes = {k: own.shape for node in graph.nodes for k, own in node.tensors.items()}
    assert state_order(shapes) == list(state)
    assert shapes == {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert cost.parameters(graph) == 86_567_656
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_weight" in state


@cache
def small(*more: str) -> Program:
    sets = [f"params.{name}={value}" for name, value in SIZES.items()]
    sets += [f"input.{side}={SIDE}" for side in ("height", "width")]
    return compile_file(SPEC, [*sets, *more])


def filled(net: nn.Module) -> dict[str, Tensor]:
    """Draw weights that depend on nothing but their keys."""
    found = {}
    for key, tensor in net.state_dict().items():
        draw = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        values = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
        fan = tensor.numel() // len(tensor)
        found[key] = values / fan**0.5 if tensor.dim() > 1 else 1 + 0.1 * values
    return found


@torch.no_grad()
def test_it_computes_what_torchs_modules_do(tmp_path: Path) -> None:
    net = model(small(), tmp_path).double().eval()
    reference = ViT(SIDE, *SIZES.values()).double().eval()
    state = filled(reference)
    reference.load_state_dict(state)
    net.load_state_dict(state)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64, generator=draw)
    logits = reference(images)
    torch.testing.assert_close(net(images), logits, rtol=0, atol=1e-9)
    assert len(torch.unique(logits)) == logits.numel()


def pipelined() -> Program:
    """Place the first layers of the encoder on one device, the others on another."""
    placement = """placement={devices: {gpu0: {}, gpu1: {}}, layers: {
        conv_proj..class_token: gpu0, encoder.pos_embedding..encoder.dropout: gpu0,
        encoder.layers.encoder_layer_0: gpu0, encoder.layers.encoder_layer_1: gpu1,
        encoder.ln: gpu1, first..prob: gpu1}}"""
    return small(" ".join(placement.split()))


def test_it_is_verified_on_two_devices() -> None:
    program = pipelined()
    (move,) = [
        m for each in program.placed.layers[1:] for m in each.moves if not m.local
    ]
    assert move.shape == (10, 24)
    assert [check for check in verify(program) if not check.ok] == []


def test_a_step_on_two_devices_is_that_on_one() -> None:
    drawn = weights(small())
    one, two = (
        step(program, weights=drawn, dtype=torch.float64)
        for program in (small(), pipelined())
    )
    torch.testing.assert_close(two.weights, one.weights)
    assert all(gradient.any() for gradient in two.gradients.values())


def test_only_the_class_token_crosses_to_what_reads_it() -> None:
    program = small(
        "placement={devices: {gpu0: {}, gpu1: {}}, layers: {conv_proj..class_token:"
        " gpu0, encoder: gpu0, first..prob: gpu1}}"
    )
    (edge,) = cost.traffic(program.placed).items()
    assert edge == (("first", "gpu0", "gpu1"), 4 * 24)


# --- the op


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


def test_it_starts_as_torchs_unless_the_spec_says_otherwise() -> None:
    op = OPS.validate_python({"op": "multi_head_attention", "num_heads": 2})
    found = draws(op.tensors((5, 12)), Init())
    bounds = {leaf: (draw.kind, draw.size) for leaf, draw in found.items()}
    assert bounds == {
        "in_proj_weight": ("uniform", round((6 / 48) ** 0.5, 6)),
        "in_proj_bias": ("constant", 0),
        "out_proj.weight": ("uniform", round(12**-0.5, 6)),
        "out_proj.bias": ("constant", 0),
    }
    said = draws(op.tensors((5, 12)), Init(weight="kaiming_normal", bias=1.0))
    assert {draw.kind for draw in said.values()} == {"normal", "constant"}
    assert said["in_proj_bias"].size == said["out_proj.bias"].size == 1


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
            "there is no token 4 of 4; they count from 0",
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
    assert found.help == "make them of maps: a reshape to (C, -1), then a permute"


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
