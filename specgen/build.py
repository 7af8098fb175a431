"""Build several specs at once: all of them, or none if one is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specgen import lock, runtime_files
from specgen.diagnostics import Diagnostic, SpecError
from specgen.names import RUNTIME

if TYPE_CHECKING:  # it takes too long for a build that has nothing to do
    from specgen.compiler import Program

SUFFIXES = (".yaml", ".yml")


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the spec files, each once; a folder stands for the specs in it.

    Raises:
        SpecError: a folder without specs, or two specs of one name.
    """
    problems: list[Diagnostic] = []
    specs: dict[Path, Path] = {}
    for path in paths:
        for spec in _specs(path, problems) if path.is_dir() else [path]:
            specs.setdefault(Path(spec).resolve(), spec)
    stems: dict[str, Path] = {}
    for spec in specs.values():
        first = stems.setdefault(spec.stem.casefold(), spec)  # as some disks do
        if first is not spec:
            message = f"{first} and {spec} would be built into one folder"
            cure = "rename one of them, or build them with another --output each"
            problems.append(Diagnostic("folder-taken", message, help=cure))
    if problems:
        raise SpecError(problems)
    return list(specs.values())


def compile_all(
    specs: Sequence[Path],
    root: Path,
    sets: Sequence[str],
    *,
    project: Path | None,
    onnx_devices: bool,
) -> dict[str, dict[str, bytes]]:
    """Compile the specs and return the files of each folder below `root`.

    What the specs extend lies in `project`; without one, in the nearest folder upward
    that is a project.

    Raises:
        SpecError: everything that is wrong with any of them.
    """
    from specgen.compiler import compile_file

    problems: dict[Diagnostic, None] = {}  # what is wrong with a base is said once
    programs: dict[Path, Program] = {}
    for spec in specs:
        try:
            programs[spec] = compile_file(spec, sets, project)
        except SpecError as error:
            problems |= dict.fromkeys(error.diagnostics)
    if problems:
        raise SpecError(problems)
    return outputs(programs, root, sets, onnx_devices=onnx_devices)


def outputs(
    programs: Mapping[Path, Program],
    root: Path,
    sets: Sequence[str],
    *,
    onnx_devices: bool,
) -> dict[str, dict[str, bytes]]:
    """Return the files of each folder below `root`, given the programs by their specs.

    The first is that of the run-time modules, which they share.
    """
    from specgen.compiler import render

    shared = runtime_files.read()
    shared[lock.NAME] = lock.dump_runtime(shared)
    runtime = lock.digest(lock.NAME, shared[lock.NAME])
    folders = {RUNTIME: shared}
    for spec, program in programs.items():
        files = render(program, onnx_devices=onnx_devices)
        files[lock.NAME] = lock.dump(
            spec,
            root,
            program.source.files,
            sets,
            files,
            runtime=runtime,
            onnx_devices=onnx_devices,
        )
        folders[program.stem] = files
    return folders


def stale(root: Path, folders: Mapping[str, Mapping[str, bytes]]) -> list[Path]:
    """Return the other folders of `root` that need another runtime than this one."""
    now = lock.digest(lock.NAME, folders[RUNTIME][lock.NAME])
    others = [path.parent for path in sorted(root.glob(f"*/{lock.NAME}"))]
    return [
        path
        for path in others
        if path.name not in folders and lock.load(path).runtimes - {now}
    ]


def _specs(folder: Path, problems: list[Diagnostic]) -> Iterator[Path]:
    """Yield the specs in a folder, not those of folders below it."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        message = f"cannot read {folder}: {error.strerror}"
        problems.append(Diagnostic("cannot-read", message))
        return
    found = [n for n in names if n.endswith(SUFFIXES) and not n.startswith(".")]
    yield from (folder / name for name in found)
    if not found:
        message = f"{folder} has no specs"
        cure = "a spec is a file with a name like alexnet.yaml"
        problems.append(Diagnostic("no-specs", message, help=cure))
