"""What several test files need: compile a spec, see its errors, import its output."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from specgen import lock, runtime_files
from specgen.compiler import Program, compile_read, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.source import parse

ROOT = Path(__file__).parent.parent

TOWERS = """
specgen: 1
name: Towers
summary: two towers that meet at conv2 and at the linear layers
input: {channels: 3, height: 12, width: 12}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: {bottom: 1, right: 1}}
  relu1: {op: relu}
  norm1: {op: local_response_norm, size: 3, alpha: 0.1, groups: 4}
  pool1: {op: max_pool2d, kernel_size: 3, stride: 2}
  conv2: {op: conv2d, out_channels: 16, kernel_size: 3, bias: false}
  conv3: {op: conv2d, out_channels: 8, kernel_size: 3, groups: 4, init: {bias: 1}}
  flat: {op: flatten}
  fc4: {op: linear, out_features: 16, init: {weight: {normal: {std: 0.5}}}}
  relu4: {op: relu}
  drop4: {op: dropout}
  fc5: {op: linear, out_features: 5}
  prob: {op: softmax}
init: {weight: kaiming_normal, bias: 0}
"""
PLACEMENTS = {
    "one": "{devices: {gpu0: {}}, layers: {conv1..prob: gpu0}}",
    "two": "{devices: {gpu0: {}, gpu1: {}},"
    " layers: {conv1..drop4: split, fc5..prob: gpu0}}",
    "four": "{devices: {a0: {}, a1: {}, a2: {}, a3: {}},"
    " layers: {conv1..drop4: split, fc5..prob: a2}}",
    "mixed": "{devices: {gpu0: {}, gpu1: {}, gpu2: {}}, layers: {conv1..pool1: gpu1,"
    " conv2..flat: {split: [gpu2, gpu0]}, fc4..relu4: gpu0, drop4..prob: gpu1}}",
}


def compile_text(text: str, stem: str = "net") -> Program:
    """Compile a spec given as YAML text."""
    return compile_read(parse(text.encode(), f"{stem}.yaml"), stem)


def compile_data(data: Mapping[str, Any], stem: str = "net") -> Program:
    """Compile a spec given as plain data."""
    return compile_text(json.dumps(data), stem)


def towers(placement: str) -> Program:
    """Compile a small network with everything that affects a split."""
    return compile_text(f"{TOWERS}placement: {PLACEMENTS[placement]}\n")


def refused(text: str) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a spec, located."""
    with pytest.raises(SpecError) as caught:
        compile_text(text)
    return caught.value.diagnostics


def spec_text(stem: str) -> str:
    """Return the text of a spec in specs/."""
    return (ROOT / "specs" / f"{stem}.yaml").read_text()


def write(program: Program, folder: Path) -> Path:
    """Write what is generated, and the run-time modules next to it."""
    runtime = folder.parent / lock.RUNTIME
    for target, files in ((folder, render(program)), (runtime, runtime_files.read())):
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_bytes(content)
    return folder


def load(program: Program, path: Path) -> Any:
    """Write the generated model to a file and import it."""
    path.write_bytes(render(program)["model.py"])
    return import_file(path)


def import_file(path: Path) -> Any:
    """Import a Python file under its own name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(program: Program, folder: Path, seed: int = 0) -> Any:
    """Return the generated network, all of it on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    module = load(program, folder / "model.py")
    devices = ["cpu"] * len(program.placed.devices)
    return getattr(module, program.spec.name)(devices, seed=seed)
