"""What differs in blocks: a line for all uses, and the place where it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT

from specgen.compiler import compile_file
from specgen.diff import Difference, compare
from specgen.diff.markdown import markdown
from specgen.diff.text import summary, text

RESNET = Path("specs/zoo/resnet18.yaml")
EPS = "layer1.0 to layer4.1 (8 uses of basic): bn1.eps"


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def changed(*sets: str) -> Difference:
    return compare(compile_file(RESNET), compile_file(RESNET, sets))


def test_a_change_in_a_block_is_one_line() -> None:
    found = changed("blocks.basic.layers.bn1.eps=1e-3")
    assert f"  {EPS}   1e-05 -> 0.001\n      {RESNET}:15\n" in text(found)
    assert summary(found).startswith(f"{EPS} 1e-05 -> 0.001")
    assert markdown(found).count("bn1.eps") == 1
    paths = [change["path"] for change in found.as_json()["changes"]]
    assert paths == [
        f"layers.layer{n}.{index}.bn1.eps" for n in (1, 2, 3, 4) for index in (0, 1)
    ]


def test_uses_that_change_in_other_ways_have_lines_of_their_own() -> None:
    found = changed(
        "blocks.basic.layers.bn1.eps=1e-3",
        "layers.layer2.0.bn1.eps=1e-2",
        "layers.layer2.with.channels=96",
    )
    paths = {change.path for change in found.grouped()}
    assert "layer1.0 to layer4.1 (7 uses of basic): bn1.eps" in paths
    assert "layers.layer2.0.bn1.eps" in paths
    assert "layer2.0 and layer2.1 (2 uses of basic): conv1.out_channels" in paths
    assert "layers.layer2.0.downsample.0.out_channels" in paths


def test_layers_of_a_block_that_come_and_go() -> None:
    drop = "blocks.basic.layers.drop={op: dropout, after: relu1}"
    found = changed(drop, "blocks.basic.layers.relu2=null")
    changes = {change.path: change for change in found.grouped()}
    added = changes["layer1.0 to layer4.1 (8 uses of basic): drop"]
    assert (added.before, added.after) == (None, {"op": "dropout"})
    gone = changes["layer1.0 to layer4.1 (8 uses of basic): relu2"]
    assert (gone.before, gone.after) == ({"op": "relu"}, None)
    assert gone.place == f"{RESNET}:26"
