"""The plan against the published figures of AlexNet, and the table that shows it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import ROOT, compile_text, spec_text

from specgen import cli
from specgen.backends import report
from specgen.compiler import Program

ALEXNET = spec_text("alexnet")
LAYERS = ALEXNET.partition("placement:")[0]
FOUR = """
placement:
  devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}}
  layers: {conv1..flat: {split: [gpu0, gpu1]}, fc6..drop7: split, fc8..prob: gpu3}
"""


def plan(program: Program) -> dict[str, Any]:
    return report.plan(program.spec, program.placed)


def table(program: Program) -> str:
    return report.table(program.spec, program.placed)


@pytest.fixture(scope="module")
def alexnet() -> dict[str, Any]:
    return plan(compile_text(ALEXNET))


def column(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {layer["name"]: layer[key] for layer in content["layers"]}


def test_keys_and_order(alexnet: dict[str, Any]) -> None:
    assert list(alexnet) == [
        "name",
        "input_shape",
        "output_shape",
        "parameters",
        "macs",
        "layers",
        "devices",
        "traffic",
    ]
    assert list(alexnet["layers"][0]) == [
        "name",
        "op",
        "inputs",
        "input_shapes",
        "output_shape",
        "parameters",
        "macs",
        "devices",
    ]
    assert list(alexnet["traffic"][0]) == ["before", "from", "to", "bytes_per_image"]
    assert json.loads(json.dumps(alexnet)) == alexnet  # lists, not tuples


def test_layers_are_logical_and_linked(alexnet: dict[str, Any]) -> None:
    names = list(column(alexnet, "op"))
    assert " ".join(names) == (
        "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5"
        " relu5 pool5 flat fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob"
    )
    assert list(column(alexnet, "inputs").values()) == [
        [name] for name in ["input", *names[:-1]]
    ]
    outputs = [alexnet["input_shape"], *column(alexnet, "output_shape").values()]
    assert list(column(alexnet, "input_shapes").values()) == [
        [shape] for shape in outputs[:-1]
    ]
    assert column(alexnet, "op")["norm1"] == "local_response_norm"


def test_shapes(alexnet: dict[str, Any]) -> None:
    assert (alexnet["name"], alexnet["input_shape"]) == ("AlexNet", [3, 224, 224])
    assert alexnet["output_shape"] == [1000]
    shapes = column(alexnet, "output_shape")
    weighted = {name: shapes[name] for name, n in nonzero(alexnet, "parameters")}
    assert weighted == {
        "conv1": [96, 55, 55],
        "conv2": [256, 27, 27],
        "conv3": [384, 13, 13],
        "conv4": [384, 13, 13],
        "conv5": [256, 13, 13],
        "fc6": [4096],
        "fc7": [4096],
        "fc8": [1000],
    }
    assert shapes["pool1"] == [96, 27, 27]
    assert shapes["pool2"] == [256, 13, 13]
    assert shapes["pool5"] == [256, 6, 6]
    # Units as people count them: each output of a layer with weights.
    assert sum(map(volume, weighted.values())) == 659_272


def nonzero(content: dict[str, Any], key: str) -> list[tuple[str, int]]:
    return [(name, number) for name, number in column(content, key).items() if number]


def volume(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def test_parameters_and_macs(alexnet: dict[str, Any]) -> None:
    assert dict(nonzero(alexnet, "parameters")) == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }
    assert dict(nonzero(alexnet, "macs")) == {
        "conv1": 105_415_200,
        "conv2": 223_948_800,
        "conv3": 149_520_384,
        "conv4": 112_140_288,
        "conv5": 74_760_192,
        "fc6": 37_748_736,
        "fc7": 16_777_216,
        "fc8": 4_096_000,
    }
    assert alexnet["parameters"] == 60_965_224
    assert alexnet["macs"] == 724_406_816


def test_towers_and_traffic(alexnet: dict[str, Any]) -> None:
    devices = column(alexnet, "devices")
    assert devices["conv1"] == devices["drop7"] == ["gpu0", "gpu1"]
    assert devices["fc8"] == devices["prob"] == ["gpu0"]
    # Half of everything each, but for fc8.
    half = (60_965_224 - 4_097_000) // 2
    assert alexnet["devices"] == [
        {"name": "gpu0", "parameters": half + 4_097_000},
        {"name": "gpu1", "parameters": half},
    ]
    edges = [tuple(edge.values()) for edge in alexnet["traffic"]]
    assert edges == [
        ("conv3", "gpu0", "gpu1", 86_528),
        ("conv3", "gpu1", "gpu0", 86_528),
        ("fc6", "gpu0", "gpu1", 18_432),
        ("fc6", "gpu1", "gpu0", 18_432),
        ("fc7", "gpu0", "gpu1", 8_192),
        ("fc7", "gpu1", "gpu0", 8_192),
        ("fc8", "gpu1", "gpu0", 8_192),
    ]
    assert sum(count for *_, count in edges) == 234_496


def test_placement_changes_only_where_layers_are(alexnet: dict[str, Any]) -> None:
    one = plan(compile_text(LAYERS))
    assert one["traffic"] == []
    assert one["devices"] == [{"name": "gpu0", "parameters": 60_965_224}]
    placed = {"devices", "traffic"}
    assert drop(one, placed) == drop(alexnet, placed)
    assert [drop(layer, placed) for layer in one["layers"]] == [
        drop(layer, placed) for layer in alexnet["layers"]
    ]


def drop(content: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    keys = keys | {"layers"}
    return {key: value for key, value in content.items() if key not in keys}


def test_without_groups_there_are_more_parameters() -> None:
    assert plan(compile_text(LAYERS.replace(", groups: 2", "")))["parameters"] == (
        62_378_344
    )


def test_traffic_of_four_devices_stands_in_order() -> None:
    content = plan(compile_text(LAYERS + FOUR))
    edges = [tuple(edge.values()) for edge in content["traffic"]]
    names = [f"gpu{index}" for index in range(4)]
    pairs = [(a, b) for a in names for b in names if a != b]
    assert edges == [
        ("conv3", "gpu0", "gpu1", 86_528),
        ("conv3", "gpu1", "gpu0", 86_528),
        *(("fc6", *pair, 18_432) for pair in pairs if pair[0] in ("gpu0", "gpu1")),
        *(("fc7", *pair, 4_096) for pair in pairs),
        *(("fc8", name, "gpu3", 4_096) for name in names[:3]),
    ]


def test_table() -> None:
    lines = table(compile_text(ALEXNET)).splitlines()
    assert max(map(len, lines)) <= 88
    assert not any(line != line.rstrip() for line in lines)
    assert lines[0] == "AlexNet: AlexNet as published, two towers on two GPUs"
    for row in (
        "input 3 x 224 x 224",
        "conv1 conv2d 96 x 55 x 55 34,944 <1% 105,415,200 15% gpu0 gpu1",
        "pool5 max_pool2d 256 x 6 x 6 gpu0 gpu1",
        "fc6 linear 4096 37,752,832 62% 37,748,736 5% gpu0 gpu1",
        "total 24 layers 60,965,224 724,406,816",
        "gpu1 28,434,112 47%",
        "conv3 gpu0 gpu1 86,528",
        "gpu1 gpu0 86,528",
        "total 234,496",
    ):
        assert row in squeezed(lines)


def squeezed(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def test_table_of_one_device_ends_with_the_layers() -> None:
    lines = squeezed(table(compile_text(LAYERS)).splitlines())
    assert lines[-1] == "total 24 layers 60,965,224 724,406,816"


def test_table_of_four_devices_joins_equal_edges() -> None:
    lines = squeezed(table(compile_text(LAYERS + FOUR)).splitlines())
    assert "fc6 gpu0 gpu1..gpu3 3 x 18,432" in lines
    assert "gpu1 gpu0 gpu2 gpu3 3 x 18,432" in lines
    assert "relu6 relu 4096 gpu0..gpu3" in lines
    assert "total 345,088" in lines


def test_a_summary_cannot_write_to_the_terminal() -> None:
    text = LAYERS.replace("summary: ", 'summary: "\\e[31m\\nred" #')
    assert table(compile_text(text)).splitlines()[0] == "AlexNet: [31m red"


@pytest.mark.parametrize(
    "images", ["0", "-1", "x", "1e3", "1048577", "1000000000000000000", "9" * 5000]
)
def test_a_batch_that_no_spec_could_have(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(ROOT / "specs/alexnet_mini.yaml")
    assert cli.main(["show", path, "--batch-size", "1048576"]) == 0
    with pytest.raises(SystemExit, match="2"):
        cli.main(["show", path, "--batch-size", images])
    _, said = capsys.readouterr()
    assert said.endswith(f"{images[:30]!r} is not a whole number from 1 to 1048576\n")
