"""The architecture's invariants, as absences, read from the code itself."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from jinja2.nodes import Add, Div, FloorDiv, Mod, Mul, Neg, Pow, Sub

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "specgen").rglob("*.py"))
GENERATED = sorted((ROOT / "generated").rglob("*.py"))
TEMPLATES = sorted((ROOT / "templates").iterdir())
TESTS = sorted((ROOT / "tests").glob("*.py"))

# A module or package imports only from those above it, and from itself.
ORDER = (
    "__init__",
    "lock",
    "diagnostics",
    "yaml12",
    "source",
    "names",
    "schema",
    "ops",
    "graph",
    "spec",
    "editor",
    "frontend",
    "passes",
    "templates",
    "backends",
    "compiler",
    "merges",
    "transaction",
    "writer",
    "cache",
    "build",
    "verify",
    "sample_data",
    "cli",
    "__main__",
)


def unit(path: Path) -> str:
    """Return the file's entry in ORDER: ops for specgen/ops/conv.py."""
    return path.relative_to(ROOT / "specgen").parts[0].removesuffix(".py")


def imports(code: str, package: str = "") -> Iterator[str]:
    """Yield the full dotted name of everything imported, wherever in the code."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def imported_from(code: str, *libraries: str) -> set[str]:
    return {name for name in imports(code) if name.split(".")[0] in libraries}


def imported_units(code: str, package: str) -> set[str]:
    """Return the entries of ORDER that the code imports from."""
    names = {name for name in imports(code, package) if name.split(".")[0] == "specgen"}
    parts = [(*name.split("."), "__init__")[1] for name in names]
    return {part if part in ORDER else "__init__" for part in parts}


def outputs_and_exits(code: str) -> set[str]:
    """Return what prints or ends the process: print, sys.exit, SystemExit, ..."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id="print" | "exit" | "quit" | "SystemExit" as name):
                found.add(name)
            case ast.Attribute(ast.Name("sys"), "exit" | "stdout" | "stderr" as name):
                found.add(f"sys.{name}")
            case ast.Attribute(ast.Name("os"), "_exit" | "abort" as name):
                found.add(f"os.{name}")
    return found


def dynamic_code(code: str) -> set[str]:
    names = {
        node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)
    }
    return names & {"eval", "exec", "__import__"}


def arithmetic(template: str) -> list[int]:
    """Return the lines on which a template computes."""
    tree = jinja2.Environment(trim_blocks=True).parse(template)
    operations = (Add, Sub, Mul, Div, FloorDiv, Mod, Pow, Neg)
    return [node.lineno for node in tree.find_all(operations)]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Run the test once a file."""
    ids = [str(path.relative_to(ROOT)) for path in paths]
    return pytest.mark.parametrize("path", paths, ids=ids)


@each(SOURCES)
def test_only_verify_imports_torch_or_onnxruntime(path: Path) -> None:
    if unit(path) != "verify":
        assert not imported_from(path.read_text(), "torch", "onnxruntime")


@each(SOURCES)
def test_only_the_onnx_backends_import_onnx(path: Path) -> None:
    if not path.match("specgen/backends/onnx*.py"):
        assert not imported_from(path.read_text(), "onnx")


@each(SOURCES)
def test_only_cli_prints_or_exits(path: Path) -> None:
    if unit(path) not in ("cli", "__main__"):
        assert not outputs_and_exits(path.read_text())


@each(SOURCES)
def test_a_module_imports_only_from_above(path: Path) -> None:
    own = unit(path)
    package = ".".join(path.relative_to(ROOT).parent.parts)
    below = ORDER[ORDER.index(own) + 1 :]
    assert not imported_units(path.read_text(), package) & set(below)


@each([path for path in SOURCES if unit(path) == "ops"])
def test_ops_know_no_template(path: Path) -> None:
    assert not re.search(r"jinja|template|\.j2", path.read_text(), re.IGNORECASE)


@each(TEMPLATES)
def test_templates_do_no_arithmetic(path: Path) -> None:
    assert arithmetic(path.read_text()) == []


@each(SOURCES + GENERATED)
def test_no_dynamic_code(path: Path) -> None:
    assert not dynamic_code(path.read_text())


@each(SOURCES + TEMPLATES + TESTS + GENERATED)
def test_no_file_grows_past_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@each(GENERATED)
def test_generated_code_imports_only_its_requirements(path: Path) -> None:
    requirements = (path.parent / "requirements.txt").read_text()
    listed = set(re.findall(r"^[\w-]+", requirements, re.MULTILINE))
    modules = {"PIL" if name == "pillow" else name for name in listed}
    siblings = {sibling.stem for sibling in path.parent.glob("*.py")}
    used = {name.split(".")[0] for name in imports(path.read_text())}
    assert used <= modules | siblings | set(sys.stdlib_module_names)


def test_planted_faults_are_found() -> None:
    assert imported_from("def f():\n import torch.nn", "torch") == {"torch.nn"}
    assert imported_units("from specgen.ops import conv", "specgen") == {"ops"}
    assert imported_units("from .. import cli", "specgen.ops") == {"cli"}
    assert imported_units("from . import conv", "specgen.ops") == {"ops"}
    assert imported_units("from specgen import __version__", "specgen") == {"__init__"}
    assert outputs_and_exits("import sys\nsys.exit(print())") == {"print", "sys.exit"}
    assert outputs_and_exits("raise SystemExit(1)") == {"SystemExit"}
    assert arithmetic("a\n{{ 1 if x else n - 1 }} {{ a ~ b }}") == [2]
    assert dynamic_code("x = eval('1')") == {"eval"}
