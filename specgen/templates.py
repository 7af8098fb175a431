"""Where the templates are, and what is kept between two builds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def folder() -> Path:
    """Return the folder: in the package if from a wheel, otherwise next to it."""
    package = Path(__file__).resolve().parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def environment(*, escape: bool, compiled: BytecodeCache | None = None) -> Environment:
    """Return the templates; with `escape`, as pages need, they escape their values."""
    # Imported here: it takes 35 ms, and a build that is up to date needs none.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        bytecode_cache=compiled,
        loader=FileSystemLoader(folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=escape,
    )


def cache() -> Path:
    """Return the user's cache folder of specgen, which may not exist.

    Raises:
        RuntimeError: the user has no home folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.cache").expanduser()
    return base / "specgen"
