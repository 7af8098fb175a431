"""How the command line ends when it is interrupted or cannot write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A module that the command imports is interrupted while it is imported.
CODE = """
import sys
from specgen.__main__ import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.argv = ["specgen", "show", "specs/alexnet_mini.yaml"]
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["specgen.cli", "argparse", "specgen.compiler"])
def test_an_interrupt_while_modules_are_imported(name: str) -> None:
    command = [sys.executable, "-c", CODE.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def run(command: str) -> subprocess.CompletedProcess[str]:
    """Run specgen in a shell that limits files to 1 KiB; a full one is an error."""
    script = f"trap '' XFSZ; ulimit -f 1; exec {sys.executable} -m specgen {command}"
    return subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True
    )


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    done = run(f"schema > {tmp_path / 'schema.json'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error[cannot-write]: cannot write the output: File")
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_folder(tmp_path: Path) -> None:
    done = run(f"build specs/alexnet_mini.yaml --output {tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error[cannot-write]: cannot write {tmp_path}")
    assert not (tmp_path / "out").exists()


def test_output_that_nobody_reads() -> None:
    done = run("schema | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (141, "")


def test_an_error_counts_more_than_that_nobody_reads(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text((ROOT / "specs/alexnet_mini.yaml").read_text() + "wrong: 1\n")
    done = run(f"show {spec} | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 1
    assert done.stderr.startswith("error[unknown-key]: unknown key wrong")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["diff {0} {0}", "show - --name a"])
def test_closed_streams(command: str, closed: str) -> None:
    done = run(f"{command.format('specs/alexnet_mini.yaml')} {closed}")
    assert done.returncode == command.startswith("show")  # of nothing
    assert "Traceback" not in done.stderr


def test_a_base_with_a_name_that_is_not_ascii_in_the_c_locale(tmp_path: Path) -> None:
    base = (ROOT / "specs/alexnet_mini.yaml").read_bytes()
    (tmp_path / "é.yaml").write_bytes(base)
    top = tmp_path / "top.yaml"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def show(name: str) -> subprocess.CompletedProcess[str]:
        top.write_text(f"extends: {name}\n", encoding="utf-8")
        command = [sys.executable, "-m", "specgen", "show", str(top)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env=environment
        )

    assert "conv1" in show("é.yaml").stdout
    missing = show("è.yaml")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error[cannot-read]: cannot read")


@pytest.mark.skipif(sys.platform == "win32", reason="there it cannot be removed")
def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    script = f'rmdir "$PWD"; exec {sys.executable} -m specgen show net.yaml'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    said = "error[cannot-read]: the current folder no longer exists\n"
    assert (done.returncode, done.stderr.partition("\n\n")[0] + "\n") == (1, said)
