"""Runs a schedule on names: whether each variable holds what is read from it."""

from __future__ import annotations

from collections.abc import Iterator

from specgen.graph import INPUT, PlacedGraph, Share
from specgen.passes.routine import Apply, Fetch, Pad, Routine, Run
from specgen.passes.schedule import schedule


def check_variables(placed: PlacedGraph) -> None:
    """Every variable that is read holds the value that is meant."""
    routine = schedule(placed)
    returned = _replay(routine, {"x": INPUT})
    last = placed.layers[-1].shares[0]
    logits = last.inputs[0] if last.op.after_logits else last.name
    assert returned == [logits]
    applied = [s.name for s in _shares(routine) if not s.op.after_logits]
    shares = [s.name for s in placed.shares() if not s.op.after_logits]
    assert applied == shares


def _shares(routine: Routine) -> Iterator[Share]:
    for step in routine.steps:
        match step:
            case Apply():
                for layer in step.layers:
                    yield from layer.shares
            case Run():
                yield from _shares(step.routine)


def _replay(routine: Routine, holds: dict[str, str]) -> list[str]:
    """Return the values of a routine's results."""
    assert holds == dict(routine.arguments)
    for step in routine.steps:
        match step:
            case Fetch():
                sources = {m.name: [p.value for p in m.pieces] for m in step.moves}
                for row in step.rows:
                    targets = [variable for variable, _ in row]
                    assert len({*targets}) == len(targets)
                    for _, value in row:
                        for each in sources.get(value, [value]):
                            assert holds[step.held[each]] == each
                    holds |= dict(row)
            case Pad():
                shares = step.layer.shares
                for share, operand in zip(shares, step.operands, strict=True):
                    assert holds[operand] == share.inputs[0]
                padded = (f"{share.inputs[0]}, padded" for share in shares)
                holds |= dict(zip(step.variables, padded, strict=True))
            case Apply():
                first, *others = step.layers
                for share, operands in zip(first.shares, step.operands, strict=True):
                    found = [holds[operand] for operand in operands]
                    pad = share.op.torch(*share.input_shapes).pad
                    assert found == [n + ", padded" * bool(pad) for n in share.inputs]
                made = [share.name for share in first.shares]
                for layer in others:
                    assert [*layer.shares[0].inputs] == made[:1]
                    made = [share.name for share in layer.shares]
                assert len({*step.variables}) == len(step.variables)
                holds |= dict(zip(step.variables, made, strict=True))
            case Run():
                arguments = [variable for variable, _ in step.routine.arguments]
                given = [holds[variable] for variable in step.operands]
                inner = dict(zip(arguments, given, strict=True))
                results = _replay(step.routine, inner)
                holds |= dict(zip(step.variables, results, strict=True))
    for variable, value in routine.results:
        assert holds[variable] == value
    return [value for _, value in routine.results]
