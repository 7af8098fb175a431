"""A compiler from a YAML spec of a neural network to PyTorch code and ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Change",
    "CompiledSpec",
    "Diagnostic",
    "Difference",
    "Plan",
    "SpecError",
    "Tier",
    "load",
]

if TYPE_CHECKING:
    from specgen.api import CompiledSpec, load
    from specgen.diagnostics import Diagnostic, SpecError
    from specgen.diff import Change, Difference, Tier
    from specgen.plan import Plan

# Imported on first use: compiling takes 180 ms of imports, `--version` none.
_HOMES = {
    "Change": "specgen.diff",
    "CompiledSpec": "specgen.api",
    "Diagnostic": "specgen.diagnostics",
    "Difference": "specgen.diff",
    "Plan": "specgen.plan",
    "SpecError": "specgen.diagnostics",
    "Tier": "specgen.diff",
    "load": "specgen.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, even before they are imported."""
    return sorted([*globals(), *_HOMES])
