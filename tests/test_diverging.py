"""Training that diverges: what it says, what it keeps, and how --lr gets out of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from scripts import BASE, LAYERS, generate, read_run, rows, run, write_checkpoint
from torch import Tensor, nn

from specgen.runtime import parallel, state, training
from specgen.runtime.errors import ADVICE, FROM_THE_START, DivergedError
from specgen.runtime.report import Progress


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = {name: layer for name, layer in LAYERS.items() if name != "drop2"}
    split = {"conv1..relu2": "split", "fc3..prob": "gpu0"}
    placement = {"devices": {"gpu0": {}, "gpu1": {}}, "layers": split}
    folder = tmp_path_factory.mktemp("code") / "tiny"
    return generate(folder, BASE, layers=layers, placement=placement)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_it_ends_with_advice_and_keeps_the_previous_checkpoint(
    steps: int, code: Path, data: Path, tmp_path: Path
) -> None:
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--workers", 0)
    # The first step may or may not be the last, and so may the one with a bad loss.
    hot = run(*train, "--lr", 1e15, "--steps", steps, "--checkpoint-every", 1)
    assert hot.code == 1
    first, second = hot.err.splitlines()
    assert "diverged" in first
    assert first.endswith("; the only checkpoint is that before the first step")
    assert second == f"  = help: {FROM_THE_START}"
    assert read_run(tmp_path / "checkpoint.safetensors")["step"] == 0
    tensors = load_file(tmp_path / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_lower_lr_recovers_and_is_kept(
    code: Path, data: Path, tmp_path: Path
) -> None:
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--workers", 0)
    assert run(*train, "--lr", 1e15).code == 1
    ended = run(*train, "--resume", "--lr", 0.002, "--epochs", 1)
    assert ended.code == 0, ended.err
    assert f"lr changes from {1e15} to 0.002\n" in ended.out
    assert [row["lr"] for row in rows(tmp_path)] == ["0.002"] * 2
    assert read_run(tmp_path / "checkpoint.safetensors")["recipe"]["lr"] == 0.002
    ended = run(*train, "--resume", "--epochs", 2)
    assert "lr stays 0.002, recipe.py has 0.01: --lr 0.01 changes it\n" in ended.out
    assert [row["lr"] for row in rows(tmp_path)] == ["0.002"] * 4


def test_evaluate_refuses_weights_that_give_no_numbers(
    code: Path, data: Path, tmp_path: Path
) -> None:
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--workers", 0)
    assert run(*train, "--steps", 1).code == 0
    path = tmp_path / "checkpoint.safetensors"
    tensors = load_file(path)
    tensors["fc3.weight"].fill_(3e38)  # finite, but sums of them are not
    write_checkpoint(path, tensors, read_run(path))
    ended = run(code / "evaluate.py", path, "--data", data, "--workers", 0)
    assert ended.code == 1
    assert ended.out.endswith("gpu0 on cpu, gpu1 on cpu\n")
    assert "the loss on the validation images is not a number" in ended.err


@pytest.mark.parametrize("lr", ["0", "-0.1", "nan", "inf", "fast"])
def test_an_impossible_rate_is_refused(lr: str, code: Path, data: Path) -> None:
    ended = run(code / "train.py", "--data", data, "--lr", lr)
    assert ended.code == 2
    assert "error: --lr cannot be " in ended.err or "invalid float" in ended.err


def test_a_cosine_does_not_rise(data: Path, tmp_path: Path) -> None:
    cosine = {"schedule": {"kind": "cosine", "final_lr": 0.001}}
    code = generate(tmp_path / "cosine", BASE | cosine)
    ended = run(code / "train.py", "--data", data, "--lr", "0.001")
    assert ended.code == 2
    assert "--lr must be more than the final_lr of the recipe, 0.001" in ended.err


def test_a_bad_loss_in_one_process_ends_all_at_that_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = object.__new__(training.Session)
    session.signaled = lambda: 0
    session.run = SimpleNamespace(step=7, lr=0.1)  # type: ignore[assignment]
    session.saved = 5
    session.progress = Progress(7, 9)
    assert session.stopped() == 0
    others = [0, 1]
    monkeypatch.setattr(parallel, "largest", lambda its: [*map(max, its, others)])
    with pytest.raises(DivergedError) as raised:
        session.stopped()
    assert raised.value.args == (
        "the loss is not a number after step 7: training diverged, with an lr of 0.1; "
        "the checkpoint after step 5 is kept",
    )
    assert raised.value.help == ADVICE
    others = [signal.SIGTERM, 0]
    assert session.stopped() == signal.SIGTERM


def test_a_loss_that_is_not_a_number_is_shown_as_such() -> None:
    progress = Progress(0, 9)
    progress.start([0.0] * 4)
    for loss, diverged in ((1.0, False), (torch.nan, True)):
        progress.add(torch.tensor([loss, 1.0, 1.0, 1.0]))
        progress.show()
        assert progress.diverged is diverged


@pytest.mark.parametrize("learning", [True, False])
def test_a_network_is_checked_as_it_predicts(learning: bool) -> None:
    def crops(images: Tensor, mean: Tensor) -> list[Tensor]:
        return [images - mean]

    class Scaled(nn.Module):
        scale = 1e5

        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return x * self.scale

    net = Scaled().train(learning)
    check: Callable[[], None] = lambda: state.check_network(  # noqa: E731
        net, crops, torch.full((3, 2, 2), 100.0)
    )
    check()
    net.scale = 2e5
    with pytest.raises(
        DivergedError, match="outputs of the network have become too large"
    ):
        check()
    assert net.training == learning
