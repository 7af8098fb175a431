"""Checksums of an exported ONNX file, and of the weights next to it.

The last bytes of the file are one more entry of its metadata: `sha256`, of all bytes
before them. Protobuf merges bytes that are appended to a message into it. The entry
`weights`, JSON, has the name of the weights' file and its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx

from .console import readable, shown
from .errors import CheckpointError
from .files import open_file

# ModelProto.metadata_props, 74 bytes: key (6 bytes), value (64 bytes).
HEAD = b"\x72\x4a\x0a\x06sha256\x12\x40"
LENGTH = len(HEAD) + 64


def seal(content: bytes) -> bytes:
    """Return a serialized model with its checksum."""
    return content + HEAD + hashlib.sha256(content).hexdigest().encode()


def verify(path: Path) -> dict[str, str]:
    """Return an exported file's metadata, after checking that its weights belong to it.

    Raises CheckpointError if the file was not written by export.py, or if it or the
    file next to it has changed since.
    """
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(path)}: {error.strerror}") from None
    content = whole[:-LENGTH]
    if whole[-LENGTH:].startswith(HEAD) and seal(content) != whole:
        raise CheckpointError(f"{shown(path)} is damaged: its checksum is wrong")
    try:
        model = onnx.load_model_from_string(whole)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        weights: Any = json.loads(metadata.get("weights", "null"))
    except Exception:  # protobuf's, which onnx does not name, and JSON's
        raise CheckpointError(
            f"{shown(path)} is not an ONNX file of export.py"
        ) from None
    if "sha256" not in metadata:
        raise CheckpointError(f"{shown(path)} was not written by export.py")
    if seal(content) != whole:
        raise CheckpointError(f"{shown(path)} has changed since export.py wrote it")
    beside = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if weights is None and not beside:
        return metadata
    try:
        name, expected = weights["file"], weights["sha256"]
        good = isinstance(name, str) and beside == {name}
    except (KeyError, TypeError):
        good = False
    if not good:
        raise CheckpointError(f"{shown(path)} was not written by export.py")
    _verify_weights(path, name, expected)
    return metadata


def _verify_weights(path: Path, name: str, expected: str) -> None:
    """Raise CheckpointError unless the weights' file is that of the export."""
    beside = readable(name)
    try:
        with open_file(path.with_name(name)) as file:
            digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        found = digest.hexdigest()
    except (OSError, ValueError):
        problem = (
            f"the weights of {shown(path)} are missing: {beside} belongs next to it"
        )
        raise CheckpointError(problem) from None
    if found != expected:
        problem = f"{beside} does not have the weights of {shown(path)}: export again"
        raise CheckpointError(problem)
