"""Specs from git: `REV:path`, with the bases of the same revision.

The files are written into a temporary folder, in their places, and compiled there;
messages name them as git does. Nothing in the work tree is touched.
"""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from specgen import lock
from specgen.compiler import Program, Unfinished, compile_read
from specgen.diagnostics import (
    Diagnostic,
    Span,
    SpecError,
    in_order,
    printable,
    short,
)
from specgen.frontend.overlay import change, read, read_options
from specgen.source import MAX_BYTES, Source, parse

LONGEST_CHAIN = 100  # of bases; the compiler reports cycles


@dataclass(frozen=True, slots=True)
class StandardInput:
    """What `-` stands for: the text of a spec that need not be saved, and its file."""

    file: Path
    text: bytes


def compile_all(
    specs: Iterable[tuple[str, Sequence[str]]],
    root: Path | None = None,
    stdin: StandardInput | None = None,
) -> list[Program]:
    """Compile specs, each with its `--set` options; see `compile_at`.

    Raises:
        SpecError: everything that is wrong with any of them; what several share, once.
    """
    programs, problems = compile_any(specs, root, stdin)
    if problems:
        raise SpecError(problems)
    return programs


def compile_any(
    specs: Iterable[tuple[str, Sequence[str]]],
    root: Path | None = None,
    stdin: StandardInput | None = None,
) -> tuple[list[Program], list[Diagnostic]]:
    """Compile specs as `compile_all` does, also those that only are over their budgets.

    Return them, along with these errors.

    Raises:
        SpecError: everything that is wrong with any of them, if one cannot be compiled.
    """
    programs: list[Program] = []
    problems: dict[Diagnostic, None] = {}
    wrong = False
    for spec, sets in specs:
        try:
            programs.append(compile_at(spec, sets, root, stdin))
        except SpecError as error:
            problems |= dict.fromkeys(error.diagnostics)
            if isinstance(error, Unfinished) and error.too_large:
                programs.append(error.too_large)
            else:
                wrong = True
    if wrong:
        raise SpecError(problems)
    return programs, list(problems)


def compile_at(
    spec: str,
    sets: Sequence[str] = (),
    root: Path | None = None,
    stdin: StandardInput | None = None,
) -> Program:
    """Compile a file, or `REV:path` as in `git show`, with `--set` options.

    What a file extends is in `root`, what a REV extends in its repository. If there is
    a file with the whole name, colon included, it is that file. Without a REV, `:path`
    is in the index; `REV:./path` is relative to the current folder, `REV:path` to the
    top. `-` is `stdin`, if that is given.

    Raises:
        SpecError: everything that is wrong with it, or that git cannot read it.
    """
    try:
        source, stem = read_at(spec, root, stdin)
    except SpecError as error:
        _, problems = read_options(sets)
        raise SpecError(in_order([*error.diagnostics, *problems])) from None
    return compile_read(change(source, sets), stem)


def read_at(
    spec: str, root: Path | None = None, stdin: StandardInput | None = None
) -> tuple[Source, str]:
    """Read a spec as `compile_at` does; return it with the stem of its file.

    Raises:
        SpecError: it, or a base of it, cannot be read.
    """
    if spec == "-" and stdin:
        return read(stdin.file, root, stdin.text), stdin.file.stem
    if ":" not in spec or os.path.lexists(spec):
        return read(Path(spec), root), Path(spec).stem
    revision, _, path = spec.partition(":")
    if spec.startswith("-") or not spec.isprintable():  # an option, or two names
        raise _unreadable(spec, "git cannot have such a name")
    if path.startswith(("./", "../")):
        path = _git("rev-parse", "--show-prefix").decode().strip() + path
    path = posixpath.normpath(path)
    if _outside(path):
        raise _unreadable(spec, "it is outside the repository")
    with TemporaryDirectory(prefix="specgen-") as folder:
        top = Path(folder).resolve()
        try:
            _check_out(revision, path, top)
            source = read(top / path, top)
        except SpecError as error:
            raise SpecError(
                _renamed(diagnostic, top, revision) for diagnostic in error.diagnostics
            ) from None
        return _renamed_source(source, top, revision), Path(path).stem


def built_from(spec: Path, folder: Path) -> str | None:
    """Return, as `REV:path`, the committed spec that a folder was built from.

    A lock file has only hashes. So the spec and its bases are looked for where they are
    most likely: in HEAD, and in the last commit of the lock file. None: they are in
    neither, or this is not a repository.
    """
    known = lock.load(folder).sources
    if spec.name not in known:
        return None
    with suppress(SpecError, ValueError):  # ValueError: on another drive
        here = Path(os.path.relpath(spec)).as_posix()
        top = _git("rev-parse", "--show-prefix").decode().strip()
        path = posixpath.normpath(top + here)
        last = _git("log", "-1", "--format=%h", "--", str(folder / lock.NAME))
        for revision in ("HEAD", last.decode().strip()):
            if revision and _has(revision, posixpath.dirname(path), known):
                return f"{revision}:{path}"
    return None


def _has(revision: str, folder: str, known: Mapping[str, Collection[str]]) -> bool:
    """Tell whether all files have a known hash in a revision."""
    for name, hashes in known.items():
        path = posixpath.normpath(posixpath.join(folder, name))
        with suppress(SpecError):
            content = _git("cat-file", "blob", f"{revision}:{path}")
            if lock.digest(name, content) in hashes:
                continue
        return False
    return True


def _check_out(revision: str, path: str, root: Path) -> None:
    """Write a spec and all its bases, as they are in a revision, below a folder.

    The compiler reports what is wrong with a base or its place.
    """
    content = _git("cat-file", "blob", f"{revision}:{path}")
    for _ in range(LONGEST_CHAIN):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[: MAX_BYTES + 1])
        with suppress(SpecError):
            base = parse(content, path).data.get("extends")
            if not isinstance(base, str) or "\0" in base:
                return
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), base))
            if not _outside(path) and not (root / path).exists():
                content = _git("cat-file", "blob", f"{revision}:{path}")
                continue
        return


def _outside(path: str) -> bool:
    return path == ".." or path.startswith(("../", "/"))


def _git(*arguments: str) -> bytes:
    name = arguments[-1]
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError as error:
        raise _unreadable(name, f"cannot run git: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise _unreadable(name, said[-1].removeprefix("fatal: ") if said else "unknown")
    return done.stdout


def _unreadable(name: str, reason: str) -> SpecError:
    message = f"cannot read {short(printable(name))}: {printable(reason)}"
    return SpecError([Diagnostic("cannot-read", message)])


def _name(text: str, root: Path, revision: str) -> str:
    return text.replace(f"{root}/", f"{revision}:").replace(str(root), f"{revision}:")


def _renamed(diagnostic: Diagnostic, root: Path, revision: str) -> Diagnostic:
    span = diagnostic.span
    return replace(
        diagnostic,
        message=_name(diagnostic.message, root, revision),
        span=span and span._replace(file=_name(span.file, root, revision)),
    )


def _renamed_source(source: Source, root: Path, revision: str) -> Source:
    def named(span: Span) -> Span:
        return span._replace(file=_name(span.file, root, revision))

    return replace(
        source,
        keys={path: named(span) for path, span in source.keys.items()},
        values={path: named(span) for path, span in source.values.items()},
        files={
            Path(_name(str(path), root, revision)): content
            for path, content in source.files.items()
        },
        problems=tuple(
            _renamed(problem, root, revision) for problem in source.problems
        ),
    )
