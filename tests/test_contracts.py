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
PACKAGE = ROOT / "specgen"
# These are copied into generated folders, and obey their rules.
RUNTIME = sorted((PACKAGE / "runtime").glob("*.py"))
SOURCES = sorted(set(PACKAGE.rglob("*.py")) - set(RUNTIME))
GENERATED = sorted((ROOT / "generated").rglob("*.py"))
TEMPLATES = sorted((ROOT / "templates").iterdir())
TESTS = sorted((ROOT / "tests").glob("*.py"))

# A module or package imports only from those above it, and from itself. What __init__
# makes public it imports when it is asked for: see test_api.py.
ORDER = (
    "paint",
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
    "tables",
    "markdown",
    "plan",
    "picture",
    "templates",
    "runtime_files",
    "backends",
    "compiler",
    "diff",
    "page",
    "variants",
    "merges",
    "transaction",
    "writer",
    "cache",
    "build",
    "watch",
    "new",
    "api",
    "verify",
    "sample_data",
    "explain",
    "cli",
    "__main__",
)


def unit(path: Path) -> str:
    """Return the file's entry in ORDER: ops for specgen/ops/conv.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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


def at_start(code: str) -> str:
    """Return the imports that are not in a function."""
    lines = ast.parse(code).body  # imports for types only are below an `if`
    return "\n".join(
        map(ast.unparse, (n for n in lines if "Import" in type(n).__name__))
    )


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
    """Run the test once per file."""
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


@each([path for path in SOURCES if unit(path) != "__init__"])
def test_a_module_imports_only_from_above(path: Path) -> None:
    own = unit(path)
    package = ".".join(path.relative_to(ROOT).parent.parts)
    below = ORDER[ORDER.index(own) + 1 :]
    assert not imported_units(path.read_text(), package) & set(below)


@each([path for path in SOURCES if unit(path) == "cli"])
def test_the_command_line_starts_quickly(path: Path) -> None:
    """A command imports what takes time to import only when it runs."""
    light = {"__init__", "cli", "diagnostics", "lock", "paint"}
    assert imported_units(at_start(path.read_text()), "specgen.cli") <= light


@each([path for path in SOURCES if unit(path) == "ops"])
def test_ops_do_not_know_templates(path: Path) -> None:
    assert not re.search(r"jinja|template|\.j2", path.read_text(), re.IGNORECASE)


@each(TEMPLATES)
def test_templates_do_no_arithmetic(path: Path) -> None:
    assert arithmetic(path.read_text()) == []


@each(RUNTIME)
def test_run_time_code_imports_only_its_own_and_its_requirements(path: Path) -> None:
    allowed = {"specgen", *required(), *sys.stdlib_module_names}
    for name in imports(path.read_text(), "specgen.runtime"):
        assert name.split(".")[0] in allowed
        if name.startswith("specgen"):
            assert name.startswith("specgen.runtime.")


@each(SOURCES)
def test_nothing_that_compiles_imports_run_time_code(path: Path) -> None:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    names = set(imports(path.read_text(), package))
    assert not {name for name in names if f"{name}.".startswith("specgen.runtime.")}


@each(SOURCES + RUNTIME + GENERATED)
def test_no_dynamic_code(path: Path) -> None:
    assert not dynamic_code(path.read_text())


@each(SOURCES + RUNTIME + TEMPLATES + TESTS + GENERATED)
def test_no_file_grows_past_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@each([path for path in GENERATED if path.parent.name != "runtime"])
def test_generated_code_imports_only_its_requirements(path: Path) -> None:
    siblings = {sibling.stem for sibling in path.parent.glob("*.py")}
    used = {name.split(".")[0] for name in imports(path.read_text())}
    assert used <= {"runtime", *required(), *siblings, *sys.stdlib_module_names}


def required() -> set[str]:
    """Return the modules of the packages that generated code asks for."""
    text = (PACKAGE / "runtime/requirements.txt").read_text()
    names = set(re.findall(r"^[\w-]+", text, re.MULTILINE))
    return {"PIL" if name == "pillow" else name for name in names}


def test_planted_faults_are_found() -> None:
    assert imported_from("def f():\n import torch.nn", "torch") == {"torch.nn"}
    assert imported_units("from specgen.ops import conv", "specgen") == {"ops"}
    assert imported_units("from .. import cli", "specgen.ops") == {"cli"}
    assert imported_units("from . import conv", "specgen.ops") == {"ops"}
    assert imported_units("from specgen import __version__", "specgen") == {"__init__"}
    assert at_start("import a\ndef f():\n import b") == "import a"
    assert outputs_and_exits("import sys\nsys.exit(print())") == {"print", "sys.exit"}
    assert outputs_and_exits("raise SystemExit(1)") == {"SystemExit"}
    assert arithmetic("a\n{{ 1 if x else n - 1 }} {{ a ~ b }}") == [2]
    assert dynamic_code("x = eval('1')") == {"eval"}
