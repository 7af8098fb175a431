"""Generated code, imported."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType

from torch import nn

from specgen.compiler import Program, render


def model_text(program: Program) -> str:
    """Return the generated model.py."""
    return render(program)["model.py"].decode()


def load(text: str) -> ModuleType:
    """Import generated code that stands by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("model", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def network(program: Program, text: str | None = None) -> type[nn.Module]:
    """Return the generated class, or that in an edited text."""
    found = getattr(load(text or model_text(program)), program.spec.name)
    assert isinstance(found, type)
    assert issubclass(found, nn.Module)
    return found
