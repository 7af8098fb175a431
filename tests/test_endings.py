"""How scripts end: by signals, without readers, and where other launchers have been."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import generate, photos
from torch import distributed, nn

from specgen.runtime import console, devices, parallel
from specgen.runtime.errors import UserError

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01}}
LONG = "x" * 100_000  # more than fits in a pipe or a buffer


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back the handlers of signals."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_asks_and_the_second_ends_it(
    name: str, handlers: None
) -> None:
    number = getattr(signal, name)
    asked = parallel.catch_signals()
    assert asked() == 0
    os.kill(os.getpid(), number)
    assert asked() == number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked = parallel.catch_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not asked()


def test_there_is_no_hangup_on_windows(
    handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    asked = parallel.catch_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked()


def test_a_second_interrupt_ends_a_script_at_once(handlers: None) -> None:
    found: list[object] = []

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            found.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(SystemExit) as ended:
        console.run(main)
    assert ended.value.code == 130
    assert found == [signal.SIG_DFL]


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "pack"])
def test_an_interrupt_while_torch_is_imported_leaves_no_traceback(
    script: str, ignored: bool, tmp_path: Path
) -> None:
    code = generate(tmp_path / "tiny", BASE)
    (tmp_path / "torch").mkdir()
    interrupt = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "torch" / "__init__.py").write_text(interrupt + "os._exit(7)\n")
    # Shells let their background jobs ignore it.
    handler = "SIG_IGN" if ignored else "default_int_handler"
    start = f"import signal, runpy, sys; signal.signal(2, signal.{handler}); "
    start += "runpy.run_path(sys.argv[1], run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", start, code / f"{script}.py"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{code}"},
        capture_output=True,
        text=True,
    )
    expected = 7 if ignored else -signal.SIGINT  # which a shell shows as 130
    assert (ended.returncode, ended.stderr) == (expected, "")


@contextlib.contextmanager
def unread() -> Iterator[Any]:
    """Open a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


@contextlib.contextmanager
def full() -> Iterator[Any]:
    """Open a file on a full disk."""
    with open("/dev/full", "w") as stream:
        yield stream


@pytest.mark.parametrize("kind", [unread, full])
def test_training_continues_when_nobody_reads(kind: Any) -> None:
    with kind() as stream, contextlib.redirect_stdout(stream):
        with console.output(must_be_read=False):
            print("short")
            print(LONG)
            print(LONG, flush=True)
        print(LONG)


def test_the_error_output_may_fail_for_every_script() -> None:
    with (
        unread() as stream,
        contextlib.redirect_stderr(stream),
        console.output(must_be_read=True),
    ):
        print(LONG, file=sys.stderr, flush=True)


@pytest.mark.parametrize("text", ["short", LONG])
def test_a_script_whose_output_is_its_result_ends_when_nobody_reads(text: str) -> None:
    with (
        unread() as stream,
        contextlib.redirect_stdout(stream),
        pytest.raises(SystemExit) as ended,
    ):
        console.run(lambda: print(text))
    assert ended.value.code == 141


def test_a_result_that_cannot_be_written_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        full() as stream,
        contextlib.redirect_stdout(stream),
        pytest.raises(SystemExit) as ended,
    ):
        console.run(lambda: print("short"))
    expected = "error: cannot write the output: No space left on device\n"
    assert (ended.value.code, capsys.readouterr().err) == (1, expected)


def test_an_error_counts_more_than_a_missing_reader(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        print("short")
        raise UserError("it is wrong")

    with (
        unread() as stream,
        contextlib.redirect_stdout(stream),
        pytest.raises(SystemExit) as ended,
    ):
        console.run(main)
    assert (ended.value.code, capsys.readouterr().err) == (1, "error: it is wrong\n")


def test_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with console.output(must_be_read=True):
        print("to nobody")
        print("to nobody", file=sys.stderr)
        assert not sys.stderr.isatty()
    assert sys.stdout is None


def test_a_run_without_a_reader_or_error_output_ends_well(tmp_path: Path) -> None:
    code, data = generate(tmp_path / "tiny", BASE), photos(tmp_path / "photos")
    train = f"{sys.executable} {code}/train.py --data {data} --workers 0"
    pipe = f"{train} --output {tmp_path}/run 2>&- | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "run" / "curves.png").exists()


def test_messages_cannot_be_forged() -> None:
    error = UserError(
        "no \x1b[31m here", "a\nerror: b", "\u202eevil \udcff é", help="a\nb"
    )
    assert console.explain(error) == (
        r"error: no \x1b[31m here"
        "\n"
        r"error: a\nerror: b"
        "\n"
        r"error: \u202eevil \udcff é"
        "\n"
        r"  = help: a\nb"
    )


TOGETHER = {"RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29771"}


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables as another launcher does."""

    def launch(**variables: str) -> None:
        for name in (*TOGETHER, "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": " 1 "},
        {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"},
        {"LOCAL_RANK": "", "LOCAL_WORLD_SIZE": "all"},
        {"WORLD_SIZE": "1", "RANK": "x", "LOCAL_RANK": "y"},
    ],
)
def test_leftovers_of_a_launcher_leave_one_process(
    variables: dict[str, str], launcher: Any
) -> None:
    launcher(**variables)
    assert parallel.join() is None
    assert parallel.local_world_size() == 1
    found = devices.choose_devices("cpu", ("gpu0", "gpu1"))
    assert found == [torch.device("cpu")] * 2


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE cannot be 'two'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE cannot be '-1'"),
        ({"WORLD_SIZE": "2"}, "2, but not set: RANK, MASTER_ADDR, MASTER_PORT; to run"),
        ({"WORLD_SIZE": "2", **TOGETHER, "RANK": ""}, "2, but not set: RANK; to run"),
        ({"WORLD_SIZE": "2", **TOGETHER, "RANK": "2"}, "RANK cannot be '2', only 0 to"),
        ({"WORLD_SIZE": "2", **TOGETHER, "MASTER_PORT": "x"}, "MASTER_PORT cannot be"),
        (
            {"WORLD_SIZE": "2", **TOGETHER, "LOCAL_WORLD_SIZE": "0"},
            "LOCAL_WORLD_SIZE cannot be '0', only 1 to 2",
        ),
    ],
)
def test_senseless_variables_are_refused(
    variables: dict[str, str], expected: str, launcher: Any
) -> None:
    launcher(**variables)
    with pytest.raises(UserError) as error:
        parallel.join()
    assert expected in str(error.value)
    assert "torchrun" in str(error.value)


def test_the_wait_for_a_group_that_never_forms_ends(
    launcher: Any,
    wide: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    launcher(WORLD_SIZE="2", **TOGETHER)
    monkeypatch.setattr(parallel, "JOIN_SECONDS", 0.5)
    monkeypatch.setattr(parallel, "NOTICE_SECONDS", 0.05)
    with pytest.raises(parallel.JoinError, match=r"at 127\.0\.0\.1:29771"):
        parallel.join()
    assert not distributed.is_initialized()
    said = capfd.readouterr().err
    assert said.startswith("waiting at 127.0.0.1:29771 for all 2 processes")
    assert said.count("\n") == 1


@pytest.mark.parametrize("agreed", [True, False])
def test_the_group_is_destroyed_only_if_all_processes_agree_to_end(
    agreed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "_exit", lambda code: done.append(code))
    destroy = "destroy_process_group"
    monkeypatch.setattr(distributed, destroy, lambda: done.append(destroy))
    parallel._leave(None if agreed else 1, agreed)
    assert done == ([destroy] if agreed else [1])


@pytest.mark.parametrize("names", [None, "cuda:0"])
def test_a_launcher_may_show_each_process_a_gpu_of_its_own(
    names: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(devices, "probe", lambda name: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda name: None)
    monkeypatch.setattr(parallel, "identity", lambda device: f"GPU-b {device}")
    monkeypatch.setattr(parallel, "rank", lambda: 1)
    monkeypatch.setattr(parallel, "all_gather", lambda its: [["GPU-a cuda:0"], *its])
    found = devices.choose_devices(names, ("gpu0", "gpu1"))
    assert [str(device) for device in found] == ["cuda:0", "cuda:0"]


@pytest.mark.parametrize("other", ["GPU-a", "GPU-b"])
def test_gpus_are_told_apart_by_their_identity(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Weight:
        device = torch.device("cuda", 0)

    net = nn.Linear(1, 1)
    monkeypatch.setattr(net, "parameters", lambda: [Weight()])
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    monkeypatch.setattr(parallel, "identity", lambda device: "GPU-a")
    monkeypatch.setattr(parallel, "all_gather", lambda its: [other, *its])
    monkeypatch.setattr(parallel, "DistributedDataParallel", lambda net, **_: net)
    if other == "GPU-b":  # of the same name: cuda:0
        assert parallel.replicate(net) is net
    else:
        with pytest.raises(UserError, match="two processes cannot share a GPU"):
            parallel.replicate(net)


def test_losses_are_summed_in_float32_if_there_is_nothing_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ones = torch.ones

    def without_float64(*shape: int, dtype: Any = None, device: Any = None) -> Any:
        if dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return ones(*shape, dtype=dtype)

    devices.sum_type.cache_clear()
    monkeypatch.setattr(torch, "ones", without_float64)
    try:
        assert devices.sum_type(torch.device("cpu")) == torch.float32
    finally:
        devices.sum_type.cache_clear()
    monkeypatch.undo()
    assert devices.sum_type(torch.device("cpu")) == torch.float64
