"""Any nesting of groups, lists, blocks and repeats, against the same in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helpers import compile_data
from hypothesis import given, settings
from hypothesis import strategies as st

Data = dict[str, Any]

RELU: Data = {"op": "relu"}
END: Data = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 10}}
SPEC: Data = {
    "specgen": 1,
    "name": "Net",
    "input": {"channels": 3, "height": 2, "width": 2},
    "data": {"size": 3},
}


def entries() -> st.SearchStrategy[Data]:
    """Draw an entry: a layer, or a group of entries, perhaps several times, or not."""

    def group(inner: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
        names = st.sampled_from(["a", "b", "c"])
        mappings = st.dictionaries(names, inner, min_size=1, max_size=3)
        lists = st.lists(inner, min_size=1, max_size=3)
        return st.fixed_dictionaries({"layers": mappings | lists}).flatmap(wired)

    return st.recursive(st.just(RELU).flatmap(wired), group, max_leaves=8)


def wired(body: Data) -> st.SearchStrategy[Data]:
    """Draw how often an entry is there."""
    more = {
        "when": st.sampled_from([True, False, "$(on > 0)", "$(on > 1)"]),
        "repeat": st.sampled_from([1, 2, 3, "$(on + 1)"]),
    }
    return st.fixed_dictionaries({}, optional=more).map(lambda keys: {**body, **keys})


def names(entry: Data, path: str) -> Iterator[str]:
    """Yield the layers of one instance of an entry."""
    if "op" in entry:
        yield path
    elif isinstance(entry["layers"], dict):
        for name, inner in entry["layers"].items():
            for instance in instances(inner, f"{path}.{name}"):
                yield from names(inner, instance)
    else:
        number = 0
        for inner in entry["layers"]:
            for _ in range(times(inner)):
                yield from names(inner, f"{path}.{number}")
                number += 1


def times(entry: Data) -> int:
    if entry.get("when", True) in (False, "$(on > 1)"):
        return 0
    repeat = entry.get("repeat", 1)
    return 2 if repeat == "$(on + 1)" else repeat


def instances(entry: Data, path: str) -> list[str]:
    """Return the paths of the instances of an entry with a name."""
    if "repeat" not in entry:
        return [path] * times(entry)
    return [f"{path}.{index}" for index in range(times(entry))]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), entries(), max_size=3))
def test_names_are_as_expected(layers: Data) -> None:
    use = {"op": "relu", "when": "$(on == 1)"}  # so that the param has an effect
    program = compile_data(
        {**SPEC, "params": {"on": 1}, "layers": {**layers, "use": use, **END}}
    )
    expected = [
        name
        for key, entry in layers.items()
        for path in instances(entry, key)
        for name in names(entry, path)
    ]
    graph = program.graph
    assert [node.name for node in graph.nodes] == [*expected, "use", "flat", "fc"]
    values = ["input", *(node.name for node in graph.nodes)]
    assert [node.inputs for node in graph.nodes] == [(name,) for name in values[:-1]]
    prefixes = {
        name[:end] for name in expected for end in range(len(name)) if name[end] == "."
    }
    assert {scope.path for scope in graph.scopes} == prefixes
    for scope in graph.scopes:
        inside = [name for name in expected if name.startswith(f"{scope.path}.")]
        assert scope.output == inside[-1]
        assert scope.inputs == (values[values.index(inside[0]) - 1],)


@settings(max_examples=40, deadline=None)
@given(entries())
def test_a_block_is_what_a_group_would_be(entry: Data) -> None:
    block = {"layers": {"one": RELU, "inner": entry}}
    as_group = {**SPEC, "params": {"on": 1}, "layers": {"x": block}}
    use = {"u": {"op": "relu", "repeat": "$on"}}
    as_group["layers"] |= use | END
    as_block = {**as_group, "blocks": {"b": block}}
    as_block["layers"] = {"x": {"block": "b"}, **use, **END}
    graphs = [compile_data(data).graph for data in (as_group, as_block)]
    assert graphs[0].nodes == graphs[1].nodes
