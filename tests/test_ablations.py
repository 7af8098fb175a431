"""The paper's ablations differ from AlexNet in what they say, and in nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers import ROOT

from specgen.compiler import Program, compile_file
from specgen.diff import Tier, compare
from specgen.plan import make_plan

FOLDER = ROOT / "specs" / "ablations"
# By path: the value in alexnet.yaml, and in the ablation. None: it is not there.
FIELDS = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2, "groups": 2}
LRN = {"op": "local_response_norm", **FIELDS}
CHANGES: dict[str, dict[str, tuple[Any, Any]]] = {
    "alexnet_no_lrn": {"norm1": (LRN, None), "norm2": (LRN, None)},
    "alexnet_no_overlap": {
        "pool1.kernel_size": (3, 2),
        "pool2.kernel_size": (3, 2),
        "pool5.kernel_size": (3, 2),
    },
    "alexnet_half": {
        "conv1.out_channels": (96, 48),
        "norm1.groups": (2, 1),
        "conv2.out_channels": (256, 128),
        "conv2.groups": (2, 1),
        "norm2.groups": (2, 1),
        "conv3.out_channels": (384, 192),
        "conv4.out_channels": (384, 192),
        "conv4.groups": (2, 1),
        "conv5.groups": (2, 1),
    },
}
# Points of top-1 and top-5 error more than AlexNet's: Sections 3.2, 3.3 and 3.4.
WORSE = {
    "alexnet_half": ("1.7", "1.2"),
    "alexnet_no_lrn": ("1.4", "1.2"),
    "alexnet_no_overlap": ("0.4", "0.3"),
}


def ablation(name: str) -> Program:
    return compile_file(FOLDER / f"{name}.yaml")


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*CHANGES} == {*WORSE}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_what_it_says(name: str) -> None:
    base = "alexnet_1gpu" if name == "alexnet_half" else "alexnet"
    found = compare(compile_file(ROOT / f"specs/{base}.yaml"), ablation(name))
    changes = {
        change.path: (change.before, change.after)
        for change in found.changes
        if change.tier > Tier.SAME
    }
    assert changes == {f"layers.{path}": pair for path, pair in CHANGES[name].items()}
    assert ablation(name).warnings == ()


@pytest.mark.parametrize("name", WORSE)
def test_it_says_what_was_published(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    said = re.findall(r"Published: errors are (.*) \(top-1\) and (.*) \(top-5\)", text)
    assert said == [WORSE[name]]
    assert len(text.splitlines()) <= 10
    page = (ROOT / "docs" / "zoo.md").read_text()
    assert re.findall(rf"^\| `{name}` .* \| (.*) \| (.*) \|$", page, re.M) == said


def test_a_tower_has_about_as_many_parameters() -> None:
    """Footnote 2: conv5 is not halved, so that most parameters stay."""
    program = ablation("alexnet_half")
    plan = make_plan(program.spec, program.placed)
    shapes = {layer.name: layer.output_shape for layer in plan.layers}
    assert shapes["pool5"] == (256, 6, 6)
    assert shapes["fc6"] == shapes["fc7"] == (4096,)
    # 17,472 + 153,728 + 221,376 + 331,968 + 442,624, and AlexNet's fc6 to fc8.
    assert plan.parameters == 1_167_168 + 58_631_144
    assert len(plan.devices) == 1
