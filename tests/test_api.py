"""specgen from Python: what the page says, errors, and that importing is cheap."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

import specgen
from specgen import cli
from specgen.passes.memory import MOST_IMAGES

PAGE = ROOT / "docs/api.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the specs and nothing else."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)


def test_the_page_is_right() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert found.failed == 0
    assert found.attempted >= 15


def test_the_page_names_everything_public() -> None:
    table = PAGE.read_text().partition("## What is public")[2]
    assert all(f"`{name}" in table for name in specgen.__all__)
    assert sorted(specgen._HOMES) == sorted(specgen.__all__)
    assert {name for name in dir(specgen) if name[0] != "_"} >= {*specgen.__all__}
    for name in specgen.__all__:
        assert getattr(specgen, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = specgen.nosuch


def test_importing_imports_nothing_else() -> None:
    code = "import specgen, sys; print(*sorted(sys.modules))"
    before, after = (
        subprocess.run(
            [sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True
        ).stdout.split()
        for line in ("import typing, sys; print(*sorted(sys.modules))", code)
    )
    assert {*after} - {*before} == {"__future__", "specgen"}


def test_a_build_equals_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    sets: dict[str, Any] = {
        "training.epochs": 3,
        "summary": 'a: "b" # c',
        "layers.relu5": None,
    }
    folder = specgen.load("specs/alexnet_mini.yaml", set=sets).build("here")
    assert folder == Path("here/alexnet_mini")
    options = [f"--set={key}={json.dumps(value)}" for key, value in sets.items()]
    command = ["build", "specs/alexnet_mini.yaml", *options, "--output", "there"]
    assert cli.main(command) == 0
    assert contents(folder) == contents(Path("there/alexnet_mini"))
    assert cli.main([*command[:-1], "here", "--check"]) == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_edited_file_is_kept() -> None:
    spec = specgen.load(Path("specs/alexnet_mini.yaml"))
    model = spec.build("out") / "model.py"
    model.write_text("mine")
    with pytest.raises(specgen.SpecError, match="edited by hand"):
        spec.build("out")
    assert model.read_text() == "mine"
    spec.build("out", force=True)
    assert "class AlexNet" in model.read_text()


def test_one_exception_has_all_errors() -> None:
    with pytest.raises(specgen.SpecError) as caught:
        specgen.load(
            "specs/alexnet.yaml",
            set={"layers.conv2.groups": 3, "layers.conv9": 1, "data.size": 3},
        )
    codes = {found.code for found in caught.value.diagnostics}
    assert codes >= {"shape-mismatch", "data-mismatch"}
    assert all(found.span for found in caught.value.diagnostics)
    lines = str(caught.value).splitlines()  # what a traceback shows
    assert len(lines) == len(caught.value.diagnostics)
    assert any(
        line.startswith("--set layers.conv2.groups=3:1:21: conv2: 256")
        for line in lines
    )
    with pytest.raises(specgen.SpecError, match="cannot read nosuch"):
        specgen.load("nosuch.yaml")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_values_that_no_spec_can_have(value: Any) -> None:
    with pytest.raises(TypeError):
        specgen.load("specs/alexnet.yaml", set={"summary": value})


@pytest.mark.parametrize("images", [0, -1, MOST_IMAGES + 1])
def test_a_batch_that_no_spec_could_have(images: int) -> None:
    spec = specgen.load("specs/alexnet_mini.yaml")
    assert spec.plan(batch_size=MOST_IMAGES).images == MOST_IMAGES
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1 to"):
        spec.plan(batch_size=images)


def test_a_plan_is_what_show_prints(capsys: pytest.CaptureFixture[str]) -> None:
    spec = specgen.load("specs/alexnet_2x4.yaml")
    assert cli.main(["show", "specs/alexnet_2x4.yaml", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert json.loads(json.dumps(spec.plan().as_json())) == shown


def test_notebooks_show_tables() -> None:
    spec = specgen.load("specs/alexnet.yaml")
    assert spec._repr_html_() == spec.plan()._repr_html_()
    assert repr(spec) == "<CompiledSpec AlexNet of 'specs/alexnet.yaml'>"
    other = specgen.load("specs/alexnet_1gpu.yaml")
    assert spec.diff(other)._repr_markdown_().startswith("**placement**: ")
    assert spec.diff(spec).changes == ()
