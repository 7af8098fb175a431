"""Planned memory against what torch saves for the backward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alive import Alive
from helpers import ROOT, compile_data, compile_text
from hypothesis import HealthCheck, given, settings
from placed import PLACEMENTS, TOWERS, bound, model_text, module, towers
from strategies import Data, placed_networks
from test_specs import SPECS, spec

from specgen.backends import report
from specgen.compiler import Program
from specgen.passes import cost, memory
from specgen.plan import make_plan
from specgen.schema import readable
from specgen.spec.training import Training
from specgen.verify.devices import Devices
from specgen.verify.measure import network
from specgen.verify.saved import saved


def planned(program: Program, images: int) -> dict[str, int]:
    plan = memory.plan(program.placed, half=program.spec.training.half)
    return {device: held.activations(images) for device, held in plan.items()}


def check(program: Program, folder: Path, text: str | None = None) -> None:
    """The plan is exact at three batch sizes."""
    path = folder / "model.py"
    path.write_text(text or model_text(program))
    # One image of single pixels has no variance. Of one image, some channels lie in one
    # piece: a norm does not copy them, as it does of several.
    least = max(node.applied.least_images for node in program.graph.nodes)
    moves = [move for layer in program.placed.layers for move in layer.moves]
    least = max(least, 2 if any(move.local for move in moves) else 1)
    for images in (least, 3, 5):
        assert saved(path, program, images) == planned(program, images)


@pytest.mark.parametrize("stem", SPECS)
def test_saved_activations_are_those_planned(stem: str, tmp_path: Path) -> None:
    check(spec(stem), tmp_path)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_saved_activations_under_any_placement(placement: str, tmp_path: Path) -> None:
    check(towers(placement), tmp_path)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_saved_activations_of_any_network(precision: str, tmp_path: Path) -> None:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(placed_networks())
    def each(data: Data) -> None:
        check(compile_data(data | {"training": {"precision": precision}}), tmp_path)

    each()


@pytest.mark.parametrize("stem", SPECS)
def test_autocast_saves_what_is_planned(stem: str, tmp_path: Path) -> None:
    check(spec(stem, "training.precision=bfloat16", small=True), tmp_path)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_autocast_under_any_placement(placement: str, tmp_path: Path) -> None:
    program = towers(placement)
    training = Training(precision="bfloat16")
    copied = program.spec.model_copy(update={"training": training})
    check(replace(program, spec=copied), tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stem", SPECS)
def test_a_gpu_keeps_about_what_is_planned(stem: str) -> None:
    benchmark = module((ROOT / "benchmarks" / "memory.py").read_text())
    program, images = spec(stem), 32
    found = benchmark.measure(program, "cuda:0", images)
    print(stem, found)
    activations = planned(program, images)[program.placed.devices[0]]
    # The allocator gives out blocks that may be up to 1 MiB larger than what is kept.
    assert abs(found.saved) < activations / 10 + 32 * 2**20
    assert found.peak - found.planned == sum(found[2:])


def alive(path: Path, program: Program, images: int) -> dict[str, int]:
    """Return the most bytes that inference has on each device at once."""
    names = bound(program)
    with Devices(), torch.no_grad():
        code = network(path, program.spec.name)
        net = code([names[d] for d in program.placed.devices]).eval()
        x = torch.randn(images, *program.graph.input_shape)
        with Alive(list(net.parameters())) as found:
            logits = net(x)  # alive until it is counted, too
        peaks = found.peaks()
        del logits
    return {device: peaks.get(names[device], 0) for device in program.placed.devices}


def check_inference(program: Program, folder: Path, text: str | None = None) -> None:
    path = folder / "model.py"
    path.write_text(text or model_text(program))
    plan = memory.plan(program.placed)
    for images in (1, 3):
        planned = {device: held.inference(images) for device, held in plan.items()}
        assert alive(path, program, images) == planned


@pytest.mark.parametrize("stem", SPECS)
def test_inference_takes_what_is_planned(stem: str, tmp_path: Path) -> None:
    check_inference(spec(stem), tmp_path)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_inference_under_any_placement(placement: str, tmp_path: Path) -> None:
    check_inference(towers(placement), tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("F.relu(self.conv1(x))", "F.relu(F.relu(self.conv1(x)))"),
        ("self.drop3(F.relu(self.fc3(x)))", "F.relu(self.fc3(x))"),
    ],
)
def test_a_model_that_saves_something_else_is_found(
    right: str, wrong: str, tmp_path: Path
) -> None:
    program = towers("one device")
    text = model_text(program)
    assert text.count(right) == 1
    with pytest.raises(AssertionError):
        check(program, tmp_path, text.replace(right, wrong))


def test_alexnet_in_figures() -> None:
    """Saved values per image: one of conv1's 96 x 55 x 55 is 290,400 of them."""
    (held,) = memory.plan(spec("alexnet_1gpu").placed).values()
    assert held.weights == 4 * 60_965_224
    assert {name: count // 4 for name, count in held.saved.items()} == {
        "conv1": 3 * 227 * 227,  # its padded input
        "relu1": 290_400,  # output
        "norm1": 2 * 290_400,  # output and the base of the power
        "pool1": 3 * 96 * 27 * 27,  # output and indices of 64 bits
        "relu2": 186_624,
        "norm2": 2 * 186_624,
        "pool2": 3 * 256 * 13 * 13,
        "relu3": 64_896,
        "relu4": 64_896,
        "relu5": 43_264,
        "pool5": 3 * 9_216,
        "relu6": 4_096,
        "drop6": 2 * 4_096,  # output and mask
        "relu7": 4_096,
        "drop7": 2 * 4_096,
    }
    # At norm1 its input, base, power and output, and the padded image, still called x.
    assert held.live == 4 * (4 * 290_400 + 3 * 227 * 227)


def test_a_copy_is_saved_where_it_is_read() -> None:
    plan = memory.plan(towers("layer ranges").placed)
    assert plan["gpu1"].saved["flat"] == 4 * 144
    assert "pool2" not in plan["gpu0"].saved


BUDGET = "{devices: {gpu0: {memory: 3MiB}, gpu1: {}}, layers: {conv1..drop3: split,"
BUDGET = f"{TOWERS}placement: {BUDGET} fc4..prob: gpu0}}}}\n"


def test_the_report_has_the_plan() -> None:
    program = towers("two towers")
    content = make_plan(program.spec, program.placed, 8).as_json()
    held = memory.plan(program.placed)["gpu1"]
    assert content["devices"][1]["memory"] == {
        "weights": held.weights,
        "buffers": 0,
        "gradients": held.weights,
        "optimizer": held.weights,
        "activations_training": 8 * held.saved.total(),
        "activations_inference": 8 * held.live,
        "training": 3 * held.weights + 8 * held.saved.total(),
        "inference": held.weights + 8 * held.live,
        "budget": None,
        "most_images": None,
    }
    keys = ("before", "from", "to", "bytes_per_image", "bytes_per_step")
    assert [tuple(edge[key] for key in keys) for edge in content["traffic"][:2]] == [
        ("conv1", "gpu0", "gpu1", 4 * 675, 8 * 4 * 675),  # images have no gradient
        ("fc3", "gpu0", "gpu1", 4 * 72, 8 * 2 * 4 * 72),
    ]


def test_the_table_shows_the_plan() -> None:
    program = compile_text(BUDGET)
    plan = make_plan(program.spec, program.placed, 128)
    text = report.table(plan, details=True)
    whole, parts = [line for line in text.splitlines() if line.startswith("gpu0  ")]
    held = memory.plan(program.placed)["gpu0"]
    assert parts.split()[1:3] == readable(held.weights).split()
    assert f"  {readable(held.training(128))}   3.00 MiB  " in whole
    assert "For 128 images at once" in text


def test_without_parameters_before_a_move_no_gradient_comes_back() -> None:
    layers = "{flat: gpu0, fc3: gpu1, relu4: gpu0, fc5: gpu0}"
    program = compile_text(f"""
specgen: 1
name: Net
input: {{channels: 3, height: 2, width: 2}}
layers:
  flat: {{op: flatten}}
  fc3: {{op: linear, out_features: 5}}
  relu4: {{op: relu}}
  fc5: {{op: linear, out_features: 2}}
placement: {{devices: {{gpu0: {{}}, gpu1: {{}}}}, layers: {layers}}}
""")
    assert cost.step_traffic(program.placed) == {
        ("fc3", "gpu0", "gpu1"): 4 * 12,
        ("relu4", "gpu1", "gpu0"): 2 * 4 * 5,
    }


def test_autocast_halves_activations_and_stores_weights_twice() -> None:
    half = memory.plan(spec("alexnet_1gpu").placed, half=True)["gpu0"]
    full = memory.plan(spec("alexnet_1gpu").placed)["gpu0"]
    assert half.weights == full.weights
    assert half.once.total() == 2 * (60_965_224 - 10_568)  # without biases
    assert {name: count // 2 for name, count in half.saved.items()} == {
        "conv1": 3 * 227 * 227,
        "relu1": 290_400,
        "norm1": 3 * 290_400,  # output, and the base of the power in float32
        "pool1": 5 * 96 * 27 * 27,  # output and indices of 64 bits
        "relu2": 186_624,
        "norm2": 3 * 186_624,
        "pool2": 5 * 256 * 13 * 13,
        "relu3": 64_896,
        "relu4": 64_896,
        "relu5": 43_264,
        "pool5": 5 * 9_216,
        "relu6": 4_096,
        "drop6": 2 * 4_096,
        "relu7": 4_096,
        "drop7": 2 * 4_096,
    }
    assert half.training(7) == 12 * 60_965_224 + half.activations(7)
    assert half.activations(7) == half.once.total() + 7 * half.saved.total()
    for images in (0, 1, 100):
        assert half.fitting(half.training(images)) == images
        assert half.fitting(half.training(images + 1) - 1) == images


def test_autocast_in_the_report() -> None:
    program = compile_text(BUDGET + "training: {precision: bfloat16}\n")
    held = memory.plan(program.placed, half=True)["gpu0"]
    plan = make_plan(program.spec, program.placed, 8)
    found = plan.devices[0].memory
    assert found.activations_training == held.activations(8)
    sizes = [edge.bytes_per_step for edge in plan.traffic[:2]]
    assert sizes == [8 * 4 * 675, 8 * 2 * 2 * 72]  # images are not cast before conv1
    text = report.table(plan, details=True)
    assert "in bfloat16. Inference takes weights" in " ".join(text.split())
    said = "forward and backward, 8 images; in bfloat16 where autocast computes in it."
    assert said in " ".join(text.split())
    assert [edge.bytes_per_image for edge in plan.traffic[:2]] == [4 * 675, 2 * 72]
