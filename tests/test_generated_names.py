"""Names of a spec that generated code also uses: it is well formed and runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from helpers import compile_text, model, refused, write
from judges import mypy, ruff
from torch import nn

from specgen import names

HEAD = "specgen: 1\ninput: {channels: 3, height: 8, width: 8}\nname: "
CONV = "{op: conv2d, out_channels: 4, kernel_size: 1}"
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 3}\n"
JOIN = f"layers: {{n: {CONV}, sum: {{op: add, from: [n, input]}}}}"
TWO = "placement: {devices: {gpu0: {}, gpu1: {}}, layers: {"

SPECS = {
    "attributes_of_sequential": f"""Net
layers:
  group: {{layers: {{append: {CONV}, pop: {{op: relu}}, insert: {CONV}}}}}
""",
    "blocks_like_helpers": f"""Net
blocks:
  ordered_dict: {{{JOIN}}}
  sync_batch_norm2d:
    layers: {{n: {{op: batch_norm2d, synchronized: true}}}}
  layer_norm2d:
    layers: {{n: {{op: layer_norm, axis: channels}}}}
  net: {{{JOIN}}}
layers:
  stem: {CONV}
  one: {{block: ordered_dict}}
  two: {{block: sync_batch_norm2d}}
  three: {{block: layer_norm2d}}
  four: {{block: net}}
  group: {{layers: {{a: {CONV}}}}}
""",
    "params_like_classes_and_devices": f"""Net
{TWO}stem: gpu0, a.i..a.c: gpu1, a.d..mid: gpu0, b.i..b.c: gpu1, b.d..fc: gpu0}}}}
blocks:
  inner:
    params: {{kernel: 3}}
    layers:
      c:
        op: conv2d
        out_channels: 4
        kernel_size: $kernel
        padding: $(kernel // 2)
      s: {{op: add, from: [c, input]}}
  outer:
    params: {{Inner: 3, gpu0: 4, self: 4, int: 2}}
    layers:
      i: {{block: inner, with: {{kernel: $Inner}}}}
      c: {{op: conv2d, out_channels: $gpu0, kernel_size: 1, groups: $int}}
      d: {{op: conv2d, out_channels: $self, kernel_size: 1}}
      s: {{op: concat, from: [d, input]}}
layers:
  stem: {CONV}
  a: {{block: outer}}
  mid: {CONV}
  b: {{block: outer, with: {{Inner: 5, gpu0: 8, self: 6, int: 4}}}}
""",
    "inputs_like_variables": f"""Net
blocks:
  several:
    inputs: [a, self, Skip, torch]
    layers:
      c: {{op: conv2d, out_channels: 4, kernel_size: 1, from: self}}
      act: {{op: sigmoid}}
      d: {{op: concat, from: [act, a, Skip, torch]}}
layers:
  stem: {CONV}
  F: {CONV}
  torch: {CONV}
  x: {CONV}
  s: {{block: several, from: [stem, F, torch, x]}}
""",
    "numbers_in_lists_in_lists": f"""Net
layers:
  stem: {CONV}
  group:
    layers:
      - layers:
          - layers:
              - {CONV}
              - {{op: relu}}
              - {{op: add, from: ["0", "1"]}}
          - layers:
              - {CONV}
              - {{op: multiply, from: ["0", "0"]}}
          - {{op: add, from: ["0", "1"]}}
""",
    "numbers_and_names_in_a_list": f"""Net
layers:
  list:
    layers:
      - {CONV}
      - {{op: relu, name: act}}
      - {{op: layer_scale}}
      - {CONV[:-1]}, name: last}}
      - {{op: add, from: [last, act]}}
""",
    "a_list_of_functions": """Net
blocks:
  acts: {layers: [{op: leaky_relu, negative_slope: 0.3}, {op: elu}]}
layers:
  one: {block: acts}
""",
    "long_names": f"""Net
blocks:
  {"a" * 40}:
    layers:
      {"b" * 40}: {CONV}
      {"c" * 30}: {{op: max_pool2d, kernel_size: 1, from: input}}
      {"d" * 40}: {{op: batch_norm2d}}
      {"e" * 40}: {{op: concat, from: [{"b" * 40}, {"d" * 40}]}}
layers:
  {"f" * 30}: {{block: {"a" * 40}}}
""",
    "long_paths": f"""Net
{TWO}{"g" * 40}..t: split, flat..fc: gpu1}}}}
layers:
  {"g" * 40}:
    layers:
      {"h" * 40}:
        repeat: 3
        layers:
          {"i" * 39}: {CONV[:-1]}, init: {{weight: {{normal: {{std: 0.5}}}}, bias: 1}}}}
  g:
    repeat: 4
    layers:
      {"h" * 35}:
        layers: [{{op: conv2d, out_channels: 4, kernel_size: 1, init: {{bias: 0.125}}}}]
  t: {{op: conv_transpose2d, out_channels: 4, kernel_size: 2}}
""",
    "a_block_that_moves": f"""Net
{TWO}stem: split, b.n: gpu1, b.sum: gpu0, c: split, flat..fc: gpu1}}}}
blocks:
  b: {{{JOIN}}}
layers:
  stem: {CONV}
  b: {{block: b}}
  c: {{block: b}}
""",
    "split_along_another_axis": f"""Net
{TWO}stem..up: split, flat..fc: gpu0}}}}
layers:
  stem: {CONV}
  up: {{op: conv_transpose2d, out_channels: 4, kernel_size: 2}}
""",
}


def test_the_generated_code_is_well_formed_and_runs(tmp_path: Path) -> None:
    for name, text in SPECS.items():
        program = compile_text(f"{HEAD}{text}{END}")
        net = model(program, tmp_path / name)
        assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 3), name
        path = write(program, tmp_path / "all" / name) / "model.py"
        path.rename(tmp_path / "all" / f"{name}.py")
    ruff("check", tmp_path)
    ruff("format --check", tmp_path)
    mypy(*(f"{name}.py" for name in SPECS), cwd=tmp_path / "all")


def public(found: Iterable[str]) -> set[str]:
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize(
    ("container", "known"),
    [
        (nn.Sequential, names.SEQUENTIAL_ATTRIBUTES),
        (nn.ModuleDict, names.DICT_ATTRIBUTES),
    ],
)
def test_the_list_of_names_of_a_container(container: type, known: set[str]) -> None:
    assert public(dir(container)) - public(dir(nn.Module)) == known


@pytest.mark.parametrize("key", ["name: pop", "repeat: 1, names: pop"])
def test_an_item_called_like_a_method_of_its_list(key: str) -> None:
    items = f"- {CONV}\n      - {{op: relu, {key}}}\n      - {{op: relu}}"
    text = f"{HEAD}Net\nlayers:\n  list:\n    layers:\n      {items}\n{END}"
    found = refused(text)[0]
    assert found.message == "'pop' is already an attribute of torch.nn.ModuleDict"
    assert found.span
    assert found.span.line == 8


@pytest.mark.parametrize(
    "name", ["AXES", "LayerNorm2d", "OrderedDict", "SyncBatchNorm2d"]
)
def test_a_network_called_like_what_its_file_defines(name: str) -> None:
    (found,) = refused(f"{HEAD}{name}\nlayers:\n{END}")
    assert found.message == f"{name!r} is already used in the generated code"


NAMED = {
    "a layer in a block, and a device": (
        f"{{gpu0: {CONV}, s: {{op: add, from: [gpu0, input]}}}}",
        "b.gpu0: gpu1, b.s: gpu0",
        "'gpu0' is both a layer and a device",
    ),
    "a share in a block, and a device": (
        f"{{gpu: {CONV}, s: {{op: add, from: [gpu, input]}}}}",
        "b: split",
        "gpua is also b.gpu on gpua",
    ),
    "a share in a block, and a group": (
        f"{{c: {CONV}, ca: {{layers: [{CONV}]}}, s: {{op: add, from: [c, ca]}}}}",
        "b.c: split, b.ca..b.s: gpu1",
        "b.ca is also b.c on gpu0",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_names_of_parts_of_a_block(case: str) -> None:
    layers, where, message = NAMED[case]
    placement = f"{TWO}stem: gpu1, {where}, flat..fc: gpu1}}}}\n"
    if "gpua" in message:
        placement = placement.replace("gpu0", "gpua")
    blocks = f"blocks: {{b: {{layers: {layers}}}}}\n"
    text = f"{HEAD}Net\n{placement}{blocks}layers:\n  stem: {CONV}\n  b: {{block: b}}\n"
    (found,) = refused(f"{text}{END}")
    assert found.message == message
    assert found.span


def test_a_layer_called_like_the_image_hides_nothing_and_explains_nothing() -> None:
    """What reads it reads something unknown, not the image."""
    wide = CONV.replace("4", "6")
    layers = f"  stem: {wide}\n  input: {{op: relu}}\n  two: {wide[:-1]}, groups: 2}}\n"
    (found,) = refused(f"{HEAD}Net\nlayers:\n{layers}{END}")
    assert found.message == "'input' already names the image that the network reads"
