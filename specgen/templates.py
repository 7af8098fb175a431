"""Where the templates are, and what is kept between two builds."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """Return the folder: in the package if from a wheel, else beside it."""
    package = Path(__file__).resolve().parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def cache() -> Path:
    """Return the user's cache folder of specgen, which may not exist.

    Raises:
        RuntimeError: the user has no home folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.cache").expanduser()
    return base / "specgen"
