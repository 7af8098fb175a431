"""`specgen verify`: run the generated code and compare with the plan."""

from __future__ import annotations

import argparse

from specgen.cli import arguments
from specgen.cli.terminal import Progress, print_json, print_text

EXAMPLES = (
    ("verify net.yaml", "takes a few seconds per spec"),
    ("verify specs --quiet", "prints only failed checks"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.specs(command)
    arguments.form(command)
    command.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        dest="only_failed",  # `main` would print nothing at all
        help="print only the specs that fail a check",
    )


def run(options: argparse.Namespace) -> int:
    """Print every comparison; fail if one does."""
    from specgen import build
    from specgen.verify import Check, as_data, table, verify

    specs, texts = arguments.given(options)
    programs = build.compile_all(specs, options.set, project=options.root, texts=texts)
    if options.strict or not options.only_failed:
        arguments.warn(options, programs.values())
    results: dict[str, list[Check]] = {}
    with Progress(quiet=options.only_failed) as progress:
        for spec, program in programs.items():

            def tell(check: Check, spec: object = spec) -> None:
                progress.say(f"{spec}: {'ok' if check.ok else 'FAILED'} {check.name}")

            progress.say(f"{spec}: loading PyTorch and ONNX Runtime")
            results[str(spec)] = verify(program, progress=tell)
    ok = all(check.ok for checks in results.values() for check in checks)
    shown = {
        spec: checks
        for spec, checks in results.items()
        if not options.only_failed or not all(check.ok for check in checks)
    }
    if options.format == "json":
        print_json({spec: as_data(checks) for spec, checks in shown.items()})
    else:
        layers = {
            str(spec): list(program.spec.layers) for spec, program in programs.items()
        }
        print_text(
            {spec: table(checks, layers[spec]) for spec, checks in shown.items()}
        )
    return 0 if ok else 1
