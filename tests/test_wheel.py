"""What the wheel brings, away from the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_the_templates(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if name.startswith("specgen/")}
    sources = ROOT.glob("specgen/**/*.py")
    templates = ROOT.glob("templates/**/*.j2")
    expected = {path.relative_to(ROOT).as_posix() for path in sources}
    expected |= {f"specgen/{path.relative_to(ROOT).as_posix()}" for path in templates}
    assert names == expected | {"specgen/py.typed"}
