from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from specgen import __version__, lock

SPEC = Path("specs/net.yaml")
SOURCES = {Path("specs/bases/base.yaml"): b"base", SPEC: b"net"}
OUTPUTS = {"model.py": b"model", "data.py": b"data"}


def test_names_everything_that_a_build_depends_on() -> None:
    content = lock.dump(SPEC, SOURCES, ["a.b=1"], OUTPUTS)
    assert json.loads(content) == {
        "generator": f"specgen {__version__}",
        "spec": "net.yaml",
        "set": ["a.b=1"],
        "sources": {
            "bases/base.yaml": lock.digest(b"base"),
            "net.yaml": lock.digest(b"net"),
        },
        "outputs": {"data.py": lock.digest(b"data"), "model.py": lock.digest(b"model")},
    }
    assert content.endswith(b"}\n")


def test_an_option_that_changes_the_outputs_stands_in_it() -> None:
    plain = json.loads(lock.dump(SPEC, SOURCES, [], OUTPUTS))
    asked = json.loads(lock.dump(SPEC, SOURCES, [], OUTPUTS, onnx_devices=True))
    assert asked == plain | {"onnx_devices": True}


def test_the_bytes_know_neither_order_nor_place(tmp_path: Path) -> None:
    elsewhere = {tmp_path / path: content for path, content in SOURCES.items()}
    backwards = dict(reversed(OUTPUTS.items()))
    content = lock.dump(
        tmp_path / SPEC, dict(reversed(elsewhere.items())), [], backwards
    )
    assert content == lock.dump(SPEC, SOURCES, [], OUTPUTS)


def test_loads_what_it_dumps(tmp_path: Path) -> None:
    (tmp_path / lock.NAME).write_bytes(lock.dump(SPEC, SOURCES, [], OUTPUTS))
    digests = {name: lock.digest(content) for name, content in OUTPUTS.items()}
    assert lock.load(tmp_path) == (["bases/base.yaml", "net.yaml"], digests)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<<<<<<< ours",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"sources": 1, "outputs": 2}',
        b'{"sources": [], "outputs": [1]}',
        b"[" * 100_000,
    ],
)
def test_a_broken_lock_names_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / lock.NAME).write_bytes(content)
    assert lock.load(tmp_path) == ([], {})


@pytest.mark.parametrize(
    "name", ["../model.py", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "a\n"]
)
def test_a_name_that_leads_out_of_the_folder_is_no_output(
    tmp_path: Path, name: str
) -> None:
    record = {"sources": {}, "outputs": {name: "", "model.py": "0"}}
    (tmp_path / lock.NAME).write_text(json.dumps(record))
    assert lock.load(tmp_path) == ([], {"model.py": "0"})


def test_a_digest_is_sha256_in_hexadecimal() -> None:
    assert re.fullmatch("ba7816bf[0-9a-f]{56}", lock.digest(b"abc"))
