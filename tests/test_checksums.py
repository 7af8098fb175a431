"""Exports and checkpoints that were cut, mixed or damaged are refused."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exporting import NET, SETTINGS, Exporter
from helpers import compile_text
from hypothesis import given
from hypothesis import strategies as st

from specgen.runtime import checkpoint, onnx_export, onnx_seal
from specgen.runtime.errors import OTHER_CODE, CheckpointError
from specgen.runtime.prediction import open_onnx


@pytest.fixture
def exporter(tmp_path: Path) -> Exporter:
    return Exporter(compile_text(NET), tmp_path / "net")


def test_the_file_and_its_weights_are_from_one_export(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two leaves the previous export; the next one cleans up."""
    monkeypatch.setattr(onnx_export, "LARGE", 0)
    exporter.run()
    first = exporter.files()
    exporter.save({k: v + 1 for k, v in exporter.net.state_dict().items()})

    def killed(content: bytes) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onnx_export, "seal", killed)
        with pytest.raises(KeyboardInterrupt):
            exporter.run()
    left = exporter.files()
    assert first.keys() < left.keys()
    assert {name: left[name] for name in first if "safe" not in name} == {
        name: content for name, content in first.items() if "safe" not in name
    }
    onnx_seal.verify(exporter.output)
    mine = exporter.script.with_name("run.onnx.original.data")
    mine.touch()
    exporter.run()
    onnx_seal.verify(exporter.output)
    assert mine.exists()
    assert len(list(exporter.script.parent.glob("run.onnx*"))) == 3


def test_concurrent_exports_do_not_mix(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", 0)
    structure = exporter.script.with_name("model.onnx")

    def export(value: int) -> None:
        model = onnx_export.load_structure(structure)
        shapes = onnx_export.take_parameters(model.graph)
        weights = {k: np.full(s, value, np.float32) for k, s in shapes.items()}
        onnx_export.save(exporter.output, model, weights)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(export, range(20)))
    onnx_seal.verify(exporter.output)
    assert len(list(exporter.script.parent.glob("run.onnx*"))) == 2


def test_weights_of_another_export_are_refused(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "LARGE", 0)
    exporter.run()
    (data,) = exporter.script.parent.glob("run.onnx.*.data")
    other = bytearray(data.read_bytes())
    other[7] ^= 1
    data.write_bytes(other)
    with pytest.raises(CheckpointError, match=f"{data.name} does not have the weights"):
        onnx_seal.verify(exporter.output)
    data.unlink()
    with pytest.raises(CheckpointError, match=f"missing: {data.name} belongs next to"):
        onnx_seal.verify(exporter.output)


OTHER = '{"file": "x", "sha256": ""}'


@pytest.mark.parametrize(
    "weights",
    [None, "0", "[1]", '{"file": "y"}', '{"file": 1, "sha256": ""}', OTHER],
)
def test_only_weights_named_in_the_metadata_are_used(
    weights: str | None, exporter: Exporter
) -> None:
    proto = sealed_model(exporter)
    make_external(proto.graph.initializer[0], "y")
    if weights is not None:
        proto.metadata_props.add(key="weights", value=weights)
    exporter.output.write_bytes(onnx_seal.seal(proto.SerializeToString()))
    with pytest.raises(CheckpointError, match=r"was not written by export\.py"):
        onnx_seal.verify(exporter.output)


def test_a_pipe_in_place_of_the_weights_does_not_block(
    exporter: Exporter,
) -> None:
    proto = sealed_model(exporter)
    make_external(proto.graph.initializer[0], "pipe")
    written = '{"file": "pipe", "sha256": ""}'
    proto.metadata_props.add(key="weights", value=written)
    exporter.output.write_bytes(onnx_seal.seal(proto.SerializeToString()))
    os.mkfifo(exporter.output.with_name("pipe"))
    with pytest.raises(CheckpointError, match="missing: pipe belongs next to it"):
        onnx_seal.verify(exporter.output)


def test_onnxruntime_does_not_log_raw_names(
    exporter: Exporter, capfd: pytest.CaptureFixture[str]
) -> None:
    content = b"too short"
    exporter.output.with_name("weights").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    written = json.dumps({"file": "weights", "sha256": digest})
    proto = sealed_model(exporter)
    proto.metadata_props.add(key="weights", value=written)
    tensor = proto.graph.initializer[0]
    evil = f"\x1b[31m{tensor.name}"
    for node in proto.graph.node:
        node.input[:] = [evil if n == tensor.name else n for n in node.input]
    tensor.name = evil
    make_external(tensor, "weights")
    tensor.external_data.add(key="length", value=str(len(content)))
    exporter.output.write_bytes(onnx_seal.seal(proto.SerializeToString()))
    with pytest.raises(CheckpointError, match="cannot be read: "):
        open_onnx(exporter.output, SETTINGS, exporter.mean.shape, 2)
    assert capfd.readouterr().err == ""


def sealed_model(exporter: Exporter) -> onnx.ModelProto:
    """Export; return the model without its checksum."""
    exporter.run()
    proto = onnx.load(exporter.output)
    del proto.metadata_props[-1]
    return proto


def make_external(tensor: onnx.TensorProto, file: str) -> None:
    """Move a tensor to a file with this name."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=file)


@given(data=st.data())
def test_every_flipped_bit_of_an_export_is_found(
    data: st.DataObject, sealed: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.onnx"
    place = data.draw(st.integers(0, len(sealed) - 1))
    damaged = bytearray(sealed)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError):
        onnx_seal.verify(path)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    exporter = Exporter(compile_text(NET), tmp_path_factory.mktemp("sealed") / "net")
    exporter.run()
    return exporter.output.read_bytes()


def test_a_flipped_bit_of_the_weights_is_found(exporter: Exporter) -> None:
    whole = bytearray(exporter.checkpoint.read_bytes())
    weight = exporter.net.state_dict()["fc3.weight"].numpy().tobytes()
    whole[whole.index(weight) + 5] ^= 1
    exporter.checkpoint.write_bytes(whole)
    expected = f"{exporter.checkpoint} is damaged: wrong checksums of fc3.weight"
    assert exporter.refusal() == f"error: {expected}"
    with pytest.raises(CheckpointError, match=r"wrong checksums of fc3\.weight"):
        checkpoint.load(exporter.checkpoint)


def test_names_in_a_checkpoint_cannot_control_the_terminal(exporter: Exporter) -> None:
    state = exporter.net.state_dict()
    exporter.save(state | {"\x1b[2J\nerror: all is well": torch.ones(1)})
    said = exporter.refusal()
    what, advice = said.splitlines()
    assert what.isprintable()
    assert what.endswith(r"unexpected: '\x1b[2J\nerror: all is well'")
    assert advice == f"  = help: {OTHER_CODE}"
