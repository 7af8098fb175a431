"""The initial weights are those of the spec, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import compile_text, load, refused
from placed import model_text
from torch import Generator, Tensor
from torch.nn import init

SPEC = """
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
layers:
  conv: {op: conv2d, out_channels: 4, kernel_size: 3, init: {bias: 1234567.25}}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2, init: {weight: {normal: {std: 0.123456789012}}}}
"""
GROUPED = """
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
layers:
  conv: {op: conv2d, out_channels: 6, kernel_size: 3, groups: 3, init: INIT}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2}
PLACE
"""
SPLIT = """
placement:
  devices: {gpu0: {}, gpu1: {}, gpu2: {}}
  layers: {conv..flat: {split: [gpu0, gpu1, gpu2]}, fc: gpu1}
"""
FAN_IN, FAN_OUT = 1 * 9, 6 * 9  # as torch counts for a weight (6, 1, 3, 3)


def test_what_starts_otherwise_is_in_tables(tmp_path: Path) -> None:
    module = load(compile_text(SPEC), tmp_path / "model.py")
    assert module.CONSTANT == {"conv.bias": 1234567.25}
    assert module.NORMAL == {"fc.weight": 0.123456789012}
    net = module.Net(["cpu"])
    assert torch.equal(net.conv.bias, torch.full((4,), 1234567.25))
    assert not net.fc.bias.any()
    assert net.fc.weight.std().item() == pytest.approx(0.1235, rel=0.1)


def relu(function: Callable[..., Tensor], mode: str) -> Callable[..., Tensor]:
    return lambda x, generator: function(
        x, mode=mode, nonlinearity="relu", generator=generator
    )


def within_fan_out(x: Tensor, generator: Generator) -> Tensor:
    bound = 1 / math.sqrt(x[:, 0].numel())
    return init.uniform_(x, -bound, bound, generator)


RULES: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "kaiming_normal": relu(init.kaiming_normal_, "fan_in"),
    "{kaiming_normal: {}}": relu(init.kaiming_normal_, "fan_in"),
    "{kaiming_normal: {mode: fan_out}}": relu(init.kaiming_normal_, "fan_out"),
    "kaiming_uniform": relu(init.kaiming_uniform_, "fan_in"),
    "{kaiming_uniform: {mode: fan_out}}": relu(init.kaiming_uniform_, "fan_out"),
    "xavier_normal": lambda x, generator: init.xavier_normal_(x, generator=generator),
    "xavier_uniform": lambda x, generator: init.xavier_uniform_(x, generator=generator),
    "{normal: {std: 0.5}}": lambda x, generator: init.normal_(x, 0, 0.5, generator),
    "{trunc_normal: {std: 1.5}}": lambda x, generator: init.trunc_normal_(
        x, std=1.5, generator=generator
    ),
    # What nn.Conv2d and nn.Linear do by themselves.
    "uniform": lambda x, generator: init.kaiming_uniform_(
        x, a=math.sqrt(5), generator=generator
    ),
    "{uniform: {mode: fan_out}}": within_fan_out,
    "0.25": lambda x, _: init.constant_(x, 0.25),
    "0": lambda x, _: init.zeros_(x),
}


def network(start: str, folder: Path, place: str = "") -> Any:
    text = GROUPED.replace("INIT", start).replace("PLACE", place)
    module = load(compile_text(text), folder / "model.py")
    return module.Net(["cpu"] * (3 if place else 1), seed=3)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_spec_is_that_of_torch(rule: str, tmp_path: Path) -> None:
    net = network(f"{{weight: {rule}}}", tmp_path)
    generator = torch.Generator().manual_seed(3)
    expected = RULES[rule](torch.empty(6, 1, 3, 3), generator)
    torch.testing.assert_close(net.conv.weight.data, expected, rtol=1e-5, atol=1e-5)
    assert not net.conv.bias.any()


@pytest.mark.parametrize("rule", RULES)
def test_a_seed_starts_the_same_network_when_split(rule: str, tmp_path: Path) -> None:
    one = network(f"{{weight: {rule}, bias: uniform}}", tmp_path).state_dict()
    two = network(f"{{weight: {rule}, bias: uniform}}", tmp_path, SPLIT).state_dict()
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["conv.bias"].unique().numel() == 6


@pytest.mark.parametrize(
    ("rule", "bound"),
    [
        ("uniform", 1 / math.sqrt(FAN_IN)),
        ("{uniform: {mode: fan_out}}", 1 / math.sqrt(FAN_OUT)),
    ],
)
def test_a_bias_has_the_fan_of_its_weight(
    rule: str, bound: float, tmp_path: Path
) -> None:
    net = network(f"{{weight: 0, bias: {rule}}}", tmp_path)
    generator = torch.Generator().manual_seed(3)
    expected = init.uniform_(torch.empty(6), -bound, bound, generator)
    torch.testing.assert_close(net.conv.bias.data, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_spec_is_for_all_layers(rule: str, tmp_path: Path) -> None:
    init = f"init: {{weight: {rule}}}"
    text = GROUPED.replace("INIT", "{}").replace("PLACE", init)
    module = load(compile_text(text), tmp_path / "model.py")
    generator = torch.Generator().manual_seed(0)
    net = module.Net(["cpu"])
    for weight in (net.conv.weight, net.fc.weight):
        expected = RULES[rule](torch.empty_like(weight), generator)
        torch.testing.assert_close(weight.data, expected, rtol=1e-5, atol=1e-5)
    assert not {"NORMAL", "UNIFORM", "TRUNC_NORMAL", "CONSTANT"} & {*vars(module)}


def test_a_table_is_short_where_layers_repeat(tmp_path: Path) -> None:
    conv = "{op: conv2d, out_channels: 3, kernel_size: 1, init: {bias: 0.5}}"
    layers = f"""\
layers:
  stem: {conv}
  many: {{repeat: 12, layers: [{{layers: {{a: {conv}, b: {conv}}}}}]}}
  few: {{layers: [{{op: relu}}, {conv}, {conv}, {{op: relu}}, {conv}]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 2}}
"""
    program = compile_text(SPEC.partition("layers:")[0] + layers)
    module = load(program, tmp_path / "model.py")
    learned = [name for node in program.graph.nodes for name in node.parameters]
    biases = [name for name in learned if name.endswith("bias")][:-1]
    assert sorted(module.CONSTANT) == sorted(biases)
    assert {*module.CONSTANT.values()} == {0.5}
    table = model_text(program).partition("CONSTANT = {\n")[2].partition("}\n\n")[0]
    assert [line.strip() for line in table.splitlines()] == [
        '"stem.bias": 0.5,',
        '**{f"many.{i}.0.a.bias": 0.5 for i in range(12)},',
        '**{f"many.{i}.0.b.bias": 0.5 for i in range(12)},',
        '"few.1.bias": 0.5,',
        '"few.2.bias": 0.5,',
        '"few.4.bias": 0.5,',
    ]


@pytest.mark.parametrize(
    ("start", "message", "help"),
    [
        ("weight: {}", "give exactly one of normal, uniform, trunc_normal", None),
        (
            "bias: {normal: {std: 1}, uniform: {}}",
            "give exactly one of normal, uniform",
            None,
        ),
        (
            "weight: kaiming_norm",
            "expected a mapping, kaiming_normal, kaiming_uniform, xavier_normal,"
            " xavier_uniform, uniform or a number",
            "the nearest name is kaiming_normal",
        ),
        ("bias: kaiming_normal", "expected a number, uniform or a mapping", None),
    ],
)
def test_a_start_that_means_nothing(start: str, message: str, help: str | None) -> None:
    (found,) = refused(GROUPED.replace("INIT", f"{{{start}}}").replace("PLACE", ""))
    assert found.message.startswith(message)
    assert found.help == help
    assert found.path
    assert found.path[:3] == ("layers", "conv", "init")
