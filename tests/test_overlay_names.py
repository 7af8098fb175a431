"""Names in a spec that are also keys of it: `op`, `kind`, `block`, `layers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from overlays import merged, write

BASE = """\
params: {kind: 4, op: 5, block: 6}
blocks:
  block:
    params: {op: relu, channels: 8}
    layers:
      kind: {op: conv2d, out_channels: $channels, kernel_size: 3}
      block: {op: $op}
  other: {layers: [{op: relu}]}
layers:
  stem:
    layers:
      op: {op: conv2d, out_channels: 4, kernel_size: 3}
      kind: {op: max_pool2d, kernel_size: 3, stride: 1}
      block: {op: relu}
  use: {block: block, with: {op: relu, channels: 16}, "0": {with: {op: a, kind: 2}}}
placement: {layers: {op: gpu0, kind: gpu1}}
training: {schedule: {kind: step, epochs: [1], factor: 0.1}}
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(BASE, "base.yaml", head="")


def at(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data[key]
    return data


@pytest.mark.parametrize(
    ("option", "where", "beside"),
    [
        ("params.kind=5", "params", ["op", "block"]),
        ("params.op=7", "params", ["kind", "block"]),
        ("blocks.block.params.op=tanh", "blocks.block.params", ["channels"]),
        ("blocks.block.params.op=tanh", "blocks", ["other"]),
        ("blocks.block.layers.block.op=tanh", "blocks.block.layers", ["kind"]),
        ("layers.stem.layers.op.kernel_size=5", "layers.stem.layers", ["kind"]),
        ("layers.stem.layers.kind.op=tanh", "layers.stem.layers", ["op", "block"]),
        ("layers.stem.layers.kind.stride=2", "layers.stem.layers.kind", ["op"]),
        ("layers.use.with.op=tanh", "layers.use.with", ["channels"]),
        ("layers.use.0.with.op=tanh", "layers.use.0.with", ["kind"]),
        ("placement.layers.op=gpu1", "placement.layers", ["kind"]),
    ],
)
def test_what_stands_beside_such_a_name_stays(
    option: str, where: str, beside: list[str]
) -> None:
    path, _, value = option.partition("=")
    data = merged(Path("base.yaml"), option).data
    before = merged(Path("base.yaml")).data
    assert all(at(data, where)[key] == at(before, where)[key] for key in beside)
    assert str(at(data, path)) == value


def test_options_beside_each_other_are_all_kept() -> None:
    options = ["params.kind=1", "params.op=2", "layers.use.with.channels=4"]
    data = merged(Path("base.yaml"), *options, "layers.use.with.op=tanh").data
    assert data["params"] == {"kind": 1, "op": 2, "block": 6}
    assert data["layers"]["use"]["with"] == {"op": "tanh", "channels": 4}


@pytest.mark.parametrize(
    ("options", "where", "whole"),
    [
        (["stem.layers.kind.op=relu"], "stem.layers.kind", {"op": "relu"}),
        (["use={op: relu}"], "use", {"op": "relu"}),
        (["use={block: other}"], "use", {"block": "other"}),
        (["stem={block: other}"], "stem", {"block": "other"}),
        (
            ["use.kind={op: max_pool2d, kernel_size: 3}", "use.kind={op: relu}"],
            "use.kind",
            {"op": "relu"},
        ),
    ],
)
def test_an_entry_of_another_kind_is_replaced(
    options: list[str], where: str, whole: dict[str, Any]
) -> None:
    sets = [f"layers.{option}" for option in options]
    assert at(merged(Path("base.yaml"), *sets).data["layers"], where) == whole


def test_a_schedule_of_another_kind_is_replaced() -> None:
    data = merged(Path("base.yaml"), "training.schedule={kind: cosine}").data
    assert data["training"]["schedule"] == {"kind": "cosine"}
