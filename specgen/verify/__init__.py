"""Compares the generated code with the plan. The only package that runs it.

Everything measured comes from running the generated files: model.py in PyTorch on the
CPU, model.onnx in onnxruntime. Both are imported only once they are known to be
installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from specgen.compiler import Program, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.verify.check import Check, as_data, table

__all__ = ["Check", "as_data", "table", "verify"]

PACKAGES = ("torch", "onnxruntime")


def verify(
    program: Program,
    files: Mapping[str, bytes] | None = None,
    progress: Callable[[Check], object] = lambda check: None,
) -> list[Check]:
    """Run the generated files and compare with the plan.

    `files` replaces what would be generated. `progress` is called with each
    check as it is done.

    Raises:
        SpecError: torch or onnxruntime is not installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        problem = Diagnostic(
            "missing-package",
            f"verify runs the generated code, but {' and '.join(missing)}"
            f" {'is' if len(missing) == 1 else 'are'} not installed",
            help="pip install 'specgen[verify]'",
        )
        raise SpecError([problem])
    from specgen.verify.run import run

    checks = []
    for check in run(program, render(program) if files is None else files):
        checks.append(check)
        progress(check)
    return checks
