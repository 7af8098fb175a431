"""The page of the spec language: its examples build, its limits are the compiler's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from specgen import source
from specgen.compiler import compile_file, render
from specgen.frontend import expressions, network
from specgen.spec.data import Data
from specgen.spec.entries import Wiring
from specgen.spec.training import Training
from specgen.yaml12 import reader

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "spec.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
(WHOLE,) = [text for text in EXAMPLES if text.startswith("specgen: 1")]
NETWORKS = [text for text in EXAMPLES if re.search("^layers:", text, re.M)]
OVERLAYS = [text for text in EXAMPLES if text.startswith("extends: ")]


def test_the_whole_spec_builds(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(WHOLE)
    files = render(compile_file(path))
    assert b"class Small(nn.Module)" in files["model.py"]
    assert WHOLE.count("\n") <= 15  # which the README promises


@pytest.mark.parametrize(
    "text", [text for text in NETWORKS if text not in (WHOLE, *OVERLAYS)]
)
def test_an_example_of_layers_compiles(text: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    head = "specgen: 1\nname: Net\ninput: {channels: 3, height: 32, width: 32}\n"
    path.write_text(head + text)
    compile_file(path)


def test_every_key_of_an_entry_is_named() -> None:
    keys = {field.alias or name for name, field in Wiring.model_fields.items()}
    assert set(rows("Groups")) == keys - {"name"}
    assert "An item with a `name`" in PAGE


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
    assert f"{network.MOST_LAYERS:,}" in limits
    assert f"{network.MOST_DEPTH} levels deep" in limits
    assert f"{expressions.LONGEST} characters" in limits
