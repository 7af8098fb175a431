"""The lock file: what was generated, from what, and by which version.

It holds what no other generated file may: the hashes of the spec's files and of the
outputs, the overrides, and the generator's version. No path in it is absolute.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from specgen import __version__

NAME = "specgen.lock"


def dump(
    spec: Path,
    sources: Mapping[Path, bytes],
    sets: Sequence[str],
    outputs: Mapping[str, bytes],
    *,
    onnx_devices: bool = False,
) -> bytes:
    """Return the lock file's content: equal arguments give equal bytes.

    `sources` are all files that were read for `spec`, itself among them; they are
    named relative to its folder. `outputs` are the files beside the lock, by name.
    `onnx_devices` stands only where it was asked for.
    """
    names = {os.path.relpath(path, spec.parent): path for path in sources}
    record = {
        "generator": f"specgen {__version__}",
        "spec": spec.name,
        "set": list(sets),
        **({"onnx_devices": True} if onnx_devices else {}),
        "sources": {
            Path(n).as_posix(): digest(sources[names[n]]) for n in sorted(names)
        },
        "outputs": {name: digest(outputs[name]) for name in sorted(outputs)},
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def load(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names of the sources, and the outputs' names with their hashes.

    Without a lock file, or with one that a merge has broken, both are empty. A name
    that leads out of the folder is none of an output.
    """
    try:
        record = json.loads((folder / NAME).read_bytes())
        sources, outputs = list(record["sources"]), dict(record["outputs"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return [], {}
    plain = re.compile(r"\w[\w.-]*")
    return sources, {
        name: known
        for name, known in outputs.items()
        if isinstance(name, str) and len(name) < 100 and plain.fullmatch(name)
    }


def digest(content: bytes) -> str:
    """Return the SHA-256 of the content in hexadecimal."""
    return sha256(content).hexdigest()
