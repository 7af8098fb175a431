"""The plan against the published figures of AlexNet, and the table that shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers import ROOT, compile_text, spec_text

from specgen import cli
from specgen.backends import report
from specgen.compiler import Program, compile_file
from specgen.plan import make_plan

ALEXNET = spec_text("alexnet")
LAYERS = ALEXNET.partition("placement:")[0]
FOUR = """
placement:
  devices: {gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}}
  layers: {conv1..flat: {split: [gpu0, gpu1]}, fc6..drop7: split, fc8..prob: gpu3}
"""


def plan(program: Program) -> dict[str, Any]:
    """Return the plan as someone who reads its JSON sees it."""
    content = make_plan(program.spec, program.placed).as_json()
    read: dict[str, Any] = json.loads(json.dumps(content))
    return read


def table(program: Program, images: int | None = None) -> str:
    made = make_plan(program.spec, program.placed, images)
    return report.table(made, details=images is not None)


@pytest.fixture(scope="module")
def alexnet() -> dict[str, Any]:
    return plan(compile_text(ALEXNET))


def column(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {layer["name"]: layer[key] for layer in content["layers"]}


def test_keys_and_order(alexnet: dict[str, Any]) -> None:
    assert list(alexnet) == [
        "name",
        "summary",
        "input_shape",
        "output_shape",
        "parameters",
        "macs",
        "images",
        "layers",
        "devices",
        "traffic",
        "data",
        "training",
    ]
    assert list(alexnet["layers"][0]) == [
        "name",
        "op",
        "inputs",
        "input_shapes",
        "output_shape",
        "window",
        "groups",
        "tensors",
        "parameters",
        "macs",
        "devices",
        "local",
        "receptive_field",
    ]
    assert list(alexnet["devices"][0]) == ["name", "parameters", "memory"]
    assert list(alexnet["traffic"][0]) == [
        "before",
        "from",
        "to",
        "values",
        "bytes_per_image",
        "bytes_per_step",
    ]


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
    # Half of everything each, except for fc8.
    half = (60_965_224 - 4_097_000) // 2
    assert [(d["name"], d["parameters"]) for d in alexnet["devices"]] == [
        ("gpu0", half + 4_097_000),
        ("gpu1", half),
    ]
    edges = crossing(alexnet)
    assert edges == [
        ("conv1", "gpu0", "gpu1", 4 * 3 * 224 * 224),  # the image
        ("conv3", "gpu0", "gpu1", 86_528),
        ("conv3", "gpu1", "gpu0", 86_528),
        ("fc6", "gpu0", "gpu1", 18_432),
        ("fc6", "gpu1", "gpu0", 18_432),
        ("fc7", "gpu0", "gpu1", 8_192),
        ("fc7", "gpu1", "gpu0", 8_192),
        ("fc8", "gpu1", "gpu0", 8_192),
    ]
    assert sum(count for *_, count in edges) == 836_608


def crossing(content: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("before", "from", "to", "bytes_per_image")
    return [tuple(edge[key] for key in keys) for edge in content["traffic"]]


def test_placement_changes_only_where_layers_are(alexnet: dict[str, Any]) -> None:
    one = plan(compile_text(LAYERS))
    assert one["traffic"] == []
    assert [device["parameters"] for device in one["devices"]] == [60_965_224]
    placed = {"devices", "local", "traffic"}
    placed |= {"data", "training"}  # LAYERS has no recipe
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


def test_traffic_of_four_devices_is_in_order() -> None:
    content = plan(compile_text(LAYERS + FOUR))
    edges = crossing(content)
    names = [f"gpu{index}" for index in range(4)]
    pairs = [(a, b) for a in names for b in names if a != b]
    assert edges == [
        ("conv1", "gpu0", "gpu1", 602_112),
        ("conv3", "gpu0", "gpu1", 86_528),
        ("conv3", "gpu1", "gpu0", 86_528),
        *(("fc6", *pair, 18_432) for pair in pairs if pair[0] in ("gpu0", "gpu1")),
        *(("fc7", *pair, 4_096) for pair in pairs),
        *(("fc8", name, "gpu3", 4_096) for name in names[:3]),
    ]


def test_table() -> None:
    lines = table(compile_text(ALEXNET)).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line != line.rstrip() for line in lines)
    assert lines[0] == "AlexNet: AlexNet as published, two towers on two GPUs"
    for row in (
        "layer op kernel stride padding groups output sees",
        "input 3 x 224 x 224",
        "conv1 conv2d 11 4 b3 r3 96 x 55 x 55 11",
        "norm1 local_response_norm 2 96 x 55 x 55 11",
        "conv2 conv2d 5 1 2 2 256 x 27 x 27 51",
        "pool5 max_pool2d 3 2 256 x 6 x 6 195",
        "conv1 34,944 <1% 105,415,200 15% gpu0 gpu1",
        "fc6 37,752,832 62% 37,748,736 5% gpu0 gpu1",
        "total 60,965,224 724,406,816",
        "device layers parameters training of budget",
        "gpu1 conv1..drop7 28,434,112 47% 901.03 MiB 3.00 GiB 29%",
        "For 128 images at once, in float32.",
        "conv3 gpu0 gpu1 86,528",
        "gpu1 gpu0 86,528",
        "total 836,608",
        "data size 256, crops of 224 x 224, flip, color noise 0.1",
        "training 90 epochs, batch 128, SGD, momentum 0.9, weight decay 0.0005",
        "rate 0.01, times 0.1 after 3 epochs without a new best, at most 3 times",
    ):
        assert row in squeezed(lines)


@pytest.mark.parametrize("images", [None, 128])
@pytest.mark.parametrize("path", sorted(ROOT.glob("specs/*.yaml")), ids=str)
def test_every_spec_fits_a_terminal(path: Path, images: int | None) -> None:
    lines = table(compile_file(path), images).splitlines()
    assert max(map(len, lines)) <= 80


def squeezed(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def test_table_of_one_device_has_no_traffic() -> None:
    lines = squeezed(table(compile_text(LAYERS)).splitlines())
    assert "total 60,965,224 724,406,816" in lines
    assert "gpu0 conv1..prob 60,965,224 100% 1.71 GiB" in lines
    assert "device layers parameters training" in lines  # without a budget
    assert not any("bytes" in line for line in lines)


def test_table_of_four_devices_joins_equal_edges() -> None:
    lines = squeezed(table(compile_text(LAYERS + FOUR)).splitlines())
    assert "fc6 gpu0 gpu1..gpu3 3 x 18,432" in lines
    assert "gpu1 gpu0 gpu2 gpu3 3 x 18,432" in lines
    assert "fc7 16,781,312 28% 16,777,216 2% gpu0..gpu3" in lines
    assert "total 947,200" in lines


WINDOWS = """
specgen: 1
name: Net
input: {channels: 3, height: 40, width: 40}
layers:
  conv1:
    op: conv2d
    out_channels: 4
    kernel_size: [3, 5]
    stride: [1, 2]
    padding: {top: 1, left: 2, right: 1}
  conv2: {op: conv2d, out_channels: 4, kernel_size: 3, padding: [0, 1]}
  pool: {op: avg_pool2d, kernel_size: 4, padding: 1}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2}
training:
  epochs: 1
  batch_size: 12
  accumulate: 4
  optimizer:
    weight_decay: 0.1
    decay_biases: false
    lr_multipliers: {weight: 3, bias: 2}
  label_smoothing: 0.1
  clip_grad_norm: 5
  precision: bfloat16
  warmup_epochs: 0.5
  schedule: {kind: cosine, final_lr: 0.001}
"""


def test_windows_and_recipe_in_every_form() -> None:
    lines = squeezed(table(compile_text(WINDOWS)).splitlines())
    for row in (
        "conv1 conv2d 3x5 1x2 t1 l2 r1 4 x 39 x 20 3x5",
        "conv2 conv2d 3 1 0x1 4 x 37 x 20 5x9",
        "pool avg_pool2d 4 4 1 4 x 9 x 5 8x15",
        "rate 0.01, after a warm-up from 0 over 0.5 epochs, half a cosine down to",
        "training 1 epoch, batch 12 in 4 passes, SGD, momentum 0.9, weight decay 0.1",
        "(weights only), label smoothing 0.1, gradients clipped at 5, bfloat16",
        "0.001, times 3 for weights, times 2 for biases",
        "bfloat16.",
    ):
        assert row in lines


def test_notebooks_show_an_escaped_table() -> None:
    text = LAYERS.replace("summary: ", 'summary: "<script>\\e[31m" #')
    program = compile_text(text)
    shown = make_plan(program.spec, program.placed)._repr_html_()
    assert "&lt;script&gt;\\x1b[31m" in shown
    assert "<script" not in shown
    tree = ElementTree.fromstring(f"<body>{shown}</body>")
    layers, memory = tree.findall("table")
    rows = [[cell.text or "" for cell in row] for row in layers.iter("tr")]
    assert len(rows) == 1 + 1 + 24 + 1
    window = ["11", "4", "b3 r3", ""]
    costs = ["34,944", "105,415,200"]
    assert rows[2] == ["conv1", "conv2d", *window, "96 x 55 x 55", *costs, "gpu0"]
    assert rows[-1] == ["total", *[""] * 6, "60,965,224", "724,406,816", ""]
    assert memory.findtext("caption") == "Memory for 128 images at once"
    one = make_plan(program.spec, program.placed, 1)._repr_html_()
    assert "Memory for 1 image at once" in one
    assert [cell.text for cell in memory.findall("tbody/tr/td")][:2] == [
        "gpu0",
        "60,965,224",
    ]


def test_a_summary_cannot_control_the_terminal() -> None:
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
