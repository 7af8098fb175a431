"""The statements of `forward`: what ends one, and how a long one is laid out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from helpers import compile_text
from placed import PLACEMENTS, TOWERS, model_text
from test_memory import check, check_inference, planned

from specgen.compiler import Program
from specgen.names import LONGEST
from specgen.passes import memory
from specgen.passes.routine import Apply, Fetch
from specgen.passes.schedule import MOST_CALLS, schedule

# Without norm2, for a statement that ends with a flatten.
SHORT = f"{TOWERS}placement: {PLACEMENTS['two, then four']}\n".replace(
    "  norm2: {op: spatial_response_norm, size: 3, alpha: 0.1}\n", ""
)


def with_long_names() -> Program:
    """The same network, with names that break the lines of its `forward`."""
    text = SHORT
    for node in compile_text(SHORT).graph.nodes:
        long = f"{node.name}_{'n' * (LONGEST - len(node.name) - 2)}"
        text = re.sub(rf"\b{node.name}\b", long, text)
    return compile_text(text)


def test_the_plan_does_not_depend_on_the_length_of_names(tmp_path: Path) -> None:
    short, long = compile_text(SHORT), with_long_names()
    check(long, tmp_path)
    check_inference(long, tmp_path)
    assert planned(long, 3) == planned(short, 3)
    lives = [memory.plan(program.placed) for program in (short, long)]
    assert [p.live for p in lives[0].values()] == [p.live for p in lives[1].values()]


def test_long_names_are_laid_out_as_the_formatter_does(tmp_path: Path) -> None:
    text = model_text(with_long_names())
    assert ",\n            1,\n        )" in text  # of a flatten around what breaks
    path = tmp_path / "model.py"
    path.write_text(text)
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", str(path)]
    subprocess.run(ruff, check=True)


def test_a_statement_begins_with_what_moves_and_with_parameters() -> None:
    steps = schedule(compile_text(SHORT).placed).steps
    for step in steps:
        if isinstance(step, Apply):
            assert len(step.layers) <= MOST_CALLS
            assert not any(layer.node.parameters for layer in step.layers[1:])
            assert not any(layer.moves for layer in step.layers[1:])
    moving = [step.layer.node.name for step in steps if isinstance(step, Fetch)]
    assert moving == ["conv1", "fc3", "fc4", "prob"]


def test_many_calls_become_several_statements() -> None:
    again = "\n".join(f"  again{index}: {{op: relu}}" for index in range(6))
    text = TOWERS.replace("  drop3:", f"{again}\n  drop3:")
    forward = model_text(compile_text(text))
    assert "x = F.relu(F.relu(F.relu(self.fc3(x))))" in forward
    assert "x = F.relu(F.relu(F.relu(F.relu(x))))" in forward
