"""`specgen new`: write a spec to start from."""

from __future__ import annotations

import argparse
import os
import shlex
import textwrap
from functools import partial
from pathlib import Path

from specgen.cli import arguments
from specgen.diagnostics import nearest_help, printable

EXAMPLES = (
    ("new net.yaml --data photos", "for photos/train/<class>/"),
    ("new net.yaml --classes 5 --size 64", "if there are no images yet"),
    ("new mine.yaml --from alexnet_mini", "a copy of specgen's own spec"),
    ("new wide.yaml --from net.yaml", "an overlay with changes only"),
    ("new --list", "list specs to copy"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.set_defaults(fail=command.error)
    command.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="a new file, like net.yaml"
    )
    command.add_argument(
        "--from",
        dest="base",
        metavar="SPEC",
        help="copy a spec that comes with specgen, or start an overlay of a file",
    )
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="take the classes, the channels and, unless given, the size"
        " from the images in DIR/train/<class>/",
    )
    command.add_argument(
        "--classes",
        type=partial(_count, least=2),
        metavar="N",
        help="number of classes (default: 10)",
    )
    command.add_argument(
        "--size",
        type=partial(_count, least=1),
        metavar="S",
        help="height and width of the input in pixels (default: 96)",
    )
    command.add_argument(
        "--list", action="store_true", help="list the specs that come with specgen"
    )
    arguments.root(command)
    arguments.quiet(command)


def run(options: argparse.Namespace) -> int:
    """Write the spec, and print the next steps."""
    from specgen import new
    from specgen.build import SUFFIXES, taken

    if options.list:
        found = new.summaries()
        width = max(map(len, found)) + 2
        for name, summary in found.items():
            line = f"{name:{width}}{printable(summary)}"
            print(textwrap.fill(line, 80, subsequent_indent=" " * width))
        return 0
    path: Path | None = options.file
    if path is None:
        options.fail("give the FILE to write, or --list")
    assert path
    if str(path) == arguments.DASH:
        options.fail("a spec is a file like net.yaml: it cannot be written to -")
    if path.suffix not in SUFFIXES:
        stem = "net" if path.stem.startswith(".") else path.stem or "net"
        options.fail(f"a spec is a file like {stem}.yaml, not {path}")
    wanted = new.Wanted(options.classes, options.size)
    base: str | None = options.base
    if options.data:  # a base has its own sizes
        wanted = new.look_at(options.data, wanted, sizes=base is None)
    shipped = new.shipped()
    if base is None:
        text = new.blank(path.stem, wanted)
    elif base in shipped:
        text = new.copied(shipped[base], wanted)
    elif Path(base).is_file():
        name = Path(os.path.relpath(base, path.parent)).as_posix()
        text = new.overlay(Path(base), name, wanted, options.root)
    else:
        near = nearest_help(base, shipped) or f"choose from {', '.join(shipped)}"
        options.fail(f"there is no spec {base!r}, and no such file; {near}")
    program = new.write(path, text, options.root)

    (classes,) = program.graph.nodes[-1].shape
    channels, height, width = program.graph.input_shape
    pixels = "gray pixels" if channels == 1 else "pixels"
    print(f"wrote {path}: {classes} classes, reads {height} x {width} {pixels}")
    print("\nNext:")
    name = shlex.quote(str(path))
    if options.root:
        name += f" --root {shlex.quote(str(options.root))}"
    print(f"  specgen show {name}")
    output, folder = "", Path("generated") / path.stem
    if list(taken({folder: path})):  # by a spec of the same name somewhere else
        folder = Path("generated2") / path.stem
        output = f" --output {folder.parent}"
    print(f"  specgen build {name}{output}")
    data = shlex.quote(str(options.data)) if options.data else "DIR"
    print(f"  python {folder}/train.py --data {data}")
    return 0


def _count(text: str, least: int) -> int:
    if text.isdecimal() and len(text) < 8 and int(text) >= least:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:30]!r} is not a whole number of at least {least}"
    )
