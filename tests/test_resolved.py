"""The resolved spec: it builds the same, and says where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import plain_data, read
from strategies import Data, placed_networks

from specgen.cli import main
from specgen.compiler import compile_file, render
from specgen.frontend.resolved import _flow, _text, resolved
from specgen.source import parse

SPECS = sorted(ROOT.glob("specs/*.yaml"))
RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(6, 9),
        "optimizer": st.fixed_dictionaries(
            {"weight_decay": st.just(1e-4)},
            optional={"lr_multipliers": st.just({"weight": 2})},
        ),
        "schedule": st.sampled_from(
            [{"kind": "cosine"}, {"kind": "step", "epochs": [3, 5]}]
        ),
    },
)


RESOLVED = """\
specgen: 1
name: Net
summary: ""
reference: ""

input: {channels: 3, height: 12, width: 12}

layers:
  # The only one.
  conv1:
    op: conv2d
    out_channels: 8
    kernel_size: 3
    bias: true
    stride: 1
    padding: 0
    dilation: 1
    groups: 1
  pool1: {op: max_pool2d, kernel_size: 2, ceil_mode: true, stride: 2, padding: 0}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10, bias: true}

init: {weight: kaiming_normal, bias: 0}

placement:
  devices: {gpu0: {}}
  layers: {}

data: {size: 20, flip: false, std: 64.0}

training:
  epochs: 90
  batch_size: 128
  accumulate: 1
  seed: 0
  optimizer:
    kind: sgd
    lr: 0.01
    momentum: 0.9
    weight_decay: 0.0
    decay_biases: true
    decay_norms: true
    lr_multipliers: {weight: 1.0, bias: 1.0}
  warmup_epochs: 0.0
  label_smoothing: 0.0
  precision: float32
"""


def check(path: Path) -> None:
    """Build a spec and what it resolves to, and compare the files."""
    program = compile_file(path)
    text = resolved(program.spec, program.source)
    path.write_text(resolved(program.spec, program.source, origins=True))
    assert compile_file(path).source.data == parse(text.encode(), "a.yaml").data
    path.write_text(text)
    again = compile_file(path)
    assert resolved(again.spec, again.source) == text
    assert render(again) == render(program)


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_a_shipped_spec_builds_the_same(path: Path, tmp_path: Path) -> None:
    for spec in SPECS:
        (tmp_path / spec.name).write_bytes(spec.read_bytes())
    check(tmp_path / path.name)


@settings(max_examples=15)
@given(placed_networks(), RECIPES, st.booleans())
def test_a_drawn_spec_builds_the_same(data: Data, recipe: Data, alone: bool) -> None:
    if alone:
        del data["placement"]
    with TemporaryDirectory() as folder:
        path = Path(folder, "net.yaml")
        path.write_text(json.dumps(data | {"training": recipe}))
        check(path)


@given(plain_data.filter(lambda data: "null" not in json.dumps(data)))
def test_any_text_is_read_back_unchanged(data: object) -> None:
    source = read(f"a: {_flow(data)}\n")
    assert source.data == {"a": data}
    if isinstance(data, str):
        assert read(f"{_text(data)}: {_text(data)}\n").data == {data: data}


def test_every_default_has_its_key(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        """\
specgen: 1
name: Net
input: {channels: 3, height: 12, width: 12}
layers:
  # The only one.
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3}
  pool1: {op: max_pool2d, kernel_size: 2, ceil_mode: true}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
data: {size: 16}
"""
    )
    program = compile_file(path, ["data.size=20"])
    text = resolved(program.spec, program.source)
    assert text == RESOLVED


def test_origins_are_lines_options_and_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    command = ["show", "specs/alexnet_1gpu.yaml", "--set", "training.epochs=7"]
    assert main([*command, "--origins"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {line[0]: " ".join(line[2:]) for line in lines if len(line) > 3}
    assert found["epochs:"] == "# --set training.epochs=7"
    assert found["conv1..prob:"] == "# specs/alexnet_1gpu.yaml:8"
    assert found["factor:"].startswith("# specs/alexnet.yaml:")
    assert found["precision:"] == "# default"
    assert main([*command, "--resolved"]) == 0
    text = capsys.readouterr().out
    assert "#" not in text.partition("epochs: 7")[2].partition("\n")[0]
    assert parse(text.encode(), "a.yaml").data["training"]["epochs"] == 7


@pytest.mark.parametrize("other", [["--format", "json"], ["--batch-size", "3"]])
def test_the_spec_is_not_the_plan(
    other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", "specs/alexnet.yaml", "--resolved", *other])
    assert ended.value.code == 2
    assert "not the plan" in capsys.readouterr().err
