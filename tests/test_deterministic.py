"""How devices compute: --deterministic, and copies while they are busy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import assert_same_run, generate, photos, read_run, run

from specgen.runtime import devices, loading, parallel

RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"lr": 0.01}}


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute as before when the test ends."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    devices.set_up()


def flags() -> tuple[bool, ...]:
    """Return what makes results differ from run to run, and what prevents that."""
    return (
        torch.backends.cudnn.benchmark,
        torch.autograd.is_multithreading_enabled(),
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
    )


def test_resumed_to_the_bit_and_noted_in_the_checkpoint(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    code = generate(tmp_path / "tiny", RECIPE)
    train = (code / "train.py", "--data", data, "--workers", 0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    same = "--deterministic"
    assert run(*train, "--output", whole, same).code == 0
    assert flags() == (False, False, True, True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert run(*train, "--output", parts, same, "--steps", 2).code == 0
    assert run(*train, "--output", parts, same, "--resume").code == 0
    assert_same_run(parts, whole)
    path = parts / "checkpoint.safetensors"
    assert read_run(path)["deterministic"] is True

    ended = run(*train, "--output", parts, "--epochs", 2, "--resume")
    assert ended.code == 0
    assert "so far the run was deterministic" in ended.out
    assert flags() == (True, True, False, False)
    assert read_run(path)["deterministic"] is False
    ended = run(*train, "--output", parts, "--epochs", 2, "--resume", same)
    assert read_run(path)["deterministic"] is False


def test_what_torch_cannot_do_deterministically_is_an_error(
    wide: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        devices.set_up(deterministic=True)
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))

    with pytest.raises(SystemExit) as ended:
        parallel.run(main)
    said = "error: --deterministic cannot work: put_ does not have a deterministic"
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(said)


class Cuda:
    """Stands in for torch.cuda; logs what streams do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.name = "computing"
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(self, "copies"))
        monkeypatch.setattr(torch.cuda, "stream", self.entered)
        monkeypatch.setattr(
            torch.cuda, "current_stream", lambda device: Stream(self, self.name)
        )

    @contextlib.contextmanager
    def entered(self, stream: Stream) -> Iterator[None]:
        outer, self.name = self.name, stream.name
        yield
        self.name = outer


class Stream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Stream) -> None:
        self.cuda.log.append(f"{self.name} waits for {other.name}")


class Pixels:
    """Images that are sent somewhere."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def to(self, device: torch.device, *, non_blocking: bool) -> Pixels:
        assert non_blocking
        self.cuda.log.append(f"to {device} on {self.cuda.name}")
        return self

    def record_stream(self, stream: Stream) -> None:
        self.cuda.log.append(f"used by {stream.name}")


def test_images_are_copied_on_a_stream_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = Cuda(monkeypatch)
    none = torch.empty(0, dtype=torch.int64)
    images: Any = Pixels(cuda)
    batches = [loading.Batch(images, none, none, {})] * 2
    steps = ["to cuda:1 on copies", "computing waits for copies", "used by computing"]
    for number, batch in enumerate(loading.to_device(batches, torch.device("cuda:1"))):
        assert batch.images is images
        assert cuda.log == steps * (number + 1)
