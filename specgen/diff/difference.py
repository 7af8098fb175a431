"""What differs between two networks, as typed data, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from specgen.diff.markdown import markdown
from specgen.diff.text import text
from specgen.diff.tiers import Tier
from specgen.ops.base import Shape


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of the specs.

    Attributes:
        path: the keys of the spec to it: `layers.conv3.out_channels`.
        tier: how far it reaches, including its consequences.
        before: the old value as plain data; None if there was none.
        after: the new one.
        place: where the spec says so, as `file:line`; "" if it does not.
        use: the path of the use of a block that it is in; "" if it is in none.
        block: the name of that block.
    """

    path: str
    tier: Tier
    before: Any
    after: Any
    place: str = ""
    use: str = ""
    block: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number for both networks; None if one of them has no such device."""

    name: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class ShapeChange:
    """Layers whose output, or only whose input, has a new shape.

    `layers` are consecutive, and have the same shapes before and after.
    """

    layers: tuple[str, ...]
    reads: bool
    before: Shape
    after: Shape


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A tensor with another shape; `name` is its new name."""

    name: str
    before: Shape
    after: Shape


@dataclass(frozen=True, slots=True)
class CheckpointChange:
    """The tensors of an old checkpoint, and whether the new network loads them.

    Attributes:
        loads: those that load as is.
        reshaped: those with another shape.
        missing: new ones, which an old checkpoint does not have.
        unexpected: old ones, which the new network does not have.
        renamed: new names by old ones, whatever their shapes.
    """

    loads: tuple[str, ...]
    reshaped: tuple[Reshaped, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    renamed: Mapping[str, str]

    @property
    def fits(self) -> bool:
        """Whether an old checkpoint loads as is."""
        others = (self.reshaped, self.missing, self.unexpected, self.renamed)
        return not any(others)


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs between two networks.

    Attributes:
        tier: the furthest that anything reaches.
        changes: in the order of the spec.
        figures: parameters, macs, images at once, bytes crossing devices, and bytes of
            memory by device, before and after.
        shapes: what changes downstream, in the order of the new layers.
        checkpoint: which tensors of an old checkpoint load.
        budgets: the memory that the new spec allows training, by device, in bytes.
    """

    tier: Tier
    changes: tuple[Change, ...]
    figures: tuple[Figure, ...]
    shapes: tuple[ShapeChange, ...]
    checkpoint: CheckpointChange
    budgets: Mapping[str, int]

    def grouped(self) -> list[Change]:
        """Return the changes, furthest first: one for equal ones in uses of a block."""
        groups: dict[Any, list[Change]] = {}
        for index, change in enumerate(self.changes):
            inside = change.path.removeprefix(f"layers.{change.use}.")
            values = repr((change.before, change.after))
            key = (change.tier, change.block, inside, values) if change.use else index
            groups.setdefault(key, []).append(change)
        found = (_merged(group) for group in groups.values())
        return sorted(found, key=lambda change: -change.tier)

    def as_json(self) -> dict[str, Any]:
        """Return `{"tier", "changes", "figures", "checkpoint"}` for JSON."""
        checkpoint = self.checkpoint
        return {
            "tier": str(self.tier),
            "changes": [
                {
                    "path": change.path,
                    "tier": str(change.tier),
                    "before": change.before,
                    "after": change.after,
                }
                for change in self.changes
            ],
            "figures": {
                figure.name: [figure.before, figure.after] for figure in self.figures
            },
            "checkpoint": {
                "loads": list(checkpoint.loads),
                "reshaped": [tensor.name for tensor in checkpoint.reshaped],
                "missing": list(checkpoint.missing),
                "unexpected": list(checkpoint.unexpected),
                "renamed": dict(checkpoint.renamed),
            },
        }

    def __str__(self) -> str:
        return text(self)

    def _repr_markdown_(self) -> str:
        """Return Markdown for a notebook."""
        return markdown(self)


def _merged(group: list[Change]) -> Change:
    """Return one change for the same one in several uses of a block."""
    first, last = group[0], group[-1]
    if len(group) == 1:
        return first
    inside = first.path.removeprefix(f"layers.{first.use}.")
    which = f"{first.use} {'and' if len(group) == 2 else 'to'} {last.use}"
    path = f"{which} ({len(group)} uses of {first.block}): {inside}"
    return replace(first, path=path)
