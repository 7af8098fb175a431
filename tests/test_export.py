"""export.py: a checkpoint becomes an ONNX file that computes the same."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import safetensors.torch
import torch
from exporting import CLASSES, NET, SETTINGS, Exporter
from helpers import compile_data, compile_text
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import write_checkpoint
from strategies import Data, networks

from specgen.compiler import render
from specgen.runtime import checkpoint, onnx_export
from specgen.runtime.errors import OTHER_CODE, CheckpointError, ExportError


@pytest.fixture
def exporter(tmp_path: Path) -> Exporter:
    return Exporter(compile_text(NET), tmp_path / "net")


def test_the_file_computes_what_torch_does(exporter: Exporter) -> None:
    exporter.run()
    exporter.check()
    proto = onnx.load(exporter.output)
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 17)
    ops = Counter(node.op_type for node in proto.graph.node)
    assert ops.keys().isdisjoint({"LRN", "Split", "Concat"})
    assert (ops["Pow"], ops["Sqrt"]) == (1, 2 * 2)  # of norm2, whose beta is unusual
    names = {name for node in proto.graph.node for name in (node.name, *node.output)}
    assert len(names) == 2 * len(proto.graph.node)
    assert {value.name for value in proto.graph.value_info} <= names
    parts = ("squares", "base", "root", "cube", "power")
    assert {"/norm1", *(f"/norm1/{part}" for part in parts)} <= names
    used = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= used


@settings(max_examples=40)
@given(networks())
def test_any_network_can_be_exported(data: Data) -> None:
    with TemporaryDirectory() as folder:
        exporter = Exporter(compile_data(data), Path(folder, "net"))
        exporter.run()
        exporter.check()


def test_a_structure_with_a_placement_can_be_exported(exporter: Exporter) -> None:
    files = render(compile_text(NET), onnx_devices=True)
    exporter.script.with_name("model.onnx").write_bytes(files["model.onnx"])
    exporter.run()
    exporter.check()
    written = onnx.load(exporter.output)
    assert len(written.configuration) == 1
    unannotated = {n.name for n in written.graph.node if not n.device_configurations}
    assert {name.split("/")[1] for name in unannotated} == {"norm1", "norm2", "norm3"}


def test_metadata_has_what_prediction_needs(exporter: Exporter) -> None:
    exporter.run()
    metadata = ort.InferenceSession(exporter.output).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads(metadata["data"]) == SETTINGS
    mean = np.frombuffer(base64.b64decode(metadata["mean"]), np.float32)
    assert np.array_equal(mean, exporter.mean.flatten())


def test_large_weights_are_on_pages_next_to_it(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", 0)
    exporter.run()
    exporter.check()
    (data,) = exporter.script.parent.glob("run.onnx.*.data")
    proto = onnx.load(exporter.output, load_external_data=False)
    state = exporter.net.state_dict()
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in proto.graph.initializer
        if tensor.external_data
    }
    assert places.keys() == state.keys()
    for name, place in places.items():
        assert place["location"] == data.name
        offset, length = int(place["offset"]), int(place["length"])
        assert offset % 4096 == 0
        found = data.read_bytes()[offset : offset + length]
        assert found == state[name].numpy().tobytes()


@pytest.mark.parametrize("large", [0, 2**30])
def test_files_are_repeatable_and_follow_the_umask(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", large)
    before = os.umask(0o027)
    try:
        exporter.run()
    finally:
        os.umask(before)
    first = exporter.files()
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in exporter.script.parent.glob("run.onnx*")
    ]
    assert modes == [0o640] * (1 if large else 2)
    exporter.run()
    assert exporter.files() == first


# Runs a script with its arguments, and then prints which of these were imported.
RUN = """
import contextlib, os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
with contextlib.suppress(SystemExit):
    runpy.run_path(sys.argv[0], run_name="__main__")
print(*{"torch", "specgen", "onnxruntime"} & sys.modules.keys())
"""


def test_it_needs_neither_torch_nor_specgen(exporter: Exporter, wide: None) -> None:
    output = exporter.script.with_name("other.onnx")
    command = [sys.executable, "-c", RUN, str(exporter.script)]
    command += [str(exporter.checkpoint), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout == f"wrote {output}\n\n"
    assert output.exists()


def test_every_kind_of_difference_to_another_network_is_named(
    exporter: Exporter,
) -> None:
    exporter.run()
    state = exporter.net.state_dict()
    del state["fc3.bias"]
    del state["conv1.weight"]
    state["conv2.weight"] = torch.zeros(4, 8, 5, 5)
    state |= {f"fc{number}.weight": torch.zeros(2, 2) for number in range(4, 9)}
    exporter.save(state)
    assert exporter.refusal().splitlines() == [
        f"error: {exporter.checkpoint} is from another network: "
        "missing: conv1.weight, fc3.bias; "
        "unexpected: fc4.weight, fc5.weight, fc6.weight, and 2 more; "
        "different: conv2.weight is 4x8x5x5 there and 4x8x3x3 here",
        f"  = help: {OTHER_CODE}",
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (torch.float64, "F64"),
        (torch.float16, "F16"),
        (torch.bfloat16, "BF16"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.int32, "I32"),
    ],
)
def test_weights_of_another_type_are_refused(
    exporter: Exporter, kind: torch.dtype, name: str
) -> None:
    exporter.save(exporter.net.state_dict() | {"fc3.bias": torch.ones(2).to(kind)})
    expected = (
        f": different: fc3.bias is 2 {name} there and 2 here\n  = help: {OTHER_CODE}"
    )
    assert exporter.refusal().endswith(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    exporter: Exporter, value: float
) -> None:
    exporter.save(exporter.net.state_dict() | {"fc3.bias": torch.tensor([1.0, value])})
    assert exporter.refusal() == (
        f"error: {exporter.checkpoint} is damaged: "
        "values that are not finite in fc3.bias"
    )


NO_CLASSES = "is damaged: its classes are not a list of different names"
NO_DATA = "is damaged: it does not say how to prepare images"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("[" * 100_000, ["cannot be read: maximum recursion depth exceeded"]),
        ("{", ["cannot be read: Expecting property name"]),
        ('{"data": {}}', [NO_CLASSES]),
        ('{"data": {}, "classes": {"cat": 0}}', [NO_CLASSES]),
        ('{"data": {}, "classes": ["cat", 1]}', [NO_CLASSES]),
        ('{"data": {}, "classes": ["cat", "cat"]}', [NO_CLASSES]),
        ('{"data": {}, "classes": []}', [NO_CLASSES]),
        ('{"data": [], "classes": ["cat"]}', [NO_DATA]),
        ('{"data": 1}', [NO_CLASSES, NO_DATA]),
        ("7", ["was not written by train.py"]),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    exporter: Exporter, run: str, expected: list[str]
) -> None:
    tensors = safetensors.torch.load_file(exporter.checkpoint)
    content = json.loads(run) if run.startswith('{"') else run
    write_checkpoint(exporter.checkpoint, tensors, content)
    said = [f"error: {exporter.checkpoint} {sentence}" for sentence in expected]
    lines = exporter.refusal().splitlines()
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == said


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", ". is a folder: give a file as --output"),
        ("/", "/ is a folder: give a file as --output"),
        ("..", ".. is a folder: give a file as --output"),
        ("model.onnx", "model.onnx is an input file: give another --output"),
        ("run.safetensors", "run.safetensors is an input file: give another --output"),
        ("none/net.onnx", "cannot write none/net.onnx: there is no folder none"),
        ("export.py/a", "cannot write export.py/a: Not a directory"),
        ("x" * 300, f"File name too long: '{'x' * 300}'"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    exporter: Exporter, output: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exporter.script.parent)
    assert exporter.refusal("--output", output) == f"error: {expected}"


@pytest.mark.parametrize("checkpoint", ["", "/", "..", "none", "x" * 300])
def test_a_file_that_is_not_a_checkpoint_is_refused(
    exporter: Exporter, checkpoint: str
) -> None:
    exporter.checkpoint = Path(checkpoint)
    assert exporter.refusal().startswith("error: ")


@given(data=st.data())
def test_any_damaged_byte_in_the_header_is_survived(data: st.DataObject) -> None:
    """The first bytes of a checkpoint, which say what it contains, may be anything."""
    with TemporaryDirectory() as folder:
        exporter = Exporter(compile_text(NET), Path(folder, "net"))
        whole = exporter.checkpoint.read_bytes()
        start = data.draw(st.integers(0, 2000))
        damage = data.draw(st.binary(min_size=1, max_size=8))
        damaged = whole[:start] + damage + whole[start + len(damage) :]
        exporter.checkpoint.write_bytes(damaged)
        with suppress(ExportError):  # no other error
            exporter.run()


def test_a_missing_checkpoint_is_an_error(exporter: Exporter) -> None:
    exporter.checkpoint.unlink()
    assert exporter.refusal() == f"error: there is no checkpoint {exporter.checkpoint}"


def test_a_missing_structure_is_an_error(exporter: Exporter) -> None:
    structure = exporter.script.with_name("model.onnx")
    structure.write_bytes(b"no protobuf")
    assert exporter.refusal().startswith(f"error: {structure} cannot be read: ")
    structure.unlink()
    assert exporter.refusal() == f"error: there is no file {structure}"


def test_a_damaged_checkpoint_is_an_error(exporter: Exporter) -> None:
    whole = exporter.checkpoint.read_bytes()
    for damaged in (b"", b"not a checkpoint", whole[:-1], whole[:99]):
        exporter.checkpoint.write_bytes(damaged)
        expected = f"error: {exporter.checkpoint} cannot be read: "
        if whole.startswith(damaged) and damaged:
            expected += "it is damaged or incomplete ("
        assert exporter.refusal().startswith(expected)


def test_an_export_is_not_exported_again(exporter: Exporter) -> None:
    exporter.run()
    exporter.checkpoint = exporter.output
    only = "is not a checkpoint of train.py; only predict.py reads .onnx files"
    assert exporter.refusal() == f"error: {exporter.output} {only}"


@pytest.mark.parametrize("name", ["README.md", "net.onnx"])
def test_a_file_of_another_kind_is_named_as_such(name: str, exporter: Exporter) -> None:
    exporter.checkpoint = exporter.checkpoint.with_name(name)
    exporter.checkpoint.write_bytes(b"# A network, and how to train it")
    only = "; only predict.py reads .onnx files" if name == "net.onnx" else ""
    why = f"cannot be read: it is not a checkpoint of train.py{only}"
    output = exporter.script.with_name("other.onnx")
    expected = f"{exporter.checkpoint} {why}"
    assert exporter.refusal("--output", str(output)) == f"error: {expected}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}$"):
        checkpoint.load(exporter.checkpoint)


def test_a_file_of_weights_alone_is_an_error(exporter: Exporter) -> None:
    safetensors.torch.save_file(exporter.net.state_dict(), exporter.checkpoint)
    expected = f"error: {exporter.checkpoint} was not written by train.py"
    assert exporter.refusal() == expected


def test_what_killed_exports_have_left_is_removed(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", 0)
    name = f"{exporter.output.name}.0123abcd.data"
    left = (name, f"{name}.89abcdef.partial")
    own = (f"{name}.partial", f"{name}.txt", f"{exporter.output.name}.data")
    for file in (*left, *own):
        (exporter.output.parent / file).touch()
    exporter.run()
    exporter.check()
    names = {file.name for file in exporter.output.parent.iterdir()}
    assert names.isdisjoint(left)
    assert names.issuperset(own)


@pytest.mark.parametrize("large", [0, 2**30])
def test_a_full_disk_leaves_what_was_there(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", large)
    exporter.run()
    assert exporter.output.exists()
    exporter.save({k: v + 1 for k, v in exporter.net.state_dict().items()})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    expected = f"error: cannot write {exporter.output}: No space left on device"
    assert exporter.refusal() == expected
