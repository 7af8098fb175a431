"""Published networks: the same as torchvision's, and the same under any placement.

SPECGEN_TEST_REFERENCE is a folder with what torchvision's networks compute.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import judges
import pytest
import torch
from helpers import ROOT, import_file, model
from placed import model_text

from specgen.compiler import Program, compile_file
from specgen.graph import Node
from specgen.ops.base import Refusal
from specgen.passes.shares import cut
from specgen.plan import make_plan
from specgen.verify import verify

# Learned ones. Torchvision's documentation has those of the networks that it has. The
# others: LeNet-5 with full connections and no weights in its pools, from its table; the
# rest from the shapes in their papers' figures and Caffe's files.
PARAMETERS = {
    "alexnet_owt": 61_100_840,
    "caffenet": 60_965_224,
    "convnext_tiny": 28_589_128,
    "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548,
    "googlenet": 6_624_904,
    "lenet": 61_706,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "nin": 7_595_176,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnext50_32x4d": 25_028_904,
    "shufflenet_v2_x1_0": 2_278_604,
    "squeezenet1_1": 1_235_496,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vit_b_16": 86_567_656,
    "zfnet": 62_357_608,
}
ZOO = sorted(PARAMETERS)
# Those that torchvision has, by the name that it gives them.
TORCHVISION = {
    name: "alexnet" if name == "alexnet_owt" else name
    for name in ZOO
    if name not in ("caffenet", "lenet", "nin", "zfnet")
}
# Fewer pixels and features, so that a step takes a second.
WIDTHS = {
    "alexnet_owt": ("classifier.1", "classifier.4"),
    "caffenet": ("fc6", "fc7"),
    "vgg16": ("classifier.0", "classifier.3"),
    "vgg16_bn": ("classifier.0", "classifier.3"),
    "zfnet": ("fc6", "fc7"),
}
SMALL_VIT = ("hidden_dim=24", "mlp_dim=32", "num_heads=3", "num_layers=3")
PARAMS = {"vit_b_16": SMALL_VIT}
SIDES = {"alexnet_owt": 63, "caffenet": 67, "nin": 67, "vit_b_16": 48, "zfnet": 67}


@cache
def zoo(name: str) -> Program:
    return compile_file(ROOT / f"specs/zoo/{name}.yaml")


@cache
def small(name: str, *more: str) -> Program:
    side = SIDES.get(name, 32)
    sets = [f"input.height={side}", f"input.width={side}"]
    sets += [f"layers.{path}.out_features=64" for path in WIDTHS.get(name, ())]
    sets += [f"params.{param}" for param in PARAMS.get(name, ())]
    return compile_file(ROOT / f"specs/zoo/{name}.yaml", [*sets, *more])


# --- against torchvision


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with a file for each network, and what fills in its weights."""
    folder = os.environ.get("SPECGEN_TEST_REFERENCE")
    if not folder:
        pytest.skip("SPECGEN_TEST_REFERENCE is not a folder with reference networks")
    return Path(folder)


# Vision transformers are compared with modules of torch in test_vit.py.
@pytest.mark.parametrize("name", sorted({*TORCHVISION} - {"vit_b_16"}))
def test_it_computes_what_torchvisions_does(
    name: str, reference: Path, tmp_path: Path
) -> None:
    known = json.loads((reference / f"{TORCHVISION[name]}.json").read_text())
    weights = import_file(reference / "fill.py")
    net = model(zoo(name), tmp_path).double().eval()
    state = {key: list(tensor.shape) for key, tensor in net.state_dict().items()}
    assert list(state.items()) == list(known["state"].items())
    assert zoo(name).graph.input_shape == (3, known["input"], known["input"])
    assert sum(p.numel() for p in net.parameters()) == known["parameters"]
    weights.fill(net)
    with torch.no_grad():
        (logits,) = net(weights.image(known["input"]))
    first = torch.tensor(known["logits"], dtype=torch.float64)
    bound = 1e-9 * known["norm"]
    torch.testing.assert_close(logits[: len(first)], first, rtol=0, atol=bound)
    assert logits.norm().item() == pytest.approx(known["norm"], rel=1e-9)
    assert logits.argmax().item() == known["argmax"]


# --- without it


def test_these_are_all() -> None:
    assert sorted(path.stem for path in ROOT.glob("specs/zoo/*.yaml")) == ZOO


@pytest.mark.parametrize("name", ZOO)
def test_it_is_as_large_as_published(name: str) -> None:
    plan = make_plan(zoo(name).spec, zoo(name).placed)
    assert plan.parameters == PARAMETERS[name]
    # As published, its convolutions have biases that the norms after them take away.
    expected = {"bias-before-norm"} if name == "vgg16_bn" else set()
    assert {warning.code for warning in zoo(name).warnings} == expected


def test_its_code_is_formatted_and_typed(tmp_path: Path) -> None:
    for name in ZOO:
        for where in (on_one, split, apart):
            path = tmp_path / f"{name}_{where.__name__}.py"
            path.write_text(model_text(placed(name, where)))
    judges.ruff("format --check", tmp_path)
    judges.ruff("check", tmp_path)
    judges.mypy(*sorted(tmp_path.glob("*.py")), cwd=tmp_path)


def test_a_resnet_50_is_short() -> None:
    assert len(model_text(zoo("resnet50")).splitlines()) <= 250


# --- under placements


def on_one(node: Node) -> tuple[str, ...]:
    return ("gpu0",)


def split(node: Node) -> tuple[str, ...]:
    """Over both devices, if that is possible."""
    both = ("gpu0", "gpu1")
    try:
        cut(node, both, dict.fromkeys(both, ""))
    except Refusal:
        return both[:1]
    return both


def apart(node: Node) -> tuple[str, ...]:
    """Neighbors of different names on different devices, inside blocks, too."""
    return (f"gpu{zlib.crc32(node.name.encode()) % 2}",)


def placed(name: str, where: Callable[[Node], tuple[str, ...]]) -> Program:
    """Compile with each layer placed by its path."""
    layers = {node.name: where(node) for node in small(name).graph.nodes}
    devices = sorted({device for on in layers.values() for device in on})
    placement = {
        "devices": {device: {} for device in devices},
        "layers": {path: split_over(on) for path, on in layers.items()},
    }
    return small(name, f"placement={json.dumps(placement)}")


def split_over(devices: tuple[str, ...]) -> str:
    return "split" if len(devices) > 1 else devices[0]


@pytest.mark.parametrize("where", [on_one, split, apart])
@pytest.mark.parametrize("name", ZOO)
def test_it_runs_as_planned(
    name: str, where: Callable[[Node], tuple[str, ...]]
) -> None:
    """A step on two devices is that on one, in float64, batch norms as in training."""
    program = placed(name, where)
    checks = {check.name: check for check in verify(program)}
    assert [check for check in checks.values() if not check.ok] == []
    if where is not on_one:
        assert {"logits against one device", "gradients against one device"} <= set(
            checks
        )
        assert any(layer.moves for layer in program.placed.layers)


# --- the page


PAGE = (ROOT / "docs" / "zoo.md").read_text()
ROWS = re.findall(
    r"^\| `(\w+)`(\*?) \| .*? \| ([\d,]+) \| ([\d,]+) \| (\d+) \|", PAGE, re.M
)


def test_the_page_has_all_networks() -> None:
    assert {name for name, *_ in ROWS} == {*ZOO}
    assert {name for name, star, *_ in ROWS if star} == {*TORCHVISION}


@pytest.mark.parametrize("row", ROWS, ids=[name for name, *_ in ROWS])
def test_the_page_has_its_figures(row: tuple[str, ...]) -> None:
    name, _, *figures = row
    plan = make_plan(zoo(name).spec, zoo(name).placed)
    lines = len((ROOT / f"specs/zoo/{name}.yaml").read_text().splitlines())
    assert figures == [f"{plan.parameters:,}", f"{plan.macs:,}", str(lines)]
