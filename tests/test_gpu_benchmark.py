"""benchmarks/gpu.py, as far as it runs without a GPU."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def start(*flags: str, path: Path | str = "") -> subprocess.CompletedProcess[str]:
    """Run it as on a machine without CUDA."""
    return subprocess.run(
        [sys.executable, SCRIPT, *flags],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )


def test_a_dry_run_checks_and_times_everything_on_the_cpu(tmp_path: Path) -> None:
    output = tmp_path / "gpu.md"
    for name in ("specgen", "pydantic", "yaml", "jinja2"):  # it needs none of them
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    ended = start("--dry-run", "--output", str(output), path=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert not output.exists()
    lines = ended.stdout.splitlines()
    assert "a dry run on the CPU" in ended.stdout
    findings = [line.split(" | ") for line in lines if line.startswith("| ")]
    verdicts = {check.removeprefix("| "): passed for check, passed, *_ in findings}
    assert verdicts["alexnet_mini on cpu and cpu equals the CPU"] == "yes"
    assert verdicts["a group of one process"] == "yes"
    assert verdicts["a step never waits for the device"] == "not run"
    assert "**NO**" not in verdicts.values()
    for precision in ("bfloat16", "TF32"):
        networks = [row[2] for row in findings if row[0] == f"| {precision}"]
        assert networks[0] == "torchvision's layers, NCHW"
        assert networks[-1] == "AlexNet"
    (moved,) = (row[1:] for row in findings if row[0] == "| AlexNet" and row[4:])
    assert all(float(figure.strip(" |")) > 0 for figure in moved)
    assert "| AlexNet | `aten::convolution_backward` | 10 | " in ended.stdout
    assert "is waiting; target 5%" in lines[-3]
    assert "failed" not in ended.stdout


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield the script as a module, with parts of one line each."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    module: Any = importlib.import_module("gpu")
    for part in ("correctness", "speed", "moved", "launches", "operations", "waiting"):
        monkeypatch.setattr(module, part, lambda _, part=part: iter([part]))
    found = SimpleNamespace(dry=False, gpus=["cpu"], gpu="cpu")
    found.devices = SimpleNamespace(set_up=lambda: None)
    monkeypatch.setattr(module, "Bench", lambda dry_run: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    yield module
    for name in [name for name in sys.modules if name.startswith("gpu")]:
        del sys.modules[name]


def failing(error: BaseException) -> Callable[[object], Iterator[str]]:
    def part(_: object) -> Iterator[str]:
        yield "the first row"
        raise error

    return part


def test_a_part_that_fails_says_why_and_the_others_run(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = RuntimeError("no | memory\nand more")
    monkeypatch.setattr(gpu, "speed", failing(reason))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "gpu.md")])
    gpu.main()
    text = (tmp_path / "gpu.md").read_text()
    failed = "**This part failed**: RuntimeError: no / memory and more"
    assert f"## Fast?\n\nthe first row\n\n{failed}\n" in text
    for part in ("correctness", "moved", "launches", "operations", "waiting"):
        assert f"\n{part}\n" in text


def test_an_interrupted_report_is_written_as_far_as_it_came(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "moved", failing(KeyboardInterrupt()))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "gpu.md")])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    assert (tmp_path / "gpu.md").read_text().endswith("\nthe first row\n")


def test_a_network_that_fails_leaves_the_table_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    gpu: Any = importlib.import_module("gpu")
    bench: Any = SimpleNamespace(dry=True, batches=(2,))
    bench.rows = lambda count, bf16: ["AlexNet", gpu.COMPILED]
    bench.seconds = lambda step: 0.5

    def step(row: str, bf16: bool, count: int) -> None:
        if row == gpu.COMPILED:
            raise MemoryError("2 GiB")

    bench.step = step
    text = "\n".join(gpu.speed(bench))
    assert "| bfloat16 | 2 | AlexNet | 4 | - |" in text
    assert "| bfloat16 | 2 | AlexNet, --compile | MemoryError: 2 GiB | - |" in text
    for name in [name for name in sys.modules if name.startswith("gpu")]:
        del sys.modules[name]


def test_without_cuda_it_says_so() -> None:
    ended = start()
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: there is no CUDA device; --dry-run works without one\n"
    )
