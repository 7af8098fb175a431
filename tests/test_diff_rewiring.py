"""Any edit of what layers read, their order, names, groups and devices."""

from __future__ import annotations

from graphs import graphs
from helpers import compile_data
from hypothesis import given, settings
from hypothesis import strategies as st
from nested import nested
from rewiring import edited
from strategies import Data

from specgen.compiler import Program, render
from specgen.diagnostics import SpecError
from specgen.diff import Tier, compare
from specgen.diff.difference import Change
from specgen.diff.markdown import markdown
from specgen.diff.text import summary, text
from specgen.graph import INPUT


def network(program: Program) -> tuple[bytes, bytes]:
    files = render(program)
    return files["model.py"], files["model.onnx"]


def function(program: Program, names: Data, numbers: dict[str, int]) -> int:
    """Return a number for what a network computes, found without specgen.diff."""
    graph = program.graph
    found = {INPUT: numbers.setdefault(repr(graph.input_shape), len(numbers))}
    for node in graph.nodes:
        reads = [found[name] for name in node.inputs]
        fields = node.op.model_dump(exclude={"init"})
        if fields["op"] == "dropout":
            found[node.name] = reads[0]
            continue
        if fields["op"] in ("add", "multiply"):
            reads.sort()
        tensors = [names.get(tensor, tensor) for tensor in node.tensors]
        term = repr((fields, reads, tensors))
        found[node.name] = numbers.setdefault(term, len(numbers))
    return found[graph.nodes[-1].name]


def compiled(data: Data) -> Program | None:
    try:
        return compile_data(data)
    except SpecError:
        return None


@settings(max_examples=100)
@given(graphs() | nested(), st.data())
def test_any_rewiring_of_any_network(data: Data, draw: st.DataObject) -> None:
    old, new = compile_data(data), None
    for _ in range(draw.draw(st.integers(1, 2))):
        data = draw.draw(edited(data))
        new = compiled(data)
        if new is None:
            return
    assert new
    found, back = compare(old, new), compare(new, old)
    assert found.tier == back.tier
    assert max((c.tier for c in found.changes), default=Tier.SAME) == found.tier
    if not found.changes:
        assert network(old) == network(new)
    for shown in (text(found), markdown(found), summary(found)):
        assert shown.endswith("no differences") == (not found.changes)
    tensors = found.checkpoint
    if tensors.missing or tensors.unexpected or tensors.reshaped:
        assert found.tier >= Tier.CHECKPOINT
        return
    numbers: dict[str, int] = {}
    same = function(old, {**tensors.renamed}, numbers) == function(new, {}, numbers)
    reaches = {c.tier for c in found.changes if not is_rename(c)}
    assert (max(reaches, default=Tier.SAME) < Tier.FUNCTION) == same


def is_rename(change: Change) -> bool:
    return f"layers.{change.before}" == change.path
