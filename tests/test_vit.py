"""ViT-B/16 against modules of torch, arranged and named as in torchvision."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers import ROOT, model
from placed import step, weights
from torch import Tensor, nn

from specgen.backends import torch as backend
from specgen.compiler import Program, compile_file
from specgen.diagnostics import SpecError
from specgen.graph import state_order
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


def test_a_layer_called_layers_can_be_changed() -> None:
    """A group has a key of that name, too."""
    path = "encoder_layer_1.self_attention.num_heads=8"
    graph = small(f"layers.encoder.layers.layers.{path}").graph
    heads = [n.op.model_dump()["num_heads"] for n in graph.nodes if "self" in n.name]
    assert heads == [3, 8]
    with pytest.raises(SpecError) as caught:
        small(f"layers.encoder.layers.{path}")
    (found,) = caught.value.diagnostics
    assert found.message == "there is no layer encoder_layer_1 to change"
    help = "if it is in the layer called layers: layers.layers.encoder_layer_1"
    assert found.help == help


def test_a_new_layer_in_a_group_called_layers_goes_where_its_neighbors_are(
    tmp_path: Path,
) -> None:
    (tmp_path / "net.yaml").write_text("""
specgen: 1
name: Net
input: {channels: 3, height: 2, width: 2}
layers:
  outer:
    layers:
      layers:
        layers:
          conv: {op: conv2d, out_channels: 4, kernel_size: 1}
          relu: {op: relu}
  flat: {op: flatten}
  fc: {op: linear, out_features: 3}
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {outer.layers.conv: gpu1, outer.layers.relu: gpu1, flat..fc: gpu0}
""")
    new = "layers.outer.layers.layers.layers.norm={op: batch_norm2d, after: conv}"
    program = compile_file(tmp_path / "net.yaml", [new])
    where = {share.name: share.device for share in program.placed.shares()}
    assert where["outer.layers.norm"] == "gpu1"


def test_biases_of_attention_are_spared_decay() -> None:
    sets = ("training.optimizer.weight_decay=1e-4",)
    program = small(*sets, "training.optimizer.decay_biases=false")
    recipe = backend.render(
        program.spec, program.source, program.stem, program.placed, ["recipe.py"]
    )["recipe.py"]
    assert recipe.count('name.endswith((".bias", ".in_proj_bias"))') == 2
