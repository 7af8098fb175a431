"""A run that was stopped, killed or finished, and is resumed."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scripts import (
    BASE,
    LAYERS,
    ONE_DEVICE,
    STEPS,
    TWO_DEVICES,
    assert_same_run,
    generate,
    generate_tiny,
    module,
    read_run,
    rows,
    run,
)

from specgen.runtime import checkpoint, resuming
from specgen.runtime.errors import CheckpointError


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_tiny(tmp_path_factory.mktemp("code"))


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


# With it, Recipe has all fields but norm_decay and those of other schedules.
EVERYTHING = BASE | {
    "batch_size": 16,
    "accumulate": 2,
    "optimizer": {
        "lr": 0.01,
        "weight_decay": 5e-4,
        "lr_multipliers": {"weight": 2.0, "bias": 3.0},
        "decay_biases": False,
    },
    "warmup_epochs": 1,
    "clip_grad_norm": 1.0,
    "label_smoothing": 0.1,
    "precision": "bfloat16",
}
SCHEDULES = {
    "constant": None,
    "step": {"kind": "step", "epochs": [1]},
    "plateau": {"kind": "plateau", "patience": 1, "drops": 3},
    "cosine": {"kind": "cosine"},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_a_flag_can_set_is_kept_and_any_other_change_is_refused(
    schedule: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wide: None,
) -> None:
    changes = EVERYTHING | {"schedule": SCHEDULES[schedule]}
    if schedule == "constant":
        del changes["schedule"]
    recipe = module(generate(tmp_path / "tiny", changes), "recipe").Recipe()
    own = json.loads(json.dumps(asdict(recipe)))  # as in a checkpoint
    cosine = schedule == "cosine"

    def resume(there: dict[str, Any], **given: Any) -> str:
        """Resume a run with this recipe; return what is said of it."""
        state = checkpoint.Run(there, {}, ["a"], {}, 1)
        monkeypatch.setattr(checkpoint, "load", lambda _: ({}, state))
        args = argparse.Namespace(given=given, deterministic=False)
        _, state = resuming.resume(
            *(Path("c"), args, recipe, {}, torch.nn.Identity(), {}),
            length_matters=cosine,
        )
        assert json.loads(json.dumps(state.recipe)) == there | given
        return capsys.readouterr().out.removeprefix("resuming after step 0 of c\n")

    assert resume(own) == ""
    new = "only a new run can change it"
    said = {
        "epochs": new if cosine else "--epochs 2 changes it",
        "batch_size": new,
        "lr": "--lr 0.01 changes it",
        "seed": new,
    }
    for name, value in own.items():
        others: dict[Any, Any] = {str: "float32", list: [2]}
        other = others.get(type(value)) or value * 2 + 1
        if name in said:
            kept = f"{name} stays {other}, recipe.py has {value}: {said[name]}\n"
            assert resume(own | {name: other}) == kept
        else:
            with pytest.raises(CheckpointError, match=f"another recipe: {name} is"):
                resume(own | {name: other})
        if name in said and new not in said[name]:
            change = f"{name} changes from {value} to {other}\n"
            assert resume(own, **{name: other}) == change
        elif name in said:
            with pytest.raises(CheckpointError, match=f"another recipe: {name} is"):
                resume(own, **{name: other})


def test_a_spec_that_has_changed_since_is_mentioned(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    path = shutil.copy(whole / "checkpoint.safetensors", tmp_path)
    schedule = {"kind": "plateau", "patience": 1, "drops": 3}
    training = BASE | {"epochs": 4, "batch_size": 9, "seed": 1, "schedule": schedule}
    changed = generate(tmp_path / "tiny", training)
    train = (changed / "train.py", "--data", data, "--workers", 0, "--resume", path)
    ended = run(*train)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-6:-1] == [
        f"resuming after step 12 of {path}",
        "epochs stays 3, recipe.py has 4: --epochs 4 changes it",
        "batch_size stays 8, recipe.py has 9: only a new run can change it",
        "seed stays 0, recipe.py has 1: only a new run can change it",
        "the run is finished: 12 of 12 steps are done",
    ]
    assert run(*train, "--epochs", 4).code == 0
    assert read_run(Path(path))["step"] == 4 * STEPS
