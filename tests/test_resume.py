"""A run that was stopped, killed or finished, and is resumed."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts import (
    LAYERS,
    ONE_DEVICE,
    TWO_DEVICES,
    assert_same_run,
    generate,
    rows,
    run,
)

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}
STEPS = 4  # in an epoch: 27 images in batches of 8


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    schedule = {"kind": "plateau", "patience": 1, "drops": 3}
    training = BASE | {"epochs": 3, "schedule": schedule}
    return generate(tmp_path_factory.mktemp("code") / "tiny", training)


def test_stopped_mid_epoch_and_resumed_twice_it_ends_the_same(
    code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    train = (code / "train.py", "--data", data, "--output", tmp_path)
    assert run(*train, "--steps", 2, "--workers", 1).code == 0
    assert [row["step"] for row in rows(tmp_path)] == ["2", "2"]
    assert run(*train, "--resume", "--steps", STEPS + 1, "--workers", 0).code == 0
    assert run(*train, "--resume", "--workers", 2).code == 0
    assert_same_run(tmp_path, whole)


def test_a_kill_before_validation_costs_nothing(
    code: Path, data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (code / "train.py").read_text()
    before = "        # Validate."
    assert text.count(before) == 1
    killed = generate(tmp_path / "tiny", {})
    for path in code.glob("*.py"):
        (killed / path.name).write_bytes(path.read_bytes())
    (killed / "train.py").write_text(
        text.replace(before, "        sys.exit(9)\n" + before)
    )
    output = tmp_path / "run"
    assert run(killed / "train.py", "--data", data, "--output", output).code == 9
    assert rows(output) == []
    assert (
        run(code / "train.py", "--data", data, "--output", output, "--resume").code == 0
    )
    assert_same_run(output, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_resume(
    number: signal.Signals, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a run"
    command = [sys.executable, str(code / "train.py"), "--data", str(data)]
    command += ["--output", str(output), "--workers", "1", "--epochs", "100000"]
    # What is ignored here, as by nohup or in a shell's background, is ignored there.
    before = signal.signal(number, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as train:
        signal.signal(number, before)
        while train.poll() is None and not (output / "checkpoint.safetensors").exists():
            time.sleep(0.02)
        train.send_signal(number)
        try:
            out, err = train.communicate(timeout=60)
        finally:
            train.kill()  # if it has not ended, as the test would wait for it
    assert train.returncode == 128 + number, err
    assert "Traceback" not in err
    # The flags and the interpreter stay the same.
    stopped, resume = out.splitlines()[-2:]
    assert stopped.endswith("; resume with:")
    again = shlex.split(resume)
    path = output / "checkpoint.safetensors"
    assert again == [*command, "--resume", str(path)]
    ended = subprocess.run([*again, "--epochs", "3"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert_same_run(output, whole)


def test_resuming_a_finished_run_says_so(
    code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--resume")
    ended = run(*train)
    assert (
        f"the run is finished: {3 * STEPS} of {3 * STEPS} steps are done" in ended.out
    )
    assert ended.code == 0
    assert_same_run(tmp_path, whole)
    other = ("--output", tmp_path / "other", "--workers", 0)
    path = whole / "checkpoint.safetensors"
    assert run(*train[:3], *other, "--resume", path).code == 0
    assert_same_run(tmp_path / "other", whole)
    more = run(*train, "--epochs", 4)
    assert "the run is finished" not in more.out
    assert rows(tmp_path)[-1]["epoch"] == "4"


def test_resume_before_the_first_checkpoint_starts_a_new_run(
    code: Path, data: Path, tmp_path: Path
) -> None:
    ended = run(
        code / "train.py",
        "--data",
        data,
        "--output",
        tmp_path,
        "--resume",
        "--steps",
        1,
    )
    assert ended.code == 0, ended.err
    path = tmp_path / "checkpoint.safetensors"
    assert f"there is no checkpoint {path} yet: starting a new run\n" in ended.out
    assert rows(tmp_path)


def test_a_checkpoint_resumes_under_another_placement(
    data: Path, tmp_path: Path
) -> None:
    # Without dropout, which draws for each share.
    layers = {name: layer for name, layer in LAYERS.items() if name != "drop2"}
    two = TWO_DEVICES | {"layers": {"conv1..relu2": "split", "fc3..prob": "gpu0"}}
    split = generate(tmp_path / "split", BASE, layers=layers, placement=two)
    whole = generate(tmp_path / "whole", BASE, layers=layers, placement=ONE_DEVICE)
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert run(split / "train.py", "--data", data, "--output", once).code == 0
    train = ("--data", data, "--output", twice)
    assert run(split / "train.py", *train, "--steps", STEPS + 1).code == 0
    assert run(whole / "train.py", *train, "--resume").code == 0
    a, b = (load_file(path / "checkpoint.safetensors") for path in (once, twice))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
