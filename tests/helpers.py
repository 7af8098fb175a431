"""What several test files need: compile a spec, see its errors, import its output."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from specgen.compiler import Program, compile_spec, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.source import Source, parse
from specgen.spec import Spec

ROOT = Path(__file__).parent.parent


def compile_text(text: str, stem: str = "net") -> Program:
    """Compile a spec given as YAML text."""
    source = parse(text.encode(), f"{stem}.yaml")
    return compile_spec(Spec.model_validate(source.data), source, stem)


def compile_data(data: Mapping[str, Any], stem: str = "net") -> Program:
    """Compile a spec given as plain data."""
    source = Source(dict(data), {}, {}, {}, {})
    return compile_spec(Spec.model_validate(source.data), source, stem)


def refused(text: str) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a network or its placement, located."""
    source = parse(text.encode(), "net.yaml")
    with pytest.raises(SpecError) as caught:
        compile_spec(Spec.model_validate(source.data), source, "net")
    return source.locate(caught.value.diagnostics)


def spec_text(stem: str) -> str:
    """Return the text of a spec in specs/."""
    return (ROOT / "specs" / f"{stem}.yaml").read_text()


def load(program: Program, path: Path) -> Any:
    """Write the generated model to a file and import it."""
    path.write_bytes(render(program)["model.py"])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(program: Program, folder: Path, seed: int = 0) -> Any:
    """Return the generated network, all of it on the CPU."""
    folder.mkdir(exist_ok=True)
    module = load(program, folder / "model.py")
    devices = ["cpu"] * len(program.placed.devices)
    return getattr(module, program.spec.name)(devices, seed=seed)
