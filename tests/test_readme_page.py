"""README.md: what it quotes of specs and of generated code is what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from specgen.api import load
from specgen.compiler import compile_file, render
from specgen.ops.base import FLOAT32

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"^```(yaml|python)\n(.*?)^```$", re.M | re.S)
GAP = re.compile(r"^ *\.\.\.\n", re.M)  # what a quotation leaves out


def quoted(language: str) -> list[str]:
    """The pieces of code in a language, without gaps or those of a named file."""
    found = CODE.findall((ROOT / "README.md").read_text())
    pieces = [
        piece for name, code in found if name == language for piece in GAP.split(code)
    ]
    own = [piece for piece in pieces if not piece.startswith("# specs/")]
    return [piece.rstrip() for piece in own if piece.strip()]


def without_comments(text: str) -> str:
    return re.sub(r" +# a budget.*| +# the compiler finds.*", "", text)


@pytest.fixture(scope="module")
def sources() -> str:
    specs = [ROOT / "specs" / name for name in ("alexnet.yaml", "zoo/resnet18.yaml")]
    code = [render(compile_file(spec))["model.py"].decode() for spec in specs]
    return "\n".join([*(spec.read_text() for spec in specs), *code])


@pytest.mark.parametrize("language", ["yaml", "python"])
def test_code_is_quoted_as_it_is(language: str, sources: str) -> None:
    pieces = quoted(language)
    assert pieces
    for piece in pieces:
        for part in without_comments(piece).split("\n\n"):
            lines = part.strip("\n").splitlines()
            if not all(line in sources for line in lines):
                raise AssertionError([line for line in lines if line not in sources])


def test_an_overlay_is_quoted_with_what_it_changes() -> None:
    ((name, quoted_),) = re.findall(
        r"^```yaml\n# (specs/[\w./]+):[^\n]*\n(.*?)^```$",
        (ROOT / "README.md").read_text(),
        re.M | re.S,
    )
    there = yaml.safe_load((ROOT / name).read_text())
    here = yaml.safe_load(quoted_)
    assert {key: there[key] for key in ("extends", "layers")} == {
        key: here[key] for key in ("extends", "layers")
    }


def test_the_figures_for_choosing_a_placement_are_those_of_the_plan() -> None:
    batch = 128
    towers = load(ROOT / "specs" / "alexnet.yaml").plan(batch_size=batch)
    alone = load(ROOT / "specs" / "alexnet_1gpu.yaml").plan()
    step = sum(edge.bytes_per_step for edge in towers.traffic)
    image = next(e.bytes_per_image for e in towers.traffic if e.before == "conv1")
    sent = FLOAT32 * alone.parameters  # by each of two: 2 (2 - 1) / 2 of all gradients
    text = " ".join((ROOT / "README.md").read_text().split())
    for figure in (
        f"moves {step // batch:,} bytes per image and step",
        f"a copy of the image to the second device, {image:,} bytes",
        f"{step / 1e6:.0f} MB for a batch of {batch}",
        f"send {sent / 1e6:.0f} MB each, {2 * sent / 1e6:.0f} MB together",
        f"move less up to a batch of {2 * sent * batch // step}.",
    ):
        assert figure in text, figure
