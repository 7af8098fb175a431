"""Overlays on a small base, for tests: files in the current folder, and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specgen.diagnostics import Diagnostic, SpecError, render_text
from specgen.frontend.overlay import load
from specgen.source import Source

BASE = """\
specgen: 1
name: Net
# The stem.
layers:
  # Reads the image.
  conv1: {op: conv2d, out_channels: 96, kernel_size: 11, padding: {bottom: 3, right: 3}}
  relu1: {op: relu}
  norm1: {op: local_response_norm, size: 5}
  pool1: {op: max_pool2d, kernel_size: 3}
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {conv1..pool1: split}
data: {augment: [crop, flip]}
"""


def write(text: str, name: str = "top.yaml", head: str = "base.yaml") -> Path:
    """Write an overlay of `head`, or a base without one."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"extends: {head}\n{text}" if head else text)
    return path


def merged(path: Path, *sets: str) -> Source:
    source = load(path, sets)
    assert not source.problems, render_text(source.problems)
    return source


def errors(path: Path, *sets: str) -> list[Diagnostic]:
    try:
        problems = load(path, sets).problems
    except SpecError as error:
        problems = error.diagnostics
    assert problems
    return list(problems)


def one(path: Path, *sets: str) -> tuple[str, str]:
    """Return the code of the only error and the text under its caret."""
    (error,) = errors(path, *sets)
    assert error.span
    start = error.span.column - 1
    return error.code, error.span.text[start : start + error.span.length]


def all_paths(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path, *(p for key, item in items for p in all_paths(item, (*path, key)))]
