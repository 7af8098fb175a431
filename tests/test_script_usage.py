"""The command lines of generated scripts: their help, and what they refuse alike."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from scripts import generate, run

RUNTIME = ROOT / "specgen" / "runtime"
INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name.startswith("matplotlib"):
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("a folder") / "tiny", {})


def command(usage: str) -> list[str]:
    """Return the command in a usage message, without its arguments."""
    words = shlex.split(usage.partition("[-h]")[0])
    assert words[0] == "usage:"
    return words[1:]


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "pack"])
def test_the_usage_of_a_script_is_how_it_was_started(name: str, code: Path) -> None:
    script = code / f"{name}.py"
    ended = run(script, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert command(ended.out) == [Path(sys.executable).name, str(script)]


def test_the_usage_of_the_curves_is_how_they_were_started() -> None:
    place = RUNTIME.relative_to(ROOT)
    started = [sys.executable, "-X", "importtime", str(place), "--help"]
    shown = subprocess.run(started, cwd=ROOT, capture_output=True, text=True)
    assert command(shown.stdout) == [Path(sys.executable).name, str(place)]
    assert "argparse\n" in shown.stderr
    assert "torch\n" not in shown.stderr  # which takes a second


def test_an_interrupt_while_the_curves_are_imported_leaves_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, RUNTIME, "run"],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("script", "arguments", "what"),
    [
        ("train.py", ("--data", ".", "--output", "-"), "--output"),
        ("export.py", ("x", "--output", "-"), "--output"),
        ("pack.py", (".", "-"), "OUT"),
    ],
)
def test_nothing_is_written_to_a_file_called_dash(
    script: str, arguments: tuple[str, ...], what: str, code: Path
) -> None:
    ended = run(code / script, *arguments)
    expected = f"error: argument {what}: - cannot be standard output here; "
    assert ended.code == 2
    assert expected in ended.err
    assert not os.path.lexists("-")


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "pack"])
def test_an_interrupt_leaves_no_traceback_from_the_first_import_on(
    name: str, code: Path
) -> None:
    for path in (code / f"{name}.py", RUNTIME / "__main__.py"):
        guard = "\nif signal.getsignal(signal.SIGINT) == "
        before, found, _ = path.read_text().partition(guard)
        assert found
        imports = [line for line in before.splitlines() if "import " in line]
        assert imports == ["import signal"]
