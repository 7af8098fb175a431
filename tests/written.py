"""What the tests of the writer need: small builds, and what they wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from specgen import lock, writer
from specgen.diagnostics import Diagnostic, SpecError


def files(**contents: str) -> dict[str, bytes]:
    """Return the files `<name>.py` of a build, with their lock."""
    outputs = {f"{name}.py": text.encode() for name, text in contents.items()}
    spec = Path("net.yaml")
    return outputs | {lock.NAME: lock.dump(spec, {spec: b""}, [], outputs)}


def write(
    folder: Path, contents: dict[str, bytes], *, force: bool = False
) -> writer.Written:
    return writer.write(folder.parent, {folder.name: contents}, force=force)


def drift(folder: Path, contents: dict[str, bytes]) -> list[Diagnostic]:
    return writer.drift(folder.parent, {folder.name: contents})


def names(changes: Iterable[writer.Change]) -> list[str]:
    """Return the names of the files, and "-" before those that are removed."""
    return [("-" if c.new is None else "") + c.path.split("/")[1] for c in changes]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and modification time of everything below the folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in snapshot(folder).items()}


def messages(error: pytest.ExceptionInfo[SpecError]) -> list[str]:
    return [diagnostic.message for diagnostic in error.value.diagnostics]


def build_net(root: Path) -> Path:
    """Return a folder with a build of a, b and c, written long ago."""
    folder = root / "net"
    write(folder, files(a="1", b="2", c="3"))
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    return folder
