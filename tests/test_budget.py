"""Budgets: what fits the memory of each device, and what is said if it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import compile_data, compile_text, refused
from placed import TOWERS, towers

from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic, SpecError
from specgen.passes import memory
from specgen.plan import make_plan
from specgen.schema import readable

BUDGET = "{devices: {gpu0: {memory: MEMORY}, gpu1: {}}, layers: {conv1..drop3: split,"
BUDGET = f"{TOWERS}placement: {BUDGET} fc4..prob: gpu0}}}}\n"


def needed(images: int) -> int:
    return memory.plan(towers("two towers").placed)["gpu0"].training(images)


def test_a_budget_that_is_met() -> None:
    compile_text(BUDGET.replace("MEMORY", str(needed(128))))


def over(text: str) -> Diagnostic:
    (found,) = refused(text)
    assert found.code == "over-budget"
    assert found.path == ("placement", "devices", "gpu0", "memory")
    return found


def test_a_budget_names_the_layers_and_the_largest_batch() -> None:
    found = over(BUDGET.replace("MEMORY", str(needed(128) - 1)))
    assert found.message == (
        f"training on 128 images at once takes {readable(needed(128))} of gpu0,"
        f" which has {readable(needed(128) - 1)}"
    )
    assert found.notes == (
        "largest layers: norm1 784.00 KiB, relu1 392.00 KiB, conv1 385.31 KiB,"
        " norm2 288.00 KiB",
        "CUDA, its libraries and fragmentation come on top",
    )
    assert found.help == (
        "training.batch_size can be at most 127, or training.accumulate at least 2"
    )
    assert found.span
    assert found.span.text[found.span.column - 1 :].startswith(str(needed(128) - 1))


def test_the_largest_layers_fit_a_line() -> None:
    long = "a_name_that_is_almost_a_line"
    text = BUDGET.replace("norm1", long)
    (note, _) = over(text.replace("MEMORY", str(needed(128) - 1))).notes
    assert note == f"largest layers: {long} 784.00 KiB, relu1 392.00 KiB"


def test_the_largest_batch_just_fits() -> None:
    training = "training: {batch_size: BATCH, accumulate: 4}\n"
    text = BUDGET.replace("MEMORY", str(needed(10))) + training
    compile_text(text.replace("BATCH", "40"))
    found = over(text.replace("BATCH", "41"))
    assert found.message.startswith("training on 11 images at once takes")
    assert found.help == (
        "training.batch_size can be at most 40, or training.accumulate at least 5"
    )
    compile_text(text.replace("BATCH", "41").replace("accumulate: 4", "accumulate: 5"))


def test_a_budget_that_not_even_one_image_fits() -> None:
    found = over(BUDGET.replace("MEMORY", "1KiB"))
    assert found.help == "not even one image fits: place fewer layers there"


def test_a_budget_is_not_blamed_for_another_s() -> None:
    text = BUDGET.replace("MEMORY", str(needed(100)))
    first, second = refused(text.replace("gpu1: {}", "gpu1: {memory: 2kB}"))
    assert first.help
    assert first.help.startswith("training.batch_size can be at most 100, or")
    assert second.help == "not even one image fits: place fewer layers there"


def test_the_largest_batch_fits_all_devices() -> None:
    """Also if the first device has room for more."""
    other = memory.plan(towers("two towers").placed)["gpu1"].training(50)
    text = BUDGET.replace("MEMORY", str(needed(100)))
    text = text.replace("gpu1: {}", f"gpu1: {{memory: {other}}}")
    for found in refused(text):
        assert found.help
        assert found.help.startswith("training.batch_size can be at most 50, or")
    program = compile_text(f"{text}training: {{batch_size: 1}}\n")
    plan = make_plan(program.spec, program.placed)
    assert [device.memory.most_images for device in plan.devices] == [100, 50]
    assert plan.most_images == 50


def test_budgets_of_several_devices() -> None:
    text = BUDGET.replace("MEMORY", "1KiB").replace("gpu1: {}", "gpu1: {memory: 2kB}")
    assert [found.path for found in refused(text)] == [
        ("placement", "devices", "gpu0", "memory"),
        ("placement", "devices", "gpu1", "memory"),
    ]


SIZES = {
    "3GiB": 3 * 2**30,
    "1.5 MiB": 3 * 2**19,
    "2kB": 2000,
    "0.1GB": 10**8,
    "512B": 512,
    "4096": 4096,
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str) -> None:
    network = {"specgen": 1, "name": "Net"} | {
        "input": {"channels": 3, "height": 2, "width": 2},
        "layers": {
            "flat": {"op": "flatten"},
            "fc": {"op": "linear", "out_features": 2},
        },
        "training": {"batch_size": 1},
    }
    memory = int(size) if size.isdecimal() else size
    placement = {
        "devices": {"gpu0": {"memory": memory}},
        "layers": {"flat..fc": "gpu0"},
    }
    program = compile_data(network | {"placement": placement})
    assert program.spec.placement.devices["gpu0"].memory == SIZES[size]


@pytest.mark.parametrize(
    "size", ["3GO", "-1GiB", "1e3", "GiB", "", "1.GiB", "0", "0.1B"]
)
def test_values_that_are_not_sizes(size: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(BUDGET.replace("MEMORY", repr(size)))
    with pytest.raises(SpecError) as caught:
        compile_file(path)
    (found,) = caught.value.diagnostics
    assert found.path == ("placement", "devices", "gpu0", "memory")


def test_readable_sizes() -> None:
    counts = (1023, 1024, 5 * 2**19, 3 * 2**30)
    assert list(map(readable, counts)) == ["1023 B", "1.00 KiB", "2.50 MiB", "3.00 GiB"]


def test_a_budget_counts_what_autocast_takes() -> None:
    training = "training: {precision: bfloat16, batch_size: BATCH}\n"
    held = memory.plan(towers("two towers").placed, half=True)["gpu0"]
    text = BUDGET.replace("MEMORY", str(held.training(10))) + training
    compile_text(text.replace("BATCH", "10"))
    found = over(text.replace("BATCH", "11"))
    assert found.help
    assert found.help.startswith("training.batch_size can be at most 10, or")
