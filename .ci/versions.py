"""Try what users get with the lowest or the newest versions that pyproject.toml allows.

usage: python .ci/versions.py lowest|newest [VERSION OF TORCH]

Installs specgen as users do, into an environment that is removed afterward. There it
compares generated/ with what specs/ say, trains and verifies the small network, and
tests the norms, whose gradients torch.compile must not lose.

torch is the one in constraints.txt unless its version is given: what PyPI has for Linux
takes five gigabytes with its CUDA libraries.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
NORMS = ("tests/test_local_response_norm.py", "tests/test_spatial_response_norm.py")


def lower_ends() -> list[str]:
    """Return a pin at the lower end of every range in pyproject.toml but torch's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        ranges += extra
    pairs = [re.match(r"([\w-]+)>=([\w.]+)", one) for one in ranges]
    return [f"{pair[1]}=={pair[2]}" for pair in pairs if pair and pair[1] != "torch"]


def main(which: str, *torch: str) -> None:
    """Install, list the versions, try."""
    locked = (ROOT / "constraints.txt").read_text()
    (version,) = torch or re.findall("^torch==(.+)", locked, re.MULTILINE)
    pins = {"lowest": lower_ends(), "newest": []}[which]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join([*pins, f"torch=={version}", ""]))
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        specgen = python.with_name("specgen")

        def run(*command: object) -> None:
            print("+", *command, flush=True)
            subprocess.run([*map(str, command)], cwd=ROOT, check=True)

        pip = (python, "-m", "pip")
        install = (*pip, "install", "--quiet", "--constraint", constraints)
        run(*install, "hatchling", "pytest", "hypothesis")
        run(*install, "--no-build-isolation", ".[verify]")
        run(*pip, "list")
        for spec in sorted(ROOT.glob("specs/*.yaml")):
            run(specgen, "build", "--check", spec.relative_to(ROOT))
        data = folder / "shapes"
        run(specgen, "sample-data", data)
        train = (python, "generated/alexnet_mini/train.py", "--data", data)
        run(*train, "--output", folder / "run", "--steps", 3)
        run(specgen, "verify", "specs/alexnet_mini.yaml")
        run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NORMS)


if __name__ == "__main__":
    main(*sys.argv[1:])
