"""kill -9 at any moment, then --resume: the run ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripts import assert_same_run, generate, read_run, run

# 27 images: 14 steps per epoch.
RECIPE = {"epochs": 2, "batch_size": 2, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}
KILLS = int(os.environ.get("SPECGEN_SOAK", "3"))
SECONDS = 1.4  # that the run takes, roughly
AT_STEP_20 = rb"\"step\": 20,"  # in a checkpoint: in the middle of the second epoch


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", RECIPE)


def start(code: Path, data: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a run that writes a checkpoint after every step."""
    command = [sys.executable, str(code / "train.py"), "--data", str(data)]
    command += ["--output", str(output), "--workers", "2", "--checkpoint-every", "1"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def assert_it_ends_the_same(code: Path, data: Path, output: Path, whole: Path) -> None:
    """Resume the run; it ends as the uninterrupted one did."""
    train = (code / "train.py", "--data", data, "--output", output, "--workers", 2)
    ended = run(*train, "--resume")
    assert ended.code == 0, ended.err
    assert_same_run(output, whole)
    assert list(output.glob("*.partial")) == []


def progress(output: Path) -> str:
    """Tell how far the checkpoint of a killed run is."""
    step = read_run(output / "checkpoint.safetensors")["step"]
    partial = [path.with_suffix("") for path in output.glob("*.partial")]
    files = ", ".join(f"{path.stem}.partial" for path in partial)
    return f"step {step}" + (f", writing {files}" if files else "")


@pytest.mark.parametrize("again", range(KILLS))
def test_a_kill_at_a_random_moment(
    again: int, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    for attempt in range(20):
        output = tmp_path / str(attempt)
        with start(code, data, output) as training:
            while training.poll() is None and not output.is_dir():
                time.sleep(0.001)
            seconds = random.uniform(0, SECONDS)
            try:
                training.wait(seconds)
            except subprocess.TimeoutExpired:
                training.kill()
        if training.returncode == -signal.SIGKILL:
            break  # otherwise it had already ended
    assert training.returncode == -signal.SIGKILL
    if (output / "checkpoint.safetensors").exists():
        print(f"killed after {seconds:.3f} s: {progress(output)}")
    assert_it_ends_the_same(code, data, output, whole)


KILL = f"os.kill(os.getpid(), {signal.SIGKILL:d})"
HALF = f"[file.write(content[:9999]), file.flush(), {KILL}]"
# A file, a line of it, and what kills the run before or after that line.
MOMENTS = {
    "half written": ("files.py", "file.write(content)", "content", HALF),
    "whole": ("files.py", "partial.replace(path)", "partial.read_bytes()", KILL),
    "in its place": ("files.py", "partial.replace(path)", "path.read_bytes()", KILL),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_a_checkpoint_is_written(
    moment: str, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    name, line, content, kill = MOMENTS[moment]
    killed = generate(tmp_path / "tiny", RECIPE)
    file = killed.parent / "runtime" / name
    text = file.read_text()
    assert text.count(line) == 1
    kill = f"{AT_STEP_20!r} in {content} and {kill}"
    both = f"{line}; {kill}" if moment == "in its place" else f"{kill}; {line}"
    text = text.replace(line, both).replace("\nimport json\n", "\nimport json, os\n")
    file.write_text(text)
    output = tmp_path / "run"
    with start(killed, data, output) as training:
        training.wait()
    assert training.returncode == -signal.SIGKILL
    step = 20 if moment == "in its place" else 19
    partial = "" if step == 20 else ", writing checkpoint.safetensors.partial"
    assert progress(output) == f"step {step}{partial}"
    assert_it_ends_the_same(code, data, output, whole)
