"""No field of a spec is without effect: another value is refused, or changes the code.

`make fuzz` tries all; SPECGEN_FIELDS is how many are tried, and 0 means all.
"""

from __future__ import annotations

import os
import random
from collections import Counter

from helpers import ROOT
from one_field import Change, changes

from specgen.backends import torch
from specgen.compiler import Program, compile_read, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.frontend.overlay import load
from specgen.source import Source

SPECS = sorted(ROOT.glob("specs/**/*.yaml"))
COUNT = int(os.environ.get("SPECGEN_FIELDS", "300"))
# A block needs it, but some uses leave out the layer that reads it.
NOT_ALWAYS_READ = {("efficientnet_b0", "number")}


def test_every_field_counts() -> None:
    sources = {path.stem: load(path) for path in SPECS}
    every = [(stem, change) for stem in sources for change in changes(sources[stem])]
    tried = every
    if 0 < COUNT < len(every):
        tried = random.Random(0).sample(every, COUNT)
    before: dict[str, tuple[Program, dict[str, str]]] = {}
    found: Counter[str] = Counter()
    inert, lost = [], []
    for stem, change in tried:
        source = sources[stem]
        if stem not in before:
            program = compile_read(source, stem)
            before[stem] = program, code(program)
        old, text = before[stem]
        try:
            new = compile_read(change.apply(source), stem)
        except SpecError as error:
            found["refused"] += 1
            if not any(
                beside(problem, change, source) for problem in error.diagnostics
            ):
                lost.append((stem, change, error.diagnostics))
            continue
        found["changes the code"] += 1
        if (stem, change.path[-1]) in NOT_ALWAYS_READ:
            continue
        if code(new) == text and render(new) == render(old):
            inert.append((stem, change))
    print(f"tried {len(tried)} of {len(every)} changes: {dict(found)}")
    assert inert == []
    assert lost == []
    assert min(found.values()) > len(tried) // 10


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
