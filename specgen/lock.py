"""The lock file: what was generated, from what, and by which version.

It contains what no other generated file may: the hashes of the spec's files and the
outputs, the overrides, and the generator's version. No path in it is absolute.

It is JSON with one fact per line, and is read line by line. So it can be read even if a
merge in it is unfinished, or kept the lines of both sides: then several hashes of one
file are known.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from specgen import __version__

NAME = "specgen.lock"
RUNTIME = "runtime"  # the folder of the modules that all networks share
STAGE = ".specgen-stage"  # next to the folders, only while files are swapped
PLAIN = re.compile(r"\w[\w.=-]{0,98}")  # a name that stays inside its folder


class Lock(NamedTuple):
    """What a lock file records: after a merge, perhaps several hashes of a file."""

    runtimes: set[str]
    sources: dict[str, set[str]]
    outputs: dict[str, set[str]]


def dump(
    spec: Path,
    sources: Mapping[Path, bytes],
    sets: Sequence[str],
    outputs: Mapping[str, bytes],
    *,
    runtime: str = "",
    onnx_devices: bool = False,
) -> bytes:
    """Return the lock file of a network's folder.

    `sources` are all files that were read for `spec`, itself among them; they are
    named relative to its folder. `outputs` are the files next to the lock, by name.
    `runtime` is the digest of the shared runtime's lock file; it and `onnx_devices`
    are left out where they say nothing. Equal arguments give equal bytes.
    """
    names = {os.path.relpath(path, spec.parent): path for path in sources}
    return _text(
        {
            "spec": spec.name,
            "set": list(sets),
            **({"onnx_devices": True} if onnx_devices else {}),
            **({"runtime": runtime} if runtime else {}),
            "sources": {
                Path(n).as_posix(): digest(n, sources[names[n]]) for n in sorted(names)
            },
        },
        outputs,
    )


def dump_runtime(outputs: Mapping[str, bytes]) -> bytes:
    """Return the lock file of the modules that all networks share."""
    return _text({}, outputs)


def amend(content: bytes, outputs: Mapping[str, str | None]) -> bytes:
    """Return the lock file with new hashes for some outputs; None removes them."""
    record = json.loads(content)
    merged = record["outputs"] | outputs
    record["outputs"] = {n: merged[n] for n in sorted(merged) if merged[n] is not None}
    return _json(record)


def load(folder: Path) -> Lock:
    """Read the folder's lock file; without one, nothing is recorded."""
    path = folder / NAME
    try:
        return parse(path.read_bytes() if path.is_file() else b"")
    except OSError:
        return parse(b"")


def parse(content: bytes) -> Lock:
    """Return what the lines of a lock file say, from both sides of a conflict.

    A line without useful content is skipped, and so is an output with a name
    that points outside the folder.
    """
    lock = Lock(set(), {}, {})
    section = before = ""
    for line in content.decode(errors="replace").splitlines():
        if line.startswith("<<<<<<<"):
            before = section
        elif line.startswith(("|||||||", "=======")):  # the same place again
            section = before
        else:
            key, _, value = line.strip().removesuffix(",").partition('": ')
            opens = value in ("{", "[")
            if not (key.startswith('"') and (opens or value.startswith('"'))):
                continue
            try:
                key, text = json.loads(f'{key}"'), "" if opens else json.loads(value)
            except ValueError:
                continue
            if opens:
                section = key
            elif section == "outputs" and PLAIN.fullmatch(key):
                lock.outputs.setdefault(key, set()).add(text)
            elif section == "sources":
                lock.sources.setdefault(key, set()).add(text)
            elif key == "runtime":
                lock.runtimes.add(text)
    return lock


def plain(name: str, content: bytes) -> bytes:
    """Return the content of a file whatever line endings git checked it out with."""
    return content if name.endswith(".onnx") else content.replace(b"\r\n", b"\n")


def digest(name: str, content: bytes) -> str:
    """Return the SHA-256 of a file's plain content in hexadecimal."""
    return sha256(plain(name, content)).hexdigest()


def _text(origin: Mapping[str, Any], outputs: Mapping[str, bytes]) -> bytes:
    hashes = {name: digest(name, outputs[name]) for name in sorted(outputs)}
    generator = f"specgen {__version__}"
    return _json({"generator": generator, **origin, "outputs": hashes})


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()
