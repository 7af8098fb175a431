"""`specgen verify`: run what is generated and compare with the plan."""

from __future__ import annotations

import argparse

from specgen.cli import arguments


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.spec(command)
    arguments.form(command)


def run(options: argparse.Namespace) -> int:
    """Print every comparison; fail if one does."""
    from specgen.compiler import compile_file
    from specgen.verify import as_json, table, verify

    checks = verify(compile_file(options.spec, options.set, options.root))
    print(as_json(checks) if options.format == "json" else table(checks))
    return 0 if all(check.ok for check in checks) else 1
