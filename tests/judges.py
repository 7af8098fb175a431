"""The formatter, the linter and the type checker, on what is generated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def ruff(command: str, folder: Path) -> None:
    """Judge all files of a folder by the project's rules."""
    options = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), *options, str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mypy(*arguments: object, cwd: Path, beside: Path | None = None) -> None:
    """Check types strictly; modules are also found in the folder `beside`.

    Every pytest worker has a cache. It starts as a copy of the project's, which already
    has torch: that takes a minute to read.
    """
    cache = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "one")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not cache.exists() and (cache.parent / version).exists():
        shutil.copytree(cache.parent / version, cache / version)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | ({"MYPYPATH": str(beside)} if beside else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
