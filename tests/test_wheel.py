"""What the wheel contains, away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
FROM_PYTHON = """
import specgen
spec = specgen.load("small.yaml", set={"training.epochs": 3})
assert spec.plan(batch_size=2).images == 2
assert (spec.build("out") / "model.py").is_file()
(change,) = specgen.load("small.yaml").diff(spec).changes
assert (change.path, change.tier) == ("training.epochs", specgen.Tier.RECIPE)
assert "site-packages" in specgen.__file__
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_the_package_and_the_templates(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if name.startswith("specgen/")}
    sources = ROOT.glob("specgen/**/*.py")
    templates = ROOT.glob("templates/**/*.j2")
    expected = {path.relative_to(ROOT).as_posix() for path in sources}
    specs = filter(Path.is_file, ROOT.glob("specs/**/*"))
    for path in (*templates, *specs):
        expected.add(f"specgen/{path.relative_to(ROOT).as_posix()}")
    others = {"specgen/py.typed", "specgen/runtime/requirements.txt"}
    others |= {"specgen/docs/errors.md", "specgen/docs/spec.md"}
    others |= {"specgen/backends/lookalikes.txt"}
    assert names == expected | others


def test_the_wheel_builds_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are complete, and torch is not one of them."""
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    python, specgen = environment / "bin" / "python", environment / "bin" / "specgen"

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, cwd=tmp_path)

    constraints = ROOT / "constraints.txt"  # golden output is from these versions
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel)
    run(python, "-c", "import importlib.util as i; assert not i.find_spec('torch')")
    run(specgen, "build", ROOT / "specs" / "alexnet.yaml", "--output", "out")
    run(specgen, "new", "small.yaml", "--from", "alexnet_mini")
    run(specgen, "explain", "limits")
    run(python, "-c", FROM_PYTHON)
    for name in ("alexnet", "runtime"):
        committed, built = ROOT / "generated" / name, tmp_path / "out" / name
        assert contents(built) == contents(committed)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is generated; the lock says where the spec is, which differs."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.suffix != ".lock"}
