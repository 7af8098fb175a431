"""Tell without compiling that a build would change nothing.

After a build, a marker in the user's cache says: this generator wrote this lock file
into this folder, for this spec. As long as generator and lock are the same, and the
spec's files and the outputs are those of the lock, a build would write what is there.
They are compared by content, and dependencies by where they are imported from and when
something was last installed there. It is fast because none of them is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from specgen import lock, templates

DEPENDENCIES = ("pydantic", "yaml", "jinja2", "onnx")
WARNED = " warned"
UNUSABLE = (OSError, ValueError, RuntimeError)  # RuntimeError: there is no home folder


def is_current(
    spec: Path, sets: Sequence[str], folder: Path, *, onnx_devices: bool = False
) -> bool:
    """Tell whether building `spec` into `folder` is known to change nothing."""
    try:
        content = lock.plain(lock.NAME, _read(folder / lock.NAME))
        if _marker(folder).read_text().partition("\n")[0] != _key(content):
            return False  # among others if there were warnings, to repeat them
        if os.path.lexists(
            folder.parent / lock.STAGE
        ):  # a build, perhaps an interrupted one
            return False
        record = lock.parse(content)
        files = {spec.parent / n: _read(spec.parent / n) for n in record.sources}
        runtime = "".join(record.runtimes)
        built = lock.dump(
            spec,
            files,
            sets,
            _outputs(folder, record),
            runtime=runtime,
            onnx_devices=onnx_devices,
        )
        if spec not in files or built != content:
            return False
        return not runtime or runtime == _runtime(folder.parent / lock.RUNTIME)
    except UNUSABLE:
        return False


def remember(folder: Path, spec: Path, content: bytes, *, warned: bool = False) -> None:
    """Note that the lock file `content` was written into `folder` for `spec` just now.

    If there were warnings, the next build is not skipped: it shows them again. It is
    not an error if the cache cannot be written.
    """
    with suppress(*UNUSABLE):
        marker = _marker(folder)
        marker.parent.mkdir(parents=True, exist_ok=True)
        state = f"{_key(content)}{WARNED if warned else ''}"
        marker.write_text(f"{state}\n{spec.resolve()}")


def built_from(folder: Path) -> Path | None:
    """Return the spec that `folder` was built from, if it was on this machine."""
    with suppress(*UNUSABLE):
        content = lock.plain(lock.NAME, _read(folder / lock.NAME))
        key, _, spec = _marker(folder).read_text().partition("\n")
        if key.removesuffix(WARNED) == _key(content):
            return Path(spec)
    return None


def _runtime(folder: Path) -> str:
    """Return the digest of the runtime's lock; "" if the files do not match it."""
    content = lock.plain(lock.NAME, _read(folder / lock.NAME))
    built = lock.dump_runtime(_outputs(folder, lock.parse(content)))
    return lock.digest(lock.NAME, content) if built == content else ""


def _outputs(folder: Path, record: lock.Lock) -> dict[str, bytes]:
    return {name: _read(folder / name) for name in record.outputs}


def _marker(folder: Path) -> Path:
    """Return the folder's marker: one per folder, so that the cache stays small."""
    return templates.cache() / sha256(os.fsencode(folder.resolve())).hexdigest()


def _key(content: bytes) -> str:
    return sha256(_generator() + content).hexdigest()


@cache
def _generator() -> bytes:
    """Return a digest of what a build runs: own code, templates, Python, packages.

    Computed once, so it describes the code that this process started with.
    """
    state = sha256(sys.version.encode())
    own, layouts = _files(Path(__file__).parent, ".py", ".txt"), templates.folder()
    for file in sorted([*own, *_files(layouts, ".j2")]):
        with open(file, "rb", buffering=0) as stream:
            content = stream.read()
        state.update(f"{file} {len(content)} ".encode() + content)
    for name in DEPENDENCIES:
        found = find_spec(name)
        if found and found.origin:
            packages = Path(found.origin).parents[1]  # site-packages
            state.update(f"{packages} {packages.stat().st_mtime_ns} ".encode())
    return state.digest()


def _files(top: Path, *suffixes: str) -> Iterator[str]:
    for folder, _, names in os.walk(top):  # in half the time of glob
        yield from (os.path.join(folder, n) for n in names if n.endswith(suffixes))


def _read(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe or a device would not end
        raise FileNotFoundError(path)
    return path.read_bytes()
