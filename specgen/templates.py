"""Where the templates are: the one place that knows."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder: in the package if from a wheel, else beside it."""
    package = Path(__file__).resolve().parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"
