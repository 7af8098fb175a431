"""Networks with branches and blocks under placements: function, moves, memory, ONNX.

`make fuzz` tries more of them; SPECGEN_GRAPHS is their number.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import judges
import pytest
from graphs import placed_graphs
from helpers import compile_data, compile_text, refused
from hypothesis import HealthCheck, Phase, given, settings
from least import check_least
from nested import nested, placed_nested
from placed import model_text
from replay import check_variables
from strategies import Data
from test_memory import check, check_inference
from test_onnx import check_values
from test_onnx_devices import check_simulation, feed, reference
from test_placement import check_same_function

NET = """
specgen: 1
name: Net
input: {channels: 3, height: 4, width: 4}
layers:
  conv: {op: conv2d, out_channels: 12, kernel_size: 1}
LAYERS
  flat: {op: flatten}
  fc: {op: linear, out_features: 2}
placement: {devices: {gpu0: {}, gpu1: {}}, layers: {WHERE, flat..fc: gpu0}}
"""
# What was wrong once: two variables for two parts of a value, factors of a product, and
# shares of a concat of which only some learn or are in half precision.
ODD = {
    "one part twice": (
        "  add: {op: add, from: [conv, conv]}",
        "conv: gpu0, add: split",
    ),
    "two parts": (
        "  cat: {op: concat, from: [conv, conv, conv]}",
        "conv: gpu0, cat: split",
    ),
    "three factors": (
        "  product: {op: multiply, from: [conv, conv, conv]}",
        "conv..product: split",
    ),
    "a share of the image": (
        "  cat: {op: concat, from: [input, input, input, input, conv]}\n"
        "  relu: {op: relu}\n  product: {op: multiply, from: [relu, cat]}\n"
        "  conv2: {op: conv2d, out_channels: 12, kernel_size: 1}",
        "conv..conv2: split",
    ),
}

FEW = 5  # files whose types are checked, which takes time
COUNT = int(os.environ.get("SPECGEN_GRAPHS", "15"))
any_placed = placed_graphs() | placed_nested()
some = settings(max_examples=COUNT, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", ODD)
def test_odd_joins(case: str, precision: str, tmp_path: Path) -> None:
    layers, where = ODD[case]
    text = NET.replace("LAYERS", layers).replace("WHERE", where)
    program = compile_text(f"{text}training: {{precision: {precision}}}\n")
    check_least(program.placed)
    check_variables(program.placed)
    check_same_function(program)
    check(program, tmp_path)
    check_inference(program, tmp_path)


def test_a_copy_outside_a_group_has_a_piece_that_came_inside() -> None:
    """The group fetches a part of conv, then all of it, which others read, too."""
    layers = """\
  group:
    layers:
      pool: {op: max_pool2d, kernel_size: 1}
      add: {op: add, from: [pool, conv]}
      norm: {op: batch_norm2d}
  again: {op: add, from: [group, conv]}
  more: {layers: {conv: {op: conv2d, out_channels: 12, kernel_size: 1, from: conv}}}
  sum: {op: add, from: [more, again]}"""
    where = (
        "conv: gpu0, group.pool: split, group.add..group.norm: gpu1, again..sum: gpu1"
    )
    program = compile_text(NET.replace("LAYERS", layers).replace("WHERE", where))
    check_least(program.placed)
    check_variables(program.placed)
    check_same_function(program)


def test_a_share_that_nobody_reads_is_refused() -> None:
    chunk = "  part: {op: chunk, chunks: 2, index: 1}"
    text = NET.replace("LAYERS", chunk).replace("WHERE", "conv: split, part: gpu0")
    (found,) = refused(text)
    assert found.message == "conv: no layer reads what gpu0 would compute of it"
    assert found.help == "place it on one device"


def test_joins_are_drawn() -> None:
    drawn: set[str] = set()

    @settings(max_examples=60, phases=[Phase.generate])
    @given(placed_graphs())
    def each(data: Data) -> None:
        drawn.update(layer["op"] for layer in data["layers"].values())

    each()
    assert drawn >= {"add", "multiply", "concat", "chunk"}


def test_blocks_are_drawn() -> None:
    found: Counter[str] = Counter()
    keys = {"repeat", "when", "names", "first", "inputs", "with", "block", "name"}

    @settings(max_examples=200, phases=[Phase.generate], derandomize=True)
    @given(nested())
    def each(data: Data) -> None:
        text = json.dumps(data | {"name": "", "layers": {"": data["layers"]}})
        found.update(key for key in keys if f'"{key}": ' in text)
        found.update(re.findall(r"\$\((?:not|on|stride|in\.channels|12)", text))
        found.update(s.block or "group" for s in compile_data(data).graph.scopes)

    each()
    assert keys | {"group", "block2", "$(not", "$(stride", "$(12"} <= {*found}


@some
@given(any_placed)
def test_a_step_is_that_of_one_device_and_moves_what_is_planned(data: Data) -> None:
    check_same_function(compile_data(data))


@settings(some, max_examples=4 * COUNT)
@given(any_placed)
def test_only_what_is_read_moves_and_each_variable_holds_what_is_read(
    data: Data,
) -> None:
    placed = compile_data(data).placed
    check_least(placed)
    check_variables(placed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_saves_what_is_planned(precision: str, tmp_path: Path) -> None:
    @some
    @given(any_placed)
    def each(data: Data) -> None:
        check(compile_data(data | {"training": {"precision": precision}}), tmp_path)

    each()


def test_inference_takes_what_is_planned(tmp_path: Path) -> None:
    @some
    @given(any_placed)
    def each(data: Data) -> None:
        check_inference(compile_data(data), tmp_path)

    each()


@some
@given(any_placed)
def test_onnxruntime_gives_what_torch_gives(data: Data) -> None:
    check_values(compile_data(data))


@some
@given(any_placed)
def test_annotations_alone_say_how_devices_run_it(data: Data) -> None:
    program = compile_data(data)
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))


def test_the_code_is_formatted_and_typed(tmp_path: Path) -> None:
    texts: dict[str, None] = {}

    @settings(some, phases=[Phase.generate])
    @given(any_placed)
    def each(data: Data) -> None:
        texts[model_text(compile_data(data))] = None

    each()
    for number, text in enumerate(texts):
        (tmp_path / f"model{number}.py").write_text(text)
    judges.ruff("format --check", tmp_path)
    judges.ruff("check", tmp_path)
    longest = sorted(texts, key=len)[-FEW:]
    (tmp_path / "longest").mkdir()
    for number, text in enumerate(longest):
        (tmp_path / f"longest/longest{number}.py").write_text(text)
    judges.mypy(*(tmp_path / "longest").iterdir(), cwd=tmp_path)
