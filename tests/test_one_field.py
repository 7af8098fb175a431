"""No field of a spec is without effect: another value is refused, or changes the code.

`make fuzz` tries all; SPECGEN_FIELDS is how many are tried, and 0 means all.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from functools import cached_property

from helpers import ROOT
from one_field import Change, changes

from specgen.backends import torch
from specgen.compiler import Program, compile_read, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.frontend.overlay import load
from specgen.source import Source

SPECS = sorted(ROOT.glob("specs/**/*.yaml"))
COUNT = int(os.environ.get("SPECGEN_FIELDS", "300"))


def test_every_field_counts() -> None:
    sources = {path.stem: load(path) for path in SPECS}
    every = [(stem, change) for stem in sources for change in changes(sources[stem])]
    tried = every
    if 0 < COUNT < len(every):
        tried = random.Random(0).sample(every, COUNT)
    judges = {stem: Judge(stem, source) for stem, source in sources.items()}
    found: Counter[str] = Counter()
    inert, lost = [], []
    for stem, change in tried:
        judge = judges[stem]
        try:
            counts = judge.counts(change)
        except SpecError as error:
            found["refused"] += 1
            if not any(
                beside(problem, change, judge.source) for problem in error.diagnostics
            ):
                lost.append((stem, change, error.diagnostics))
            continue
        found["changes the code" if counts else "counts elsewhere"] += 1
        if not counts and not judge.counts_elsewhere(change):
            inert.append((stem, change))
    print(f"tried {len(tried)} of {len(every)} changes: {dict(found)}")
    assert inert == []
    assert lost == []
    assert min(found["refused"], found["changes the code"]) > len(tried) // 10


class Judge:
    """Compares what changes of a spec generate with what it generates as it is."""

    def __init__(self, stem: str, source: Source) -> None:
        self.stem, self.source = stem, source

    @cached_property
    def before(self) -> tuple[Program, dict[str, str]]:
        program = compile_read(self.source, self.stem)
        return program, code(program)

    def counts(self, change: Change) -> bool:
        """Whether a change changes what is generated."""
        old, text = self.before
        new = compile_read(change.apply(self.source), self.stem)
        return code(new) != text or render(new) != render(old)

    def counts_elsewhere(self, change: Change) -> bool:
        """Whether another use of the block gives the same param, and that counts.

        A block can demand a value of every use, and leave out what reads it in some.
        """
        param = demanded(change, self.source)
        return param is not None and any(
            self.counts(other)
            for other in changes(self.source)
            if other.path != change.path and demanded(other, self.source) == param
        )


def demanded(change: Change, source: Source) -> tuple[str, str] | None:
    """The block and the param that a use gives, if the block has no default for it."""
    *path, section, param = "", *change.path
    if section not in ("with", "first"):
        return None
    use = source.data
    for key in path[1:]:
        use = use[key]
    block = use["block"]
    needed = source.data["blocks"][block]["params"][param] is None
    return (block, str(param)) if needed else None


def beside(problem: Diagnostic, change: Change, source: Source) -> bool:
    """Whether an error is where the change is, or where its consequences are.

    These come later, or in a block that is used later. What nothing reads any more, and
    so has no effect, comes before.
    """
    here, at = problem.span, change.path
    while at not in source.values and at not in source.keys:  # it is not written
        at = at[:-1]
    there = source.values.get(at) or source.keys[at]
    assert here, problem
    if here.file != there.file or here.line >= there.line:
        return True
    return problem.code == "no-effect" or bool(problem.notes)


def code(program: Program) -> dict[str, str]:
    """What is generated for torch; the rest takes longer."""
    parts = program.spec, program.source, program.variant, program.placed
    return torch.render(*parts)
