"""A small edit of a spec is a small difference in review, in every generated file.

The bounds are what was measured when they were written down: lines removed, and lines
added. A file that is not named does not change, except `model.onnx` and the lock, which
nobody reads in review.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

import pytest
from helpers import compile_text, spec_text

from specgen.compiler import render

ALEXNET = spec_text("alexnet")
SHORT = {
    "model": "model.py",
    "recipe": "recipe.py",
    "data": "data.py",
    "train": "train.py",
    "readme": "README.md",
    "picture": "architecture.svg",
    "graph": "model.onnx.txt",
}


class Edit(NamedTuple):
    """Words of the spec, what replaces them, and how many lines may change."""

    old: str
    new: str
    most: Mapping[str, int]


CONV4 = "conv4: {op: conv2d, out_channels: 384, kernel_size: 3, padding: 1"
NORM2 = "norm2: {op: local_response_norm, size: 5, alpha: 1e-4, beta: 0.75, k: 2"
SPLIT = "conv1..drop7: split\n    fc8..prob: gpu0"
PLATEAU = """\
    kind: plateau
    # Ours: Section 5 judges by eye when validation error stops improving.
    patience: 3
    # Section 5.
    drops: 3
    # Section 5.
    factor: 0.1
"""

EDITS = {
    # What people read is there once, or twice where a comment is.
    "the summary": Edit(
        "summary: AlexNet as", "summary: AlexNet, as", {"model": 3, "readme": 2}
    ),
    "a comment": Edit("# Each tower", "# Each of them", {"model": 2, "readme": 2}),
    # The layer, the one that reads it, all totals; the blocks of both devices with the
    # lines that end at them, and the memory of both lanes.
    "channels of a layer": Edit(
        "conv3: {op: conv2d, out_channels: 384",
        "conv3: {op: conv2d, out_channels: 256",
        {"model": 12, "picture": 30, "readme": 12, "graph": 10},
    ),
    # The same, and a row per layer after it, up to the next that learns.
    "features of a layer": Edit(
        "fc6: {op: linear, out_features: 4096",
        "fc6: {op: linear, out_features: 2048",
        {"model": 14, "picture": 22, "readme": 20, "graph": 12},
    ),
    # Where no shape changes, no block does.
    "a kernel": Edit(
        "kernel_size: 5, padding: 2",
        "kernel_size: 3, padding: 1",
        {"model": 6, "picture": 10, "readme": 8, "graph": 4},
    ),
    # One more exchange: a line each way, and its bytes.
    "groups of a layer": Edit(
        f"{CONV4}, groups: 2",
        CONV4,
        {"model": 8, "picture": 12, "readme": 12, "graph": 4},
    ),
    # It changes every shape up to fc6, so every block, and most rows.
    "a stride": Edit(
        "stride: 4, padding",
        "stride: 2, padding",
        {"model": 24, "picture": 100, "readme": 50, "graph": 52},
    ),
    "the size of the image": Edit(
        "height: 224, width: 224",
        "height: 192, width: 192",
        {"model": 26, "data": 2, "picture": 108, "readme": 54, "graph": 52},
    ),
    "the number of classes": Edit(
        "out_features: 1000",
        "out_features: 10",
        {"model": 14, "picture": 10, "readme": 8, "graph": 6},
    ),
    # Neither picture nor README says what a layer does only in training.
    "dropout": Edit(
        "drop6: {op: dropout, p: 0.5}",
        "drop6: {op: dropout, p: 0.3}",
        {"model": 2, "graph": 2},
    ),
    "how all layers start": Edit(
        "{normal: {std: 0.01}}", "kaiming_normal", {"model": 16, "readme": 2}
    ),
    "how one layer starts": Edit(
        ", init: {bias: 1}}\n  relu2", "}\n  relu2", {"model": 2, "readme": 1}
    ),
    # Its row, and the memory of both devices.
    "a layer taken out": Edit(
        f"  {NORM2}, groups: 2}}\n",
        "",
        {"model": 5, "picture": 9, "readme": 5, "graph": 11},
    ),
    # A ninth column begins a second row of lanes; what comes after it only moves.
    "a column put in": Edit(
        "  conv5:",
        f"  {CONV4.replace('4:', '9:')}, groups: 2}}\n  relu9: {{op: relu}}\n  conv5:",
        {"model": 9, "picture": 44, "readme": 8, "graph": 8},
    ),
    "a layer put in": Edit(
        "  flat: {",
        "  relu9: {op: relu}\n  flat: {",
        {"model": 6, "picture": 8, "readme": 5, "graph": 4},
    ),
    "a layer renamed": Edit(
        "  relu5:", "  act5:", {"picture": 4, "readme": 2, "graph": 6}
    ),
    "a budget": Edit(
        "gpu0: {memory: 3GiB}", "gpu0: {memory: 4GiB}", {"picture": 2, "readme": 2}
    ),
    "where the last layers run": Edit(
        SPLIT, SPLIT[:-1] + "1", {"model": 6, "picture": 14, "readme": 6}
    ),
    # Two towers become one: half of the model is removed, one lane is almost empty, and
    # the image moves to the other.
    "layers no longer split": Edit(
        SPLIT,
        SPLIT.replace("split", "gpu1"),
        {"model": 151, "train": 4, "picture": 86, "readme": 14},
    ),
    "the epochs": Edit("epochs: 90", "epochs: 60", {"recipe": 2, "readme": 2}),
    "the rate": Edit("lr: 0.01", "lr: 0.02", {"recipe": 2, "readme": 2}),
    # Memory, and what crosses in a step, are for a batch.
    "the batch": Edit(
        "batch_size: 128",
        "batch_size: 64",
        {"recipe": 2, "picture": 6, "readme": 26},
    ),
    "the decay": Edit(
        "weight_decay: 5e-4", "weight_decay: 1e-4", {"recipe": 2, "readme": 2}
    ),
    "the schedule": Edit(
        PLATEAU, "    kind: cosine\n", {"recipe": 22, "train": 4, "readme": 6}
    ),
    "flips": Edit("flip: true", "flip: false", {"data": 11, "readme": 2}),
}


@pytest.fixture(scope="module")
def before() -> dict[str, bytes]:
    return render(compile_text(ALEXNET, "alexnet"))


@pytest.mark.parametrize("name", EDITS)
def test_a_small_edit_is_a_small_difference(
    name: str, before: dict[str, bytes]
) -> None:
    edit = EDITS[name]
    assert ALEXNET.count(edit.old) == 1
    after = render(compile_text(ALEXNET.replace(edit.old, edit.new), "alexnet"))
    assert after.keys() == before.keys()
    most = {SHORT[short]: lines for short, lines in edit.most.items()}
    for file in before.keys() - {"model.onnx"}:
        lines = changed_lines(before[file].decode(), after[file].decode())
        assert lines <= most.get(file, 0), f"{file} changes in {lines} lines"
        assert lines > 0 or file not in most, f"{file} does not change"


def changed_lines(before: str, after: str) -> int:
    """Count the lines removed and added."""
    a, b = before.splitlines(), after.splitlines()
    return sum(
        end - start + stop - begin
        for tag, start, end, begin, stop in SequenceMatcher(
            None, a, b, autojunk=False
        ).get_opcodes()
        if tag != "equal"
    )
