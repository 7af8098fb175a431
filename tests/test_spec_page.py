"""The page of the spec language: its examples build, its limits are the compiler's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from specgen import source
from specgen.compiler import compile_file, render
from specgen.spec.data import Data
from specgen.spec.training import Training
from specgen.yaml12 import reader

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "spec.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
(WHOLE,) = [text for text in EXAMPLES if text.startswith("specgen: 1")]
OVERLAYS = [text for text in EXAMPLES if text.startswith("extends: ")]


def test_the_whole_spec_builds(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(WHOLE)
    files = render(compile_file(path))
    assert b"class Small(nn.Module)" in files["model.py"]
    assert WHOLE.count("\n") <= 15  # which the README promises


@pytest.mark.parametrize("text", OVERLAYS)
def test_an_overlay_builds(text: str, tmp_path: Path) -> None:
    (tmp_path / "alexnet.yaml").write_bytes((ROOT / "specs/alexnet.yaml").read_bytes())
    path = tmp_path / "variant.yaml"
    path.write_text(text)
    program = compile_file(path)
    assert "norm1" not in program.spec.layers
    assert list(program.spec.layers).index("drop5") == 14


def rows(section: str) -> dict[str, str]:
    """Return the second column of a section's table by its first."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|(.*?)\| .* \|$", text, re.M))


@pytest.mark.parametrize(("section", "model"), [("Data", Data), ("Training", Training)])
def test_every_key_is_named(section: str, model: type[BaseModel]) -> None:
    assert list(rows(section)) == list(model.model_fields)


def test_the_limits_are_those_of_the_reader() -> None:
    limits = PAGE.partition("## Limits")[2]
    assert f"{source.MAX_BYTES // 2**20} MiB" in limits
    assert f"{reader.MAX_VALUES:,} values" in limits
    assert f"{reader.MAX_DEPTH} levels" in limits
