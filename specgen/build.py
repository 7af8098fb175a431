"""Build several specs at once: all of them, or none if any is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from specgen import cache, lock, runtime_files
from specgen.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:  # importing it takes too long for a build that has nothing to do
    from specgen.compiler import Program

SUFFIXES = (".yaml", ".yml")


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the spec files as `expand` does, each for a folder of its own.

    Raises:
        SpecError: a folder without specs, or two specs with the same name.
    """
    problems: list[Diagnostic] = []
    stems: dict[str, Path] = {}
    specs = expand(paths)
    for spec in specs:
        first = stems.setdefault(spec.stem.casefold(), spec)  # some disks ignore case
        if first is not spec:
            message = f"{first} and {spec} would go into the same folder"
            cure = "rename one of them, or give each its own --output"
            problems.append(Diagnostic("folder-taken", message, help=cure))
    if problems:
        raise SpecError(problems)
    return specs


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the spec files, each once; a folder means the specs in it.

    Raises:
        SpecError: a folder without specs.
    """
    problems: list[Diagnostic] = []
    specs: dict[Path, Path] = {}
    for path in paths:
        for spec in _specs(path, problems) if path.is_dir() else [path]:
            # Unlike `resolve`, this survives a link that leads to itself.
            specs.setdefault(Path(os.path.realpath(spec)), spec)
    if problems:
        raise SpecError(problems)
    return list(specs.values())


def compile_all(
    specs: Sequence[Path],
    sets: Sequence[str],
    *,
    root: Path | None = None,
    project: Path | None = None,
    texts: Mapping[Path, bytes] | None = None,
    force: bool = False,
) -> dict[Path, Program]:
    """Compile the specs, which are to be built into folders below `root`, if given.

    What the specs extend is in `project`, by default the nearest parent folder that is
    a project. `texts` has the content of specs that are not to be read.

    Raises:
        SpecError: everything wrong with any of them; also, unless `force`, a
            folder that belongs to another spec.
    """
    from specgen.compiler import compile_file

    # An error in a base that several specs share is reported once.
    taken = _taken(specs, root) if root and not force else ()
    problems = dict.fromkeys(taken)
    programs: dict[Path, Program] = {}
    for spec in specs:
        try:
            programs[spec] = compile_file(spec, sets, project, (texts or {}).get(spec))
        except SpecError as error:
            problems |= dict.fromkeys(error.diagnostics)
    if problems:
        raise SpecError(problems)
    return programs


def outputs(
    programs: Mapping[Path, Program],
    sets: Sequence[str],
    *,
    onnx_devices: bool,
) -> dict[str, dict[str, bytes]]:
    """Return the files of each folder below `root`, given the programs by their specs.

    The first is that of the run-time modules, which they share.
    """
    folders, runtime = _shared()
    for spec, program in programs.items():
        folders[program.stem] = _files(
            spec, program, sets, runtime, onnx_devices=onnx_devices
        )
    return folders


def variants(
    programs: Sequence[Program], root: Path, *, force: bool = False
) -> dict[str, dict[str, bytes]]:
    """Return the files of variants as `outputs` does, each in a folder of its own.

    It has the name of the folder of its runs, after its spec and its options.

    Raises:
        SpecError: two of them would go into the same folder; also, unless `force`, a
            folder that belongs to another spec.
    """
    problems: list[Diagnostic] = []
    own: dict[str, tuple[Path, Program]] = {}
    for program in programs:
        spec = list(program.source.files)[-1]  # bases come first
        first, _ = own.setdefault(program.variant.casefold(), (spec, program))
        if own[program.variant.casefold()][1] is not program:
            message = (
                f"{first} and {spec} would go into the same folder, {program.variant}"
            )
            cure = "rename one of them, or build them into separate folders"
            problems.append(Diagnostic("folder-taken", message, help=cure))
    if not force:
        problems += taken({root / p.variant: spec for spec, p in own.values()})
    if problems:
        raise SpecError(problems)
    folders, runtime = _shared()
    for spec, program in own.values():
        sets = program.source.options
        folders[program.variant] = _files(spec, program, sets, runtime)
    return folders


def _shared() -> tuple[dict[str, dict[str, bytes]], str]:
    """Return the folder that all networks share, and the digest of its lock file."""
    files = runtime_files.read()
    files[lock.NAME] = lock.dump_runtime(files)
    return {lock.RUNTIME: files}, lock.digest(lock.NAME, files[lock.NAME])


def _files(
    spec: Path,
    program: Program,
    sets: Sequence[str],
    runtime: str,
    *,
    onnx_devices: bool = False,
) -> dict[str, bytes]:
    """Return the files of a network's folder."""
    from specgen.compiler import render

    files = render(program, onnx_devices=onnx_devices)
    files[lock.NAME] = lock.dump(
        spec,
        program.source.files,
        sets,
        files,
        runtime=runtime,
        onnx_devices=onnx_devices,
    )
    return files


def stale(root: Path, folders: Mapping[str, Mapping[str, bytes]]) -> list[Path]:
    """Return the other folders of `root` that need another runtime than this one."""
    now = lock.digest(lock.NAME, folders[lock.RUNTIME][lock.NAME])
    others = [path.parent for path in sorted(root.glob(f"*/{lock.NAME}"))]
    return [
        path
        for path in others
        if path.name not in folders and lock.load(path).runtimes - {now}
    ]


def _taken(specs: Sequence[Path], root: Path) -> Iterator[Diagnostic]:
    return taken({root / spec.stem: spec for spec in specs})


def taken(folders: Mapping[Path, Path]) -> Iterator[Diagnostic]:
    """Report folders, each given with its spec, of other specs that still exist."""
    for folder, spec in folders.items():
        other = cache.built_from(folder) or _recorded(folder, spec)
        if other and other.is_file() and spec.is_file() and not other.samefile(spec):
            if other.is_relative_to(here := Path.cwd()):
                other = other.relative_to(here)
            message = f"{folder} belongs to another spec, {other}"
            cure = "rename one of the two specs or give another --output"
            help = f"{cure}; --force replaces what is there"
            yield Diagnostic("folder-taken", message, help=help)


def _recorded(folder: Path, spec: Path) -> Path | None:
    """Return a spec near the output with the same bytes as the one that was built.

    A lock file is the same wherever it is built, so it cannot say where the spec is.
    """
    known = lock.load(folder).sources.get(spec.name)
    if not known:
        return None
    project = folder.absolute().parent.parent
    with suppress(OSError):
        for place in [spec.parent, project, *sorted(project.iterdir())]:
            path = place / spec.name
            if path.is_file() and lock.digest(path.name, path.read_bytes()) in known:
                return path
    return None


def _specs(folder: Path, problems: list[Diagnostic]) -> Iterator[Path]:
    """Yield the specs in a folder, not those in its subfolders."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        message = f"cannot read {folder}: {error.strerror}"
        problems.append(Diagnostic("cannot-read", message))
        return
    found = [n for n in names if n.endswith(SUFFIXES) and not n.startswith(".")]
    for path in (folder / name for name in found):
        if path.exists() and not path.is_file():  # reading a pipe would wait
            message = f"{path} is not a file"
            problems.append(Diagnostic("cannot-read", message))
        else:
            yield path
    if not found:
        message = f"there are no specs in {folder}"
        cure = "a spec is a YAML file, such as alexnet.yaml"
        problems.append(Diagnostic("no-specs", message, help=cure))
