"""Hypothesis: edits of what layers read, of their order, names, groups and devices."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from strategies import Data

SAME_SHAPE: list[Data] = [
    {"op": "relu"},
    {"op": "tanh"},
    {"op": "dropout"},
    {"op": "max_pool2d", "kernel_size": 3, "stride": 1, "padding": 1},
]


def frames(data: Data) -> list[dict[str, Data]]:
    """Return the mappings of entries: of the network, and in blocks and groups."""
    found = [data["layers"], *(b["layers"] for b in data.get("blocks", {}).values())]
    return [frame for each in found for frame in _inside(each)]


def _inside(layers: Any) -> Iterator[dict[str, Data]]:
    if isinstance(layers, dict):
        yield layers
        layers = layers.values()
    for entry in layers:
        if "layers" in entry:
            yield from _inside(entry["layers"])


@st.composite
def edited(draw: st.DrawFn, data: Data) -> Data:
    """Draw a spec that differs in one thing; it may not compile."""
    data = deepcopy(data)
    frame = draw(st.sampled_from(frames(data)))
    name = draw(st.sampled_from([*frame]))
    entry = frame[name]
    edit = draw(st.sampled_from([rewire, swap, order, rename, wrap, put, drop, move]))
    found: Data = edit(draw, data, frame, name, entry)
    return found


def rewire(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Read another value; a join, another one of its values."""
    values = ["input", *[*frame][: [*frame].index(name)]]
    reads, value = entry.get("from"), draw(st.sampled_from(values))
    if isinstance(reads, list):
        index = draw(st.integers(0, len(reads) - 1))
        value = [*reads[:index], value, *reads[index + 1 :]]
    entry["from"] = value
    return data


def swap(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Read the same in another order."""
    joins = [e for each in frames(data) for e in each.values() if _several(e)]
    if joins:
        entry = draw(st.sampled_from(joins))
        entry["from"] = draw(st.permutations(entry["from"]))
    return data


def order(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Move an entry, which mostly reads what it did before."""
    names = [*frame]
    before = {b: a for a, b in zip(["input", *names], names, strict=False)}
    if draw(st.integers(0, 3)):
        for each, it in frame.items():
            it.setdefault("from", before[each])
    index = names.index(name)
    names.remove(name)
    names.insert(max(index + draw(st.sampled_from([-2, -1, 1, 2])), 0), name)
    entries = {each: frame[each] for each in names}
    frame.clear()
    frame |= entries
    return data


def rename(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Call an entry otherwise, where it is read, too."""
    entries = {"other" if key == name else key: each for key, each in frame.items()}
    frame.clear()
    frame |= entries
    for each in frames(data):
        for it in each.values():
            if _several(it):
                it["from"] = ["other" if r == name else r for r in it["from"]]
            elif it.get("from") == name:
                it["from"] = "other"
    return data


def wrap(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Put an entry into a group that has its name."""
    outside: Data = {key: entry.pop(key) for key in ("when", "repeat") if key in entry}
    if not _several(entry) and "from" in entry and draw(st.booleans()):
        outside["from"] = entry.pop("from")
    frame[name] = outside | {"layers": draw(st.sampled_from([{"a": entry}, [entry]]))}
    return data


def put(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Add a layer after another, which the next one reads, or one other."""
    layer = draw(st.sampled_from(SAME_SHAPE))
    entries: Data = {}
    for key, each in frame.items():
        entries[key] = each
        if key == name:
            entries["added"] = {**layer}
    frame.clear()
    frame |= entries
    readers = [it for it in entries.values() if it.get("from") == name]
    if readers and draw(st.booleans()):
        draw(st.sampled_from(readers))["from"] = "added"
    return data


def drop(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Remove an entry; what has read it reads what it has read."""
    names = [*frame]
    before = ["input", *names][names.index(name)]
    reads = entry.get("from", before)
    frame.pop(name)
    for it in frame.values():
        if it.get("from") == name:
            it["from"] = reads
        elif _several(it) and isinstance(reads, str):
            it["from"] = [reads if read == name else read for read in it["from"]]
    return data


def move(draw: Any, data: Data, frame: Data, name: str, entry: Data) -> Data:
    """Run everything elsewhere."""
    devices: Data = {"cpu0": {}, "cpu1": {}}
    return data | {"placement": {"devices": devices, "layers": {"fc": "cpu1"}}}


def _several(entry: Data) -> bool:
    return isinstance(entry.get("from"), list)
