"""A generated folder, a network from it, and its export, for several test files."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from helpers import model, write
from torch import Tensor

from specgen.compiler import Program
from specgen.runtime import checkpoint, console, onnx_export

NET = """
specgen: 1
name: Net
input: {channels: 3, height: 9, width: 9}
data: {size: 16}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3}
  norm1: {op: local_response_norm, size: 5, alpha: 0.5, k: 2, groups: 2}
  conv2: {op: conv2d, out_channels: 4, kernel_size: 3, bias: false}
  norm2: {op: local_response_norm, size: 3, alpha: 0.5, beta: 0.4}
  norm3: {op: spatial_response_norm, size: 3, alpha: 0.5}
  flat: {op: flatten}
  fc3: {op: linear, out_features: 2}
  prob: {op: softmax}
"""
CLASSES = ["cat", "naïve \udcff"]  # of a folder whose name is not UTF-8
SETTINGS = {"size": 16, "height": 9, "width": 9, "flip": False}


class Exporter:
    """A generated folder, a network from it, and a checkpoint of that."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.net = model(program, folder).eval()
        write(program, folder)
        self.script = folder / "export.py"
        spec = program.spec
        self.size = size = spec.data.side(spec.input.height, spec.input.width)
        self.mean = torch.arange(3.0 * size**2).view(3, size, size)
        self.checkpoint = folder / "run.safetensors"
        self.output = folder / "run.onnx"
        self.save(self.net.state_dict())

    def save(self, weights: Mapping[str, Tensor]) -> None:
        """Write a checkpoint as train.py does."""
        velocity = {
            f"momentum_buffer.{k}": torch.zeros_like(v) for k, v in weights.items()
        }
        tensors = {**weights, **velocity, "data.mean": self.mean}
        run = checkpoint.Run({}, SETTINGS, CLASSES, {}, 1, step=7)
        checkpoint.save(self.checkpoint, tensors, run)

    def run(self, *flags: str) -> None:
        """Run the script in this process."""
        before = sys.argv
        sys.argv = ["export.py", str(self.checkpoint), *flags]
        structure = self.script.with_name("model.onnx")
        try:
            onnx_export.main("Export.", structure, self.size)
        finally:
            sys.argv = before

    def refusal(self, *flags: str) -> str:
        """Return what the script says when it fails; no file has changed then."""
        before, said = self.files(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
            patch.setenv("COLUMNS", "9999")
            with pytest.raises(SystemExit) as caught:
                console.run(lambda: self.run(*flags))
        assert self.files() == before
        assert caught.value.code == 1
        return said.getvalue().removesuffix("\n")

    def files(self) -> dict[str, bytes]:
        folder = self.script.parent
        return {path.name: path.read_bytes() for path in folder.glob("run.*")}

    @torch.no_grad()
    def check(self) -> None:
        """What was written computes what the network does, for any batch size."""
        onnx.checker.check_model(self.output, full_check=True)
        session = ort.InferenceSession(self.output, providers=["CPUExecutionProvider"])
        assert [value.name for value in session.get_inputs()] == ["input"]
        _, *size = session.get_inputs()[0].shape
        for batch_size in (1, 3):
            generator = torch.Generator().manual_seed(batch_size)
            x = torch.randn(batch_size, *size, generator=generator)
            (logits, *prob) = session.run(None, {"input": x.numpy()})
            np.testing.assert_allclose(logits, self.net(x), rtol=1e-4, atol=1e-4)
            if prob:
                expected = self.net.probabilities(x)
                np.testing.assert_allclose(prob[0], expected, rtol=1e-4, atol=1e-4)
