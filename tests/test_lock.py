from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from specgen import __version__, lock

SPEC = Path("specs/net.yaml")
SOURCES = {Path("specs/bases/base.yaml"): b"base", SPEC: b"net"}
OUTPUTS = {"model.py": b"model", "data.py": b"data"}
DIGESTS = {name: lock.digest(name, content) for name, content in OUTPUTS.items()}
NOTHING = lock.Lock(set(), {}, {})


def test_names_everything_that_a_build_depends_on() -> None:
    content = lock.dump(SPEC, SOURCES, ["a.b=1"], OUTPUTS)
    assert json.loads(content) == {
        "generator": f"specgen {__version__}",
        "spec": "net.yaml",
        "set": ["a.b=1"],
        "sources": {
            "bases/base.yaml": lock.digest("base.yaml", b"base"),
            "net.yaml": lock.digest("net.yaml", b"net"),
        },
        "outputs": DIGESTS,
    }
    assert content.endswith(b"}\n")


def test_an_option_that_changes_the_outputs_is_in_it() -> None:
    plain = json.loads(lock.dump(SPEC, SOURCES, [], OUTPUTS))
    asked = json.loads(lock.dump(SPEC, SOURCES, [], OUTPUTS, onnx_devices=True))
    assert asked == plain | {"onnx_devices": True}


def test_the_bytes_depend_on_neither_order_nor_place(tmp_path: Path) -> None:
    elsewhere = {tmp_path / path: content for path, content in SOURCES.items()}
    backwards = dict(reversed(OUTPUTS.items()))
    sources = dict(reversed(elsewhere.items()))
    content = lock.dump(tmp_path / SPEC, sources, [], backwards)
    assert content == lock.dump(SPEC, SOURCES, [], OUTPUTS)


def test_loads_what_it_dumps(tmp_path: Path) -> None:
    content = lock.dump(SPEC, SOURCES, [], OUTPUTS, runtime="12")
    expected = lock.Lock(
        {"12"},
        {
            "bases/base.yaml": {lock.digest("base.yaml", b"base")},
            "net.yaml": {lock.digest("net.yaml", b"net")},
        },
        {name: {digest} for name, digest in DIGESTS.items()},
    )
    for text in (content, content.replace(b"\n", b"\r\n")):
        (tmp_path / lock.NAME).write_bytes(text)
        assert lock.load(tmp_path) == expected


def test_both_sides_of_a_merge_are_read() -> None:
    content = b"""{
<<<<<<< HEAD
  "spec": "a.yaml",
  "sources": {
    "net.yaml": "1"
  },
  "outputs": {
    "data.py": "1",
    "model.py": "1"
||||||| base
  "spec": "a.yaml",
  "sources": {
    "net.yaml": "0"
  },
  "outputs": {
    "data.py": "0",
    "model.py": "0"
=======
  "spec": "b.yaml",
  "sources": {
    "net.yaml": "2",
    "more.yaml": "2"
  },
  "outputs": {
    "data.py": "2"
>>>>>>> theirs
  }
}
"""
    assert lock.parse(content) == lock.Lock(
        set(),
        {"net.yaml": {"0", "1", "2"}, "more.yaml": {"2"}},
        {"data.py": {"0", "1", "2"}, "model.py": {"0", "1"}},
    )


def test_a_conflict_across_sections_keeps_them_apart() -> None:
    content = b"""{
  "sources": {
<<<<<<< HEAD
    "net.yaml": "1"
  },
  "outputs": {
    "model.py": "1"
=======
    "net.yaml": "2"
  },
  "outputs": {
    "model.py": "2"
>>>>>>> theirs
  }
}
"""
    assert lock.parse(content).outputs == {"model.py": {"1", "2"}}


def test_amending_changes_some_outputs_only() -> None:
    content = lock.dump(SPEC, SOURCES, [], OUTPUTS)
    amended = lock.amend(content, {"model.py": "1", "data.py": None, "old.py": "2"})
    outputs = {"model.py": "1", "old.py": "2"}
    assert json.loads(amended) == json.loads(content) | {"outputs": outputs}
    assert lock.amend(content, DIGESTS) == content


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
def test_a_broken_lock_lists_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / lock.NAME).write_bytes(content)
    assert lock.load(tmp_path) == NOTHING


def test_a_pipe_is_not_a_lock_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / lock.NAME)
    assert lock.load(tmp_path) == NOTHING


@pytest.mark.parametrize(
    "name", ["../model.py", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "a\n"]
)
def test_a_name_that_points_outside_the_folder_is_not_an_output(
    tmp_path: Path, name: str
) -> None:
    record = {"sources": {}, "outputs": {name: "", "model.py": "0"}}
    (tmp_path / lock.NAME).write_text(json.dumps(record, indent=2))
    assert lock.load(tmp_path).outputs == {"model.py": {"0"}}


def test_a_digest_is_sha256_in_hexadecimal() -> None:
    assert re.fullmatch("ba7816bf[0-9a-f]{56}", lock.digest("a.py", b"abc"))


def test_a_digest_does_not_depend_on_line_endings() -> None:
    for name in ("model.py", "model.onnx.txt", lock.NAME, "net.yaml"):
        assert lock.digest(name, b"a\r\n") == lock.digest(name, b"a\n")
    assert lock.digest("model.onnx", b"a\r\n") != lock.digest("model.onnx", b"a\n")
