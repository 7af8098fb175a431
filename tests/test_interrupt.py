"""Ctrl-C ends the command line quietly, whatever it does at that moment."""

from __future__ import annotations

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
