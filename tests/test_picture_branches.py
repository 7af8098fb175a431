"""Branches, joins and repeated blocks in the picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from branching import block, branching_plans, dense, inception, layer, plan_of, residual
from helpers import compile_data
from hypothesis import given, settings
from hypothesis import strategies as st
from nested import placed_nested
from pictures import Picture, is_legible, leads_where_it_is_read
from strategies import Data

from specgen.graph import INPUT
from specgen.ops.base import Window
from specgen.picture import draw
from specgen.picture.stages import IMAGE, stages
from specgen.picture.ways import MOST_TRACKS, tracks, ways
from specgen.plan import LayerPlan, Plan, make_plan

SHAPE = (64, 28, 28)


def said(plan: Plan) -> list[str]:
    return [box.words for box in Picture(draw(plan)).words]


def blocks(count: int) -> list[LayerPlan]:
    """Return so many equal blocks between two convolutions."""
    layers = [layer("conv1", "conv2d", [INPUT], SHAPE)]
    for index in range(count):
        layers += block(f"trunk.{index}", layers[-1].name, SHAPE)
    return [*layers, layer("conv2", "conv2d", [layers[-1].name], SHAPE)]


def repeated(layers: Sequence[LayerPlan]) -> list[int]:
    """Return for how many blocks each column stands."""
    return [len(stage.repeated) for stage in stages(plan_of(layers))]


def changed(
    layers: Sequence[LayerPlan], name: str, **fields: object
) -> list[LayerPlan]:
    return [
        replace(each, **fields) if each.name == name else each  # type: ignore[arg-type]
        for each in layers
    ]


def test_equal_blocks_are_drawn_once() -> None:
    assert repeated(blocks(3)) == [0, 3, 3, 3, 0]
    words = said(plan_of(blocks(3)))
    assert "x 3: trunk.0..trunk.2" in words
    assert sum(line.startswith("trunk.0.") for line in words) == 3
    assert "trunk.1." not in words
    end = stages(plan_of(blocks(3)))[-1]
    assert end.reads == (3,)


def test_a_number_is_no_word_for_what_follows() -> None:
    words = said(residual())
    assert words.count("batch_norm2d") == 3  # downsample.1, below downsample.0
    assert words.count("bn1, relu1") > 3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("trunk.1.conv2", {"parameters": 7}), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (("trunk.0.conv1", {"parameters": 7}), [0, 0, 0, 0, 2, 2, 2, 0]),
        (("trunk.2.add", {"op": "concat"}), [0, 2, 2, 2, 0, 0, 0, 0]),
        (("trunk.2.bn1", {"devices": ("gpu1",)}), [0, 2, 2, 2, *[0] * 6]),
        (
            ("conv2", {"inputs": ("trunk.2.relu2", "trunk.0.bn1")}),
            [0, *[0] * 4, 2, 2, 2, 0],
        ),
    ],
)
def test_blocks_that_differ_are_drawn_each(
    change: tuple[str, dict[str, object]], found: list[int]
) -> None:
    name, fields = change
    assert repeated(changed(blocks(3), name, **fields)) == found


def test_a_block_that_is_fetched_for_is_another() -> None:
    layers = blocks(2)
    plan = plan_of(layers, [("trunk.1.add", "gpu0", "gpu1")])
    assert not any(stage.repeated for stage in stages(plan))


def test_a_mark_on_a_block_that_is_not_drawn_is_on_its_like() -> None:
    svg = draw(plan_of(blocks(3)), ["trunk.2.bn2"])
    assert svg.count('class="mark"') == 1
    assert "conv2" in svg[: svg.index('class="mark"')].rpartition("<title>")[2]


def test_a_skip_connection_goes_above_the_blocks_that_it_skips() -> None:
    found = Picture(draw(plan_of(blocks(1))))
    arrows = [line for line in found.lines if line.column.startswith("trunk.0.add: ")]
    skip, near = sorted(arrows, key=lambda line: line.start[0])
    assert near.start[1] == near.end[1]
    _image, _conv1, first, last, *_ = sorted(found.blocks)
    highest = min(y for _, y in skip.points)
    assert highest < min(first.top, last.top)
    along = [x for x, y in skip.points if y == highest]
    assert min(along) < first.left
    assert max(along) > last.right


def test_what_was_copied_before_is_dashed() -> None:
    """One copy for two layers is one red arrow."""
    layers = [
        layer("first", "conv2d", ["input"], (8, 9, 9)),
        layer("second", "conv2d", ["first"], (8, 9, 9), ("gpu1",), local=()),
        layer("again", "conv2d", ["first"], (8, 9, 9), ("gpu1",)),
    ]
    text = draw(plan_of(layers, [("second", "gpu0", "gpu1")]))
    assert text.count('<path class="a r"') == 1
    assert text.count('<path class="x"') == 1
    assert "Dashed: copied before." in text
    assert "Dashed" not in draw(plan_of(layers[:2], [("second", "gpu0", "gpu1")]))


@pytest.mark.parametrize("network", [residual, inception, dense])
def test_every_input_arrives(network: Callable[[], Plan]) -> None:
    """An arrow for each input of each layer that begins a column."""
    plan = network()
    found = Picture(draw(plan))
    for stage in stages(plan):
        arrows = [
            line
            for line in found.lines
            if line.arrow and line.column.startswith(f"{stage.head.name}: ")
        ]
        assert len(arrows) == len(stage.reads), stage.head.name


def test_tracks_do_not_meet_while_there_are_enough() -> None:
    for network in (residual, inception, dense):
        columns = stages(network())
        found = ways(columns)
        here = range(8)
        given = tracks(found, here)
        assert given.keys() == {
            way.source for way in found if way.skips and way.source < 8
        }
        for a, b in ((a, b) for a in given for b in given if a < b):
            if given[a] == given[b] < MOST_TRACKS - 1:
                end = max(way.target for way in found if way.source == a)
                assert end < b + 1, (network, a, b)
    assert IMAGE in tracks(ways(stages(dense())), range(8))


@settings(max_examples=30)
@given(branching_plans())
def test_any_branches_are_legible(plan: Plan) -> None:
    svg = draw(plan)
    is_legible(svg)
    leads_where_it_is_read(svg, plan)
    found = Picture(svg)
    ends = [line.end for line in found.lines if line.arrow]
    for box in found.blocks[1:]:  # after the image
        assert any(
            abs(box.left - 3 - x) < 0.2 and box.top <= y <= box.bottom for x, y in ends
        ), box


# An op with long words: they take three lines.
TRANSPOSED = {
    "op": "conv_transpose2d",
    "window": Window((4, 4), (2, 1), (0, 0, 0, 0), transposed=True),
}


def renamed(plan: Plan, ending: str) -> Plan:
    """Add an ending to each word in the names of layers, and transpose convolutions."""
    names = {
        each.name: re.sub(r"\b[A-Za-z]\w*", rf"\g<0>{ending}", each.name)
        for each in plan.layers
    }
    names[INPUT] = INPUT
    layers = [
        replace(
            each,
            name=names[each.name],
            inputs=tuple(names[name] for name in each.inputs),
            **(TRANSPOSED if each.op == "conv2d" else {}),  # type: ignore[arg-type]
        )
        for each in plan.layers
    ]
    traffic = [
        replace(
            edge,
            before=names[edge.before],
            values=tuple(names[name] for name in edge.values),
        )
        for edge in plan.traffic
    ]
    return replace(plan, layers=tuple(layers), traffic=tuple(traffic))


@settings(max_examples=20)
@given(placed_nested(), st.sampled_from(["", "_WWWWW_WWWWW", 30 * "W", "_WWWWWWW" * 3]))
def test_any_blocks_are_legible_however_long_their_names(
    data: Data, ending: str
) -> None:
    program = compile_data(data)
    is_legible(draw(renamed(make_plan(program.spec, program.placed), ending)))


def test_of_long_names_some_of_each_layer_is_said() -> None:
    shape = (4, 32, 16)
    head = layer("decoder.upper_half.first_transposed_conv", "conv2d", [INPUT], shape)
    head = replace(head, **TRANSPOSED)  # type: ignore[arg-type]
    act = layer("decoder.upper_half.act", "relu", [head.name], shape)
    words = said(plan_of([head, act]))
    assert words[-8:-2] == [
        *("decoder.", "upper_half.", "first_trans..."),
        *("conv_", "transpose2d...", "act"),
    ]
