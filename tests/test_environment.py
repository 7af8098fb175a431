"""The locked environment: complete, within the ranges, independent of any machine."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = "constraints.txt"
HASHED = "requirements-dev.txt"
TORCH = re.compile(r"torch|triton|cuda-.+|nvidia-.+")  # what has no hash


def pins(file: str) -> list[Requirement]:
    """Return what a file of `make lock` pins; some packages once per Python version."""
    text = (ROOT / file).read_text().replace("\\\n", "")
    lines = re.findall(r"^[^#\s].*", text, re.MULTILINE)
    return [Requirement(line.split("--hash")[0]) for line in lines]


def test_each_direct_dependency_is_pinned_within_its_range() -> None:
    versions: dict[str, list[str]] = {}
    for pin in pins(LOCK):
        (equal,) = pin.specifier
        assert equal.operator == "=="
        versions.setdefault(pin.name, []).append(equal.version)
    extras = [one for extra in EXTRAS.values() for one in extra]
    for line in [*PROJECT["dependencies"], *extras]:
        wanted = Requirement(line)
        if wanted.name != "specgen":
            found = versions[canonicalize_name(wanted.name)]
            assert all(version in wanted.specifier for version in found), line


def test_what_dependencies_depend_on_is_pinned() -> None:
    found: set[str] = set()
    queue = [
        *PROJECT["dependencies"],
        *(one for extra in EXTRAS.values() for one in extra),
    ]
    while queue:
        wanted = Requirement(queue.pop())
        here = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if here and wanted.name != "specgen" and wanted.name not in found:
            found.add(wanted.name)
            queue += metadata.requires(wanted.name) or []
    assert len(found) > 50
    assert {canonicalize_name(name) for name in found} <= {
        pin.name for pin in pins(LOCK)
    }


def test_everything_but_torch_has_hashes() -> None:
    without = [pin for pin in pins(LOCK) if not TORCH.fullmatch(pin.name)]
    assert pins(HASHED) == without
    entries = re.split(r"^(?=\w)", (ROOT / HASHED).read_text(), flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries[1:])


def test_the_lock_mentions_no_machine_and_no_index() -> None:
    for file in (LOCK, HASHED):
        text = (ROOT / file).read_text()
        assert not re.search(r"://|^-[^-]|^--|\+cpu| /\w", text, re.MULTILINE), file


def test_generated_code_requires_what_is_tested() -> None:
    """The lower bounds are those of pyproject.toml, which `make test-lowest` tests."""
    ours = [*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["verify"]]
    floors = {re.split(r",", line)[0] for line in ours}
    asked = ROOT / "specgen" / "runtime" / "requirements.txt"
    assert set(asked.read_text().split()) <= floors
