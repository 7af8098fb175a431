"""`specgen verify`: run what is generated and compare with the plan."""

from __future__ import annotations

import argparse

from specgen.cli import arguments
from specgen.cli.terminal import Progress, print_json, print_text

EXAMPLES = (
    ("verify specs/alexnet.yaml", "takes some seconds a spec"),
    ("verify specs --quiet", "prints what has failed, if any"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.specs(command)
    arguments.form(command)
    arguments.quiet(command)


def run(options: argparse.Namespace) -> int:
    """Print every comparison; fail if one does."""
    from specgen import build
    from specgen.verify import Check, as_data, table, verify

    specs, texts = arguments.given(options)
    programs = build.compile_all(specs, options.set, project=options.root, texts=texts)
    arguments.warn(options, programs.values())
    results: dict[str, list[Check]] = {}
    with Progress(quiet=options.quiet) as progress:
        for spec, program in programs.items():

            def tell(check: Check, spec: object = spec) -> None:
                progress.say(f"{spec}: {'ok' if check.ok else 'FAILED'} {check.name}")

            progress.say(f"{spec}: loading PyTorch and ONNX Runtime")
            results[str(spec)] = verify(program, progress=tell)
    ok = all(check.ok for checks in results.values() for check in checks)
    if options.format == "json":
        print_json({spec: as_data(checks) for spec, checks in results.items()})
    else:
        print_text(
            {
                str(spec): table(results[str(spec)], list(program.spec.layers))
                for spec, program in programs.items()
            }
        )
    return 0 if ok else 1
