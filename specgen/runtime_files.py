"""The run-time modules, which are copied next to the networks' folders."""

from __future__ import annotations

from pathlib import Path

from specgen.lock import RUNTIME


def read() -> dict[str, bytes]:
    """Return the content of every file of the folder, by name."""
    folder = Path(__file__).with_name(RUNTIME)
    files = [*folder.glob("*.py"), folder / "requirements.txt"]
    return {file.name: file.read_bytes() for file in sorted(files)}
