"""The receptive field against what a value of the last map really depends on."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from helpers import ROOT, compile_data, model

from specgen.compiler import Program, compile_file
from specgen.passes.receptive_field import last_map

SIDE = 64  # pixels, more than the field and the padding of any network here


def network(layers: dict[str, Any], side: int = SIDE) -> Program:
    size = {"channels": 3, "height": side, "width": side}
    last = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 2}}
    data = {"specgen": 1, "name": "Net", "input": size, "data": {"size": side}}
    return compile_data(data | {"layers": layers | last})


def drawn(random: Random) -> dict[str, Any]:
    """Return up to three layers that read values next to each other."""

    def pair(most: int, least: int = 1) -> list[int]:
        return [random.randint(least, most), random.randint(least, most)]

    def layer() -> dict[str, Any]:
        op = random.choice(["conv2d", "conv2d", "avg_pool2d", "spatial_response_norm"])
        match op:
            case "conv2d":
                sides = {side: random.randint(0, 2) for side in ("top", "left")}
                fields = {"out_channels": 2, "dilation": pair(2), "padding": sides}
                return {"op": op, "kernel_size": pair(3), "stride": pair(2), **fields}
            case "avg_pool2d":
                kernel = pair(3, least=2)
                return {
                    "op": op,
                    "kernel_size": kernel,
                    "stride": pair(2),
                    "padding": 1,
                }
        return {"op": op, "size": 3, "alpha": 1, "beta": 0.75, "k": 1}

    return {f"layer{index}": layer() for index in range(random.randint(1, 3))}


def depends_on(program: Program) -> tuple[int, int]:
    """Return how many rows and columns of the image a value depends on, by running it.

    It is a value in the middle of the last map; its gradient shows this.
    """
    with TemporaryDirectory() as folder:
        net = model(program, Path(folder, "net"))
    _, height, width = last_map(program.graph).shape
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.5)
        net.fc.weight.fill_(0)
        net.fc.weight[0, height // 2 * width + width // 2] = 1  # of the first channel
    _, *size = program.graph.input_shape
    image = torch.rand(1, 3, *size, requires_grad=True)
    net(image).sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad[0].abs().amax((0, axis)).nonzero() for axis in (2, 1))
    return (
        int(rows.max() - rows.min()) + 1,
        int(columns.max() - columns.min()) + 1,
    )


@pytest.mark.parametrize("seed", range(16))
def test_the_field_is_all_that_a_value_depends_on(seed: int) -> None:
    program = network(drawn(Random(seed)))
    assert depends_on(program) == last_map(program.graph).field


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ({"up": {"op": "upsample", "scale_factor": 2}}, (1, 1)),
        ({"up": {"op": "upsample", "scale_factor": 2, "mode": "bilinear"}}, (2, 2)),
        (
            {
                "up": {"op": "conv_transpose2d", "out_channels": 2, "kernel_size": 4}
                | {"stride": 2}
            },
            (2, 2),
        ),
        ({"pool": {"op": "adaptive_avg_pool2d", "output_size": [1, 8]}}, (64, 8)),
        (
            {
                "wide": {"op": "conv2d", "out_channels": 3, "kernel_size": [5, 1]}
                | {"padding": "same"},
                "add": {"op": "add", "from": ["input", "wide"]},
                "pool": {"op": "avg_pool2d", "kernel_size": 2},
            },
            (6, 2),
        ),
    ],
)
def test_other_ways_to_read(layers: dict[str, Any], field: tuple[int, int]) -> None:
    program = network(layers)
    assert last_map(program.graph).field == field == depends_on(program)


def test_alexnet() -> None:
    """195 is in Table 1 of the article that the code cites."""
    graph = compile_file(ROOT / "specs/alexnet.yaml").graph
    assert last_map(graph) == ((256, 6, 6), (195, 195))


def test_a_field_can_be_larger_than_the_image() -> None:
    conv = {"op": "conv2d", "out_channels": 1, "kernel_size": 9, "padding": 4}
    program = network({"conv": conv}, side=5)
    assert last_map(program.graph).field == (9, 9)
    assert depends_on(program) == (5, 5)


def test_without_maps_the_image_is_the_last_map() -> None:
    assert last_map(network({}, side=4).graph) == ((3, 4, 4), (1, 1))
