"""Checksums of a checkpoint's contents, without torch: export.py does not need it."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import open_file

OTHER_KIND = "not a checkpoint of train.py"
ONNX_KIND = "only predict.py reads .onnx files"


def write_run(run: Mapping[str, Any], checksums: Mapping[str, int]) -> dict[str, str]:
    """Return the metadata of a checkpoint: JSON and, as a last line, its CRC-32."""
    text = json.dumps({**run, "checksums": dict(checksums)})
    return {"run": f"{text}\n{zlib.crc32(text.encode())}"}


def read_run(
    metadata: Mapping[str, str] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state of a run, as JSON data, and the checksums of its tensors.

    Raises KeyError if train.py did not write it, and ValueError if it is damaged.
    """
    text, newline, found = (metadata or {})["run"].rpartition("\n")
    if not newline:
        raise KeyError("run")
    if found != str(zlib.crc32(text.encode("utf-8", "surrogatepass"))):
        raise ValueError("its metadata is damaged")
    run = json.loads(text)
    checksums = run.pop("checksums", None) if isinstance(run, dict) else None
    if not isinstance(checksums, dict):
        raise KeyError("checksums")
    return run, checksums


def why_unreadable(path: Path, error: Exception) -> str:
    """Return why a file that raised this cannot be read: it may be of another kind."""
    with contextlib.suppress(OSError), open_file(path) as file:
        if file.read(9)[8:] != b"{":  # safetensors: a length of 8 bytes, then JSON
            onnx = f"; {ONNX_KIND}" if path.suffix.lower() == ".onnx" else ""
            return f"it is {OTHER_KIND}{onnx}"
    explained = isinstance(error, OSError | ValueError | RecursionError)
    return str(error) if explained else f"it is damaged or incomplete ({error})"


def checksum(array: NDArray[Any]) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def check_tensors(
    tensors: Mapping[str, NDArray[Any]], checksums: Mapping[str, int]
) -> list[str]:
    """Return the names of tensors that do not have these checksums."""
    return [
        name
        for name, array in tensors.items()
        if checksums.get(name) != checksum(array)
    ]
