"""Networks with branches under placements: the function, what moves, memory, ONNX.

`make fuzz` tries more of them; SPECGEN_GRAPHS is their number.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from graphs import placed_graphs
from helpers import compile_data
from hypothesis import HealthCheck, given, settings
from least import check_least
from replay import check_variables
from strategies import Data
from test_memory import check, check_inference
from test_onnx import check_values
from test_onnx_devices import check_simulation, feed, reference
from test_placement import check_same_function

COUNT = int(os.environ.get("SPECGEN_GRAPHS", "15"))
some = settings(max_examples=COUNT, suppress_health_check=[HealthCheck.too_slow])


@some
@given(placed_graphs())
def test_a_step_is_that_of_one_device_and_moves_what_is_planned(data: Data) -> None:
    check_same_function(compile_data(data))


@settings(some, max_examples=4 * COUNT)
@given(placed_graphs())
def test_only_what_is_read_moves_and_each_variable_holds_what_is_read(
    data: Data,
) -> None:
    placed = compile_data(data).placed
    check_least(placed)
    check_variables(placed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_saves_what_is_planned(precision: str, tmp_path: Path) -> None:
    @some
    @given(placed_graphs())
    def each(data: Data) -> None:
        check(compile_data(data | {"training": {"precision": precision}}), tmp_path)

    each()


def test_inference_takes_what_is_planned(tmp_path: Path) -> None:
    @some
    @given(placed_graphs())
    def each(data: Data) -> None:
        check_inference(compile_data(data), tmp_path)

    each()


@some
@given(placed_graphs())
def test_onnxruntime_gives_what_torch_gives(data: Data) -> None:
    check_values(compile_data(data))


@some
@given(placed_graphs())
def test_annotations_alone_say_how_devices_run_it(data: Data) -> None:
    program = compile_data(data)
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))
