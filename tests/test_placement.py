"""Placement as a pass: the same function wherever it runs, or an error that helps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers import compile_data, compile_text, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placed import (
    PLACEMENTS,
    TOWERS,
    check_copies,
    losses,
    model_text,
    on_one_device,
    step,
    towers,
    weights,
)
from strategies import networks

from specgen.compiler import Program
from specgen.diagnostics import Diagnostic, SpecError
from specgen.graph import Node
from specgen.names import LONGEST
from specgen.ops.activation import Softmax
from specgen.ops.arrangement import Permute, Reshape
from specgen.ops.attention import ClassToken, MultiHeadAttention
from specgen.ops.base import FLOAT32, volume
from specgen.ops.conv import Conv2d
from specgen.ops.join import Chunk, Select
from specgen.ops.linear import Flatten, Linear
from specgen.ops.norm import LocalResponseNorm
from specgen.ops.upsampling import ConvTranspose2d
from specgen.passes import cost

Data = dict[str, Any]


def check_same_function(program: Program) -> None:
    """Logits and gradients are those of one device, and the copies are planned."""
    start = weights(program)
    alone = step(on_one_device(program), weights=start, dtype=torch.float64)
    taken = step(program, weights=start, dtype=torch.float64)
    check_copies(program, taken, item=8)
    torch.testing.assert_close(taken.logits, alone.logits, rtol=1e-10, atol=1e-10)
    assert list(taken.gradients) == list(alone.gradients)
    for name, gradient in alone.gradients.items():
        torch.testing.assert_close(
            taken.gradients[name], gradient, rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_towers_are_the_same_function(placement: str) -> None:
    check_same_function(towers(placement))


@st.composite
def placements(draw: st.DrawFn, layers: list[str]) -> Data:
    """Draw any placement: devices in any order, splits over some or all, ranges."""
    count = draw(st.sampled_from([2, 4, 3, 6, 8, 5, 1]))
    devices = [f"gpu{index}" for index in range(count)]
    orders = st.permutations(devices)
    sizes = st.sampled_from([n for n in (2, 4, 3, 6, 1, 5) if n <= count])
    some = st.builds(lambda names, size: {"split": names[:size]}, orders, sizes)
    cuts = draw(st.sets(st.integers(1, len(layers) - 1), max_size=4))
    where: Data = {}
    for start, stop in pairwise([0, *sorted(cuts), len(layers)]):
        first, last = layers[start], layers[stop - 1]
        key = first if first == last else f"{first}..{last}"
        where[key] = draw(st.just("split") | some | st.sampled_from(devices))
    return {"devices": {name: {} for name in devices}, "layers": where}


@st.composite
def placed_networks(draw: st.DrawFn) -> Data:
    """Draw a network with a placement that may be impossible."""
    data = draw(networks())
    return data | {"placement": draw(placements(list(data["layers"])))}


def compiled(data: Data) -> Program:
    """Compile; what is refused at first gets one device, or is removed."""
    try:
        return compile_data(data)
    except SpecError as error:
        return compiled(data | {"placement": fixed(data, error.diagnostics)})


def fixed(data: Data, problems: tuple[Diagnostic, ...]) -> Data:
    """Put the layers that are blamed on one device, and remove unused devices."""
    assert {problem.code for problem in problems} <= {"cannot-split", "no-effect"}
    assert all(p.help for p in problems if p.code == "cannot-split")
    paths = [problem.path or () for problem in problems]
    placement, names = data["placement"], list(data["layers"])
    where: Data = {}
    for key, place in placement["layers"].items():
        first, _, last = key.partition("..")
        one = (place["split"] if isinstance(place, dict) else [*placement["devices"]])[
            0
        ]
        for name in names[names.index(first) : names.index(last or first) + 1]:
            blamed = any(path[:2] == ("layers", name) for path in paths)
            where[name] = one if blamed else place
    unused = {path[2] for path in paths if path[0] == "placement"}
    kept: Data = {name: {} for name in placement["devices"] if name not in unused}
    return {"devices": kept, "layers": where}


def reads(node: Node, channel: int) -> range:
    """The input channels that a channel of the output depends on."""
    inputs = node.x[0]
    match node.op:
        case Conv2d(groups=groups) | ConvTranspose2d(groups=groups):
            group = channel * groups // node.shape[0]
            return range(group * inputs // groups, (group + 1) * inputs // groups)
        case Linear(axis=None) | Softmax() | MultiHeadAttention():
            return range(inputs)
        case ClassToken():
            return range(channel - 1, channel) if channel else range(0)
        case Select(index=index):
            return range(index, index + 1)
        case Flatten():
            channel //= volume(node.x[1:])
        case Reshape():
            row, read = volume(node.shape[1:]), volume(node.x[1:])
            return range(channel * row // read, -(-(channel + 1) * row // read))
        case Permute(dims=(_, first, *_)) if first != 1:
            return range(inputs)
        case Chunk(index=index):
            channel += index * node.shape[0]
        case LocalResponseNorm(groups=groups):
            size = inputs // groups
            return range(channel // size * size, (channel // size + 1) * size)
    return range(channel, channel + 1)


def least_traffic(program: Program) -> dict[tuple[str, str, str], int]:
    """Bytes per image over each edge: what is read but was not computed there.

    The images are on the first device.
    """
    least: dict[tuple[str, str, str], int] = {}
    held = [(program.placed.devices[0], range(program.graph.input_shape[0]))]
    for layer in program.placed.layers:
        for share in layer.shares:
            needed = {c for channel in share.span for c in reads(layer.node, channel)}
            for device, span in held:
                count = len(needed & {*span}) * volume(layer.node.x[1:])
                if count and device != share.device:
                    edge = (layer.node.name, device, share.device)
                    least[edge] = FLOAT32 * count
        held = [(share.device, share.span) for share in layer.shares]
    return least


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(placed_networks())
def test_any_placement_is_the_same_function_or_an_error(data: Data) -> None:
    program = compiled(data)
    assert cost.traffic(program.placed) == least_traffic(program)
    check_same_function(program)
    found, alone = losses(program, 20), losses(on_one_device(program), 20)
    torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)


def test_the_plan_of_pairs_that_exchange() -> None:
    plan = str(towers("twice as many devices as groups").placed).splitlines()
    assert [line for line in plan if line.startswith(("conv2", "pool2"))] == [
        "conv2a.input@gpu0 = move(pool1a@gpu0[0:2], pool1b@gpu1[2:4])",
        "conv2b.input@gpu1 = move(pool1a@gpu0[0:2], pool1b@gpu1[2:4])",
        "conv2c.input@gpu2 = move(pool1c@gpu2[4:6], pool1d@gpu3[6:8])",
        "conv2d.input@gpu3 = move(pool1c@gpu2[4:6], pool1d@gpu3[6:8])",
        "conv2a@gpu0 = conv2d(conv2a.input) (4, 6, 6)",
        "conv2b@gpu1 = conv2d(conv2b.input) (4, 6, 6)",
        "conv2c@gpu2 = conv2d(conv2c.input) (4, 6, 6)",
        "conv2d@gpu3 = conv2d(conv2d.input) (4, 6, 6)",
        "pool2a@gpu0 = avg_pool2d(norm2a) (4, 3, 3)",
        "pool2b@gpu1 = avg_pool2d(norm2b) (4, 3, 3)",
        "pool2c@gpu2 = avg_pool2d(norm2c) (4, 3, 3)",
        "pool2d@gpu3 = avg_pool2d(norm2d) (4, 3, 3)",
    ]


def test_a_share_takes_parts_of_what_is_held() -> None:
    where = "{conv1..relu1: {split: [gpu0, gpu1, gpu2, gpu3]}, norm1..prob: gpu3}"
    where = where.replace("norm1", "norm1..pool1: {split: [gpu3, gpu1]}, conv2")
    devices = "{gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}}"
    program = compile_text(
        f"{TOWERS}placement: {{devices: {devices}, layers: {where}}}"
    )
    plan = str(program.placed).splitlines()
    assert [line for line in plan if "move" in line][4:] == [
        "norm1d.input@gpu3 = move(relu1a@gpu0[0:2], relu1b@gpu1[2:4])",
        "norm1b.input@gpu1 = move(relu1c@gpu2[4:6], relu1d@gpu3[6:8])",
        "conv2.input@gpu3 = move(pool1d@gpu3[0:4], pool1b@gpu1[4:8])",
    ]


def forward(program: Program) -> str:
    text = model_text(program)
    start = text.index("    def forward")
    return text[start : text.index("    def probabilities")]


WIDE = TOWERS.replace("groups: 4", "groups: 8").replace("groups: 2", "groups: 8")


def test_eight_devices_read_like_two() -> None:
    names = [f"gpu{index}" for index in range(8)]
    devices = "{" + ", ".join(f"{name}: {{}}" for name in names) + "}"
    where = "{conv1..drop3: split, fc4..prob: gpu0}"
    program = compile_text(f"{WIDE}placement: {{devices: {devices}, layers: {where}}}")
    check_same_function(program)
    text = forward(program)
    assert "a, b, c, d, e, f, g, h = exchange(a, b, c, d, e, f, g, h)" in text
    assert "# fc3 reads what all 8 devices computed." in text
    assert "gather(a, b, c, d, e, f, g, h, to=self.gpu0)" in text


def test_shares_that_need_each_other_are_assigned_together() -> None:
    where = (
        "{conv1..relu1: {split: [gpu0, gpu1]}, norm1..drop3: split, fc4..prob: gpu0}"
    )
    devices = "{gpu0: {}, gpu1: {}, gpu2: {}, gpu3: {}}"
    program = compile_text(
        f"{TOWERS}placement: {{devices: {devices}, layers: {where}}}"
    )
    check_same_function(program)
    assert """
        # From norm1 on, layers are split over all 4 devices.
        a, b, c, d = (
            a[:, :2],
            a[:, 2:].to(self.gpu1),
            b[:, :2].to(self.gpu2),
            b[:, 2:].to(self.gpu3),
        )  # (N, 2, 14, 14)
""" in forward(program)


TWO = "devices: {gpu0: {}, gpu1: {}}"
WRONG = {
    "softmax": (
        f"{{{TWO}, layers: {{conv1..prob: split}}}}",
        ("prob: softmax needs all classes at once and cannot be split",),
    ),
    "one cause, one error": (
        "{devices: {gpu0: {}, gpu1: {}, gpu2: {}},"
        " layers: {conv1..flat: split, fc3..prob: gpu0}}",
        (
            "conv1: 8 channels cannot be shared equally by 3 devices",
            "conv2: 16 channels cannot be shared equally by 3 devices",
        ),
    ),
    "maps cut by features": (
        "{devices: {gpu0: {}, gpu1: {}, gpu2: {}},"
        " layers: {conv1..pool2: gpu0, flat: split, fc3..prob: gpu0}}",
        ("flat: a share of 48 features cuts through maps of 9",),
    ),
    "unused devices": (
        "{devices: {gpu0: {}, gpu1: {}, gpu2: {}}, layers: {conv1..prob: gpu1}}",
        ("no layer is on gpu0", "no layer is on gpu2"),
    ),
    "placed twice, and not at all": (
        f"{{{TWO}, layers: {{conv1..pool1: gpu0, relu1..pool1: gpu1, fc9: gpu1}}}}",
        ("already placed above: relu1, norm1, pool1", "there is no layer 'fc9'"),
    ),
    "left out": (
        f"{{{TWO}, layers: {{conv1..relu3: split}}}}",
        ("no device is given for drop3, fc4, prob",),
    ),
    "backwards": (
        f"{{{TWO}, layers: {{prob..conv1: split}}}}",
        ("prob comes after conv1",),
    ),
    "a device called split": (
        "{devices: {split: {}}, layers: {conv1..prob: split}}",
        ("'split' already means all devices",),
    ),
    "shares with the names of others": (
        "{devices: {conv1a: {}, conv2b: {}},"
        " layers: {conv1..drop3: split, fc4..prob: conv1a}}",
        ("conv1a is also conv1 on conv1a", "conv2b is also conv2 on conv2b"),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_placements(case: str) -> None:
    placement, messages = WRONG[case]
    text = f"{TOWERS}placement: {placement}\n"
    found = refused(text)
    assert tuple(problem.message for problem in found) == messages
    assert all(problem.span for problem in found)


def test_the_last_layer_must_be_whole() -> None:
    text = TOWERS.replace("  prob: {op: softmax}\n", "")
    (found,) = refused(f"{text}placement: {{{TWO}, layers: {{conv1..fc4: split}}}}")
    assert found.message == "fc4 is the last layer, and the loss needs its whole output"
    assert found.help == "place it on one device"


def test_a_wrong_name_is_not_reported_again_for_each_share() -> None:
    text = (
        f"{WIDE}placement: {{{TWO}, layers: {{conv1..drop3: split, fc4..prob: gpu0}}}}"
    )
    for name in ("n" * (LONGEST + 1), "2nd"):
        (found,) = refused(text.replace("  conv2:", f"  {name}:"))
        assert found.code == "bad-name"


def test_a_share_must_not_hide_what_a_module_has() -> None:
    devices = "{a0: {}, a1: {}, a2: {}, a3: {}, a4: {}, a5: {}, a6: {}, a7: {}}"
    where = "{conv1..drop3: split, fc4..prob: a0}"
    text = f"{WIDE}placement: {{devices: {devices}, layers: {where}}}"
    (found,) = refused(text.replace("  conv2:", "  hal:"))
    assert found.message == "hal on a5: 'half' is already an attribute of torch modules"


@pytest.mark.parametrize(
    ("layers", "help"),
    [
        ("conv1..fc4: split", "add it, as in prob: gpu0"),
        ("conv1..drop3: split", "add them; a range, FIRST..LAST"),
    ],
)
def test_what_to_do_about_layers_without_a_device(layers: str, help: str) -> None:
    (problem,) = refused(f"{TOWERS}placement: {{{TWO}, layers: {{{layers}}}}}\n")
    assert problem.help is not None
    assert problem.help.startswith(help)
