"""benchmarks/gpu.py, as far as it runs without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    assert "If nothing but bandwidth counted, speeds would be" in ended.stdout
    assert "| AlexNet | `aten::convolution_backward` | 10 | " in ended.stdout
    assert "is waiting; target 5%" in lines[-1]


def test_without_cuda_it_says_so() -> None:
    ended = start()
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: there is no CUDA device; --dry-run works without one\n"
    )
