"""What differs between two placements, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from specgen.compiler import Program
from specgen.diff.layers import Found
from specgen.diff.match import Matching
from specgen.diff.tiers import Tier
from specgen.diff.values import size
from specgen.tables import ranges

SECTION = ("placement",)


def placement_changes(
    old: Program, new: Program, matching: Matching
) -> Iterator[Found]:
    """Yield the devices, their budgets, and the layers that run elsewhere.

    Devices with only new names count as one change.
    """
    before, after = old.spec.placement.devices, new.spec.placement.devices
    if list(before) != list(after):
        path = (*SECTION, "devices")
        yield Found(path, list(before), list(after), Tier.PLACEMENT)
    for name in before:
        if name in after and before[name].memory != after[name].memory:
            place = (*SECTION, "devices", name, "memory")
            old_size, new_size = before[name].memory, after[name].memory
            sizes = old_size and size(old_size), new_size and size(new_size)
            yield Found(place, *sizes, Tier.PLACEMENT)

    rows = _elsewhere(old, new, matching)
    ranks = [{name: i for i, name in enumerate(names)} for names in (before, after)]
    same_ranks = all(
        [ranks[0][name] for name in a] == [ranks[1][name] for name in b]
        for a, b in rows.values()
    )
    if same_ranks and not {*before} & {*after}:
        return
    order = list(new.spec.layers)
    for (a, b), group in groupby(rows, rows.__getitem__):
        for name in ranges(list(group), order, least=2):
            pair = _said(a, list(before)), _said(b, list(after))
            if pair[0] == pair[1]:  # `split` over all, which are others now
                pair = {"split": list(a)}, {"split": list(b)}
            yield Found((*SECTION, "layers", name), *pair, Tier.PLACEMENT)


def _elsewhere(
    old: Program, new: Program, matching: Matching
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Old and new devices of each layer that runs elsewhere, by its new name."""
    where = [
        {
            layer.node.name: tuple(share.device for share in layer.shares)
            for layer in program.placed.layers
        }
        for program in (old, new)
    ]
    pairs = {b: (where[0][a], where[1][b]) for a, b in matching.pairs.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _said(devices: Sequence[str], known: Sequence[str]) -> str | dict[str, list[str]]:
    """As written in a spec: a device, `split` for all, or some."""
    if len(devices) == 1:
        return devices[0]
    return "split" if len(devices) == len(known) else {"split": list(devices)}
