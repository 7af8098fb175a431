"""What each variant of some specs costs, or why there is no such network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from specgen.compiler import Program, compile_read
from specgen.diagnostics import Diagnostic, SpecError
from specgen.diff.revision import StandardInput, read_at
from specgen.frontend.overlay import change, read_options
from specgen.names import variant_name
from specgen.passes.receptive_field import LastMap, last_map
from specgen.plan import Plan, make_plan
from specgen.source import Source
from specgen.spec import Spec
from specgen.variants.sweep import combinations, read_sweeps, value_of


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a variant that compiles.

    Attributes:
        program: the compiled network.
        plan: what it costs.
        last: its last map.
        is_spec: whether everything that it sets has the same value as in the spec.
    """

    program: Program
    plan: Plan
    last: LastMap
    is_spec: bool

    @property
    def traffic(self) -> int:
        """Bytes that cross between devices, per image, forward."""
        return sum(edge.bytes_per_image for edge in self.plan.traffic)


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant.

    Attributes:
        spec: what was read, as it was given.
        stem: that of its file.
        name: of its folder and of its runs; if several specs have the same file name,
            the spec and the options.
        options: what it sets, in the words of `--set`.
        changes: the same, values by their paths.
        swept: the values that the sweeps give it, by their paths, as they were written.
        sound: what is known of it, or None.
        problems: why it is refused.
    """

    spec: str
    stem: str
    name: str
    options: tuple[str, ...]
    changes: Mapping[str, Any]
    swept: Mapping[str, str]
    sound: Sound | None
    problems: tuple[Diagnostic, ...]

    @property
    def reasons(self) -> list[str]:
        """What is wrong with it: a sentence for each problem, which names its place."""
        return [_sentence(problem) for problem in self.problems]

    def as_json(self) -> dict[str, Any]:
        """Return it as data for JSON; what is not known is null."""
        plan = self.sound and self.sound.plan
        return {
            "name": self.name,
            "changes": dict(self.changes),
            "parameters": plan.parameters if plan else None,
            "macs": plan.macs if plan else None,
            "devices": [asdict(device) for device in plan.devices] if plan else [],
            "traffic_bytes_per_image": self.sound.traffic if self.sound else None,
            "error": "; ".join(self.reasons) or None,
        }


def compare(
    specs: Sequence[str],
    sets: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    *,
    root: Path | None = None,
    stdin: StandardInput | None = None,
    images: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Variant]:
    """Compile every variant: each spec with each combination of the sweeps' values.

    Args:
        specs: files, or `REV:path` of git; each is read once.
        sets: `--set` options for all variants.
        sweeps: `PATH=V1,V2`, in the words of `--sweep`.
        root: the folder that contains the specs and everything they extend.
        stdin: what the spec `-` is.
        images: at once, that memory is planned for, and budgets judged by; by default
            those of the recipe.
        progress: is called with the number of variants done, and their total.

    Raises:
        SpecError: an option, a sweep or a file cannot be read, or there are too many
            variants.
    """
    specs = list(dict.fromkeys(specs))
    sources, unread = _read(specs, root, stdin)
    swept, wrong = read_sweeps(sweeps)
    options, bad = read_options(sets)
    # What is wrong with a base of several specs is reported once.
    if problems := dict.fromkeys([*unread, *wrong, *bad]):
        raise SpecError(problems)
    choices = combinations(swept, len(specs))
    paths = [text.partition("=")[0] for text in sets]
    common = {p: value_of(o, p) for p, o in zip(paths, options, strict=True)}
    stems = Counter(stem.casefold() for _, stem in sources)
    variants: list[Variant] = []
    for spec, (source, stem) in zip(specs, sources, strict=True):
        base = _compile(source, stem, images)
        for values in choices:
            given = {s.path: value for s, value in zip(swept, values, strict=True)}
            texts = {path: value.text for path, value in given.items()}
            every = (*sets, *(f"{path}={text}" for path, text in texts.items()))
            alone = stems[stem.casefold()] == 1
            found = _compile(change(source, every), stem, images) if every else base
            variant = Variant(
                spec,
                stem,
                variant_name(stem, every) if alone else " ".join((spec, *every)),
                every,
                common | {path: value.data for path, value in given.items()},
                texts,
                _sound(found, base, images) if isinstance(found, Program) else None,
                () if isinstance(found, Program) else found.diagnostics,
            )
            variants.append(variant)
            progress(len(variants), len(specs) * len(choices))
    return variants


def _read(
    specs: Sequence[str], root: Path | None, stdin: StandardInput | None
) -> tuple[list[tuple[Source, str]], list[Diagnostic]]:
    """Read specs; return each with the stem of its file, and what cannot be read."""
    sources: list[tuple[Source, str]] = []
    problems: list[Diagnostic] = []
    for spec in specs:
        try:
            sources.append(read_at(spec, root, stdin))
        except SpecError as error:
            problems += error.diagnostics
    return sources, problems


def _compile(source: Source, stem: str, images: int | None) -> Program | SpecError:
    try:
        return compile_read(source, stem, images)
    except SpecError as error:
        return error


def _sentence(problem: Diagnostic) -> str:
    """Return the message, after its path unless it already names part of that."""
    path = [str(part) for part in problem.path or ()]
    if re.match(r"[\w.]+: ", problem.message):  # a layer
        return problem.message
    if set(re.findall(r"\w+", problem.message)) & set(path[1:]):
        return problem.message
    return ": ".join(filter(None, (".".join(path), problem.message)))


def _sound(program: Program, base: Program | SpecError, images: int | None) -> Sound:
    plan = make_plan(program.spec, program.placed, images)
    is_spec = isinstance(base, Program) and _same(program, base)
    return Sound(program, plan, last_map(program.graph), is_spec)


def _same(one: Program, other: Program) -> bool:
    """Tell whether two specs say the same, except for the texts about them."""
    fields = Spec.model_fields.keys() - {"layers", "summary", "reference"}
    layers = [
        [(node.name, node.op, node.inputs) for node in program.graph.nodes]
        for program in (one, other)
    ]
    return layers[0] == layers[1] and all(
        getattr(one.spec, field) == getattr(other.spec, field) for field in fields
    )
