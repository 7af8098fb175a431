"""Names that generated code cannot carry."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT, compile_text, refused
from op_examples import EXAMPLES
from strategies import OPS

from specgen import names
from specgen.backends.start import FILL
from specgen.backends.torch import HELPERS
from specgen.runtime import compare, onnx_export

NET = """
specgen: 1
name: Net
input: {{channels: 3, height: 4, width: 4}}
layers:
  flat: {{op: flatten}}
  {name}: {{op: linear, out_features: 10}}
data: {{size: 4}}
"""


def test_all_prefixes_of_tensors_that_are_not_weights_are_reserved() -> None:
    prefixes = {f"{part}." for part in names.CHECKPOINT_PARTS}
    assert {compare.VELOCITY, compare.STATISTICS} == prefixes


@pytest.mark.parametrize("name", sorted(names.CHECKPOINT_PARTS))
def test_a_layer_cannot_have_the_name_of_a_checkpoint_part(name: str) -> None:
    (found,) = refused(NET.format(name=name))
    assert found.message == f"{name!r} already names tensors of a checkpoint"


def test_all_that_generated_modules_import_or_define_is_reserved() -> None:
    template = ROOT / "templates" / "model.py.j2"
    defined = r"^(?:def )?([A-Za-z]\w*)(?: = |\()"
    found = {*HELPERS, "OrderedDict"}
    found |= {*re.findall(defined, template.read_text(), re.MULTILINE)}
    backend = ROOT / "specgen" / "backends" / "torch.py"
    found |= {*re.findall(r'table\(\s*"(\w+)"', backend.read_text())}
    found |= {kind.upper() for kind in FILL}  # tables of initial values
    for needs in HELPERS.values():
        found |= {name for imported in needs.values() for name in imported}
    assert {"AXES", "SHARES", "gather", "LayerNorm2d", "distributed"} <= found
    assert found <= names.GLOBALS


OF_TENSORS = """
specgen: 1
name: Net
input: {channels: 3, height: 4, width: 4}
layers:
  conv: {op: conv2d, out_channels: 2, kernel_size: 1}
  maps:
    layers:
      NAME: {op: layer_scale}
  shaped: {op: reshape, shape: [2, -1]}
  tokens:
    layers:
      one: {layers: {NAME: {op: class_token}}}
      two: {layers: {NAME: {op: position_embedding}}}
  flat: {op: reshape, shape: [-1]}
  NAME: {op: linear, out_features: 2}
"""


@pytest.mark.parametrize("name", sorted(names.TENSORS))
def test_a_layer_that_is_a_tensor_cannot_be_called_like_one_of_a_module(
    name: str,
) -> None:
    found = refused(OF_TENSORS.replace("NAME", name))
    taken = f"{name!r} already names a tensor of torch modules, and"
    assert [each.message for each in found] == [
        f"maps.{name}: {taken} layer_scale is itself a tensor",
        f"tokens.one.{name}: {taken} class_token is itself a tensor",
        f"tokens.two.{name}: {taken} position_embedding is itself a tensor",
    ]
    assert {each.help for each in found} == {f"write {name}1"}
    compile_text(OF_TENSORS.replace("NAME", f"{name}1"))


def test_tensors_that_are_known_by_the_ends_of_their_names() -> None:
    leaves = {
        leaf.rpartition(".")[2]
        for layer, x in EXAMPLES
        for leaf in OPS.validate_python(layer).shapes(x)
    }
    known = {leaf for leaf in leaves if leaf.endswith("bias")}
    known |= {end.removeprefix(".") for end in (compare.VARIANCE, onnx_export.COUNT)}
    assert known == names.TENSORS
