"""Names that generated code cannot carry."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT, refused

from specgen import names
from specgen.backends.start import FILL
from specgen.backends.torch import HELPERS
from specgen.runtime import compare

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
