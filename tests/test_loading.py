"""Batches from processes that read, and what becomes of those processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deadly import DeadlyImage
from helpers import ROOT
from images_on_disk import SIZE, make_tree, picture

from specgen.runtime import dataset, images, loading, workers
from specgen.runtime.dataset import Images
from specgen.runtime.errors import DataError
from specgen.runtime.images import ImageFile
from specgen.runtime.loading import Loader
from specgen.runtime.workers import Worker


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    loading.idle.clear()


@pytest.fixture
def train(tmp_path: Path) -> Images:
    return dataset.open_data(make_tree(tmp_path / "tree"), SIZE)[0]


def lent(count: int) -> list[Worker]:
    """Start the workers that the next loader takes, and let them begin to serve."""
    loading.idle[:] = [Worker() for _ in range(count)]
    for worker in loading.idle:
        assert read(worker, "nowhere") == ["No such file or directory"]
    return list(loading.idle)


def read(worker: Worker, *paths: object) -> list[str | None]:
    sources = [ImageFile(str(path)) for path in paths]
    return worker.read(sources, np.empty((len(paths), 3, SIZE, SIZE), np.uint8))


def process(worker: Worker) -> subprocess.Popen[bytes]:
    return worker._process


@pytest.mark.parametrize(("count", "sockets"), [(1, True), (3, True), (2, False)])
def test_order_and_pixels_are_the_same_without_workers(
    count: int, sockets: bool, train: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SOCKETS", sockets)  # there are none on Windows
    monkeypatch.setattr(loading, "CHUNK", 2)  # of batches of up to 5, and of none
    todo = [*dataset.batches(len(train), 5, seed=1), [], [3], [4, 4]]
    picture(50, 900, 700).save(train.root / train.samples[todo[0][0]][0], "PNG")
    (train.root / train.samples[todo[1][1]][0]).write_bytes(b"")
    expected = list(Loader(train, todo, 0))
    assert [len(batch.rows) for batch in expected] == [5, 4, 5, 0, 1, 2]
    assert expected[1].rows.tolist() == [0, 2, 3, 4]
    for _ in range(2):  # the second time by the same processes
        loader = Loader(train, todo, count)
        assert len(loader) == len(todo)
        for one, other in zip(loader, expected, strict=True):
            assert all(
                torch.equal(*pair) for pair in zip(one[:3], other[:3], strict=True)
            )
            assert one.bad == other.bad
        assert len(loading.idle) == count


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (signal.SIGKILL, "was killed while reading '.*; if memory ran out, try fewer"),
        (
            signal.SIGSEGV,
            r"was killed by signal 11 \(Segmentation fault.*\) while reading",
        ),
    ],
)
def test_a_worker_that_is_killed_ends_the_run_with_a_sentence(
    number: int, cause: str, train: Images
) -> None:
    (worker,) = lent(1)
    batches = iter(Loader(train, [[index] for index in range(15)], 1))
    next(batches)
    os.kill(worker._process.pid, number)
    with pytest.raises(DataError, match=cause) as caught:
        list(batches)
    assert str(caught.value).count("\n") == 0
    assert f"while reading '{train.root}/train/" in str(caught.value)
    assert worker._process.poll() == -number
    assert loading.idle == []


@pytest.mark.parametrize("sockets", [True, False])
def test_the_image_that_killed_it_is_named(
    sockets: bool, train: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SOCKETS", sockets)
    good = train.source(train.samples[0][0])
    out = np.empty((4, *train.shape), np.uint8)
    with pytest.raises(DataError, match=r"signal 11 .* while reading 'deadly'"):
        Worker().read([good, good, DeadlyImage("deadly"), good], out)


def test_the_pixels_of_a_request_arrive_in_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker,) = lent(1)
    spied = Spied(worker._socket)
    monkeypatch.setattr(worker, "_socket", spied)
    picture(1).save(tmp_path / "a.png")
    out = np.empty((16, 3, 256, 256), np.uint8)  # much more than a socket holds
    sources = [ImageFile(str(tmp_path / "a.png"))] * 15 + [ImageFile("nowhere")]
    reasons = worker.read(sources, out)
    assert reasons == [None] * 15 + ["No such file or directory"]
    assert spied.received == [out.nbytes, 0]
    assert (out[:15] == out[0]).all()


class Spied:
    """A socket that notes what it receives."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.received = socket, list[int]()

    def recv_into(self, *arguments: Any) -> int:
        self.received.append(self.socket.recv_into(*arguments))
        return self.received[-1]


def test_no_worker_outlives_an_abandoned_loop(train: Images) -> None:
    both = lent(2)
    loader = Loader(train, [[index] for index in range(15)], 2)
    for _ in loader:
        break
    assert [worker._process.poll() for worker in both] == [-signal.SIGKILL] * 2
    assert len(list(loader)) == 15  # by new ones


def test_a_worker_ends_when_nobody_can_use_it(train: Images) -> None:
    (process,) = [worker._process for worker in lent(1)]
    assert process.poll() is None
    loading.idle.clear()
    assert process.poll() == -signal.SIGKILL


def test_signals_are_for_the_main_process(tmp_path: Path) -> None:
    (worker,) = lent(1)
    picture(1).save(tmp_path / "a.png")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker._process.pid, number)
    assert read(worker, tmp_path / "a.png", tmp_path) == [
        None,
        images.IN_A_CLASS,
    ]


PARENT = """
from specgen.runtime.workers import Worker
worker = Worker()
print(worker._process.pid, flush=True)
input()
"""


def test_a_worker_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    ) as parent:
        assert parent.stdout
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        # The worker has its parent's error output: it is closed when both are gone.
        assert parent.communicate(timeout=60)[1] == b""


def test_a_process_that_cannot_start_gives_a_sentence(
    train: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(DataError) as caught:
        list(Loader(train, [[0]], 2))
    assert str(caught.value) == (
        "cannot start a process to read images (Resource temporarily unavailable): "
        "try fewer --workers"
    )


READER = """
import numpy as np
from specgen.runtime.images import ImageFile
from specgen.runtime.workers import Worker
print(Worker().read([ImageFile("specgen")], np.empty((1, 3, 8, 8), np.uint8)))
"""


def test_a_closed_error_output_does_not_matter() -> None:
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, READER]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert ended.stdout == f"{[images.IN_A_CLASS]}\n".encode()


def test_decoding_needs_no_torch() -> None:
    code = "import sys, specgen.runtime.workers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_only_images_for_cuda_are_pinned(
    device: str, train: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, pinned = torch.empty, []

    def allocate(*size: Any, pin_memory: bool = False, **options: Any) -> Any:
        pinned.append(pin_memory)
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", allocate)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    list(Loader(train, [[0], [1]], 0, torch.device(device)))
    assert pinned == [device != "cpu"] * 2
