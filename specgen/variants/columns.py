"""The figures of variants in columns: a head, and a cell for each variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from specgen.frontend.overlay import DOT
from specgen.schema import UNITS
from specgen.tables import dimensions
from specgen.variants.variant import Sound, Variant

SPEC = ("", "spec")  # the head of the column that names the specs
NONE = "-"  # the cell of a device that a variant does not have


@dataclass(frozen=True, slots=True)
class Column:
    """One thing to say about each variant.

    Attributes:
        head: two lines; the first may be empty.
        cells: as people read them; None for a figure of a variant that is refused.
        sentence: gives a figure outside the table, in place of {}.
        is_label: whether it says which variant this is, and is expected to differ.
    """

    head: tuple[str, str]
    cells: tuple[str | None, ...]
    sentence: str = ""
    is_label: bool = False

    @property
    def known(self) -> list[str]:
        """The cells of variants that are not refused."""
        return [cell for cell in self.cells if cell is not None]

    def differs(self, index: int) -> bool:
        """Tell whether a figure differs from that of the first variant that has one."""
        if self.is_label or self.cells[index] in (None, NONE):
            return False
        return self.cells[index] != self.known[0]


def labels(variants: Sequence[Variant]) -> list[Column]:
    """Return the specs, if there are several or nothing else, and the swept values."""
    specs = {variant.spec: variant.stem for variant in variants}
    swept = list(variants[0].swept)
    columns = []
    if len(specs) > 1 or not swept:
        clear = len(set(specs.values())) == len(specs)
        cells = (variant.stem if clear else variant.spec for variant in variants)
        columns.append(Column(SPEC, tuple(cells), is_label=True))
    for path in swept:
        *section, field = DOT.split(path.removeprefix("layers."))
        cells = (variant.swept[path] for variant in variants)
        head = (".".join(section), field)
        columns.append(Column(head, tuple(cells), is_label=True))
    return columns


def figures(variants: Sequence[Variant]) -> list[Column]:
    """Return the figures, as people compare them from left to right."""

    def column(
        above: str, head: str, cell: Callable[[Sound], str], sentence: str = ""
    ) -> Column:
        cells = (cell(v.sound) if v.sound else None for v in variants)
        return Column((above, head), tuple(cells), sentence)

    taken = [memory(variant.sound) for variant in variants if variant.sound]
    most = max((size for sizes in taken for size in sizes.values()), default=0)
    unit = "MiB" if most >= UNITS["MiB"] else "KiB"

    def held(name: str) -> Callable[[Sound], str]:
        def cell(sound: Sound) -> str:
            size = memory(sound).get(name)
            return NONE if size is None else f"{size / UNITS[unit]:,.1f}"

        return cell

    names = dict.fromkeys(name for sizes in taken for name in sizes)
    sound = [variant.sound for variant in variants if variant.sound]
    one = any(each.plan.images == 1 for each in sound)
    limited = any(each.plan.most_images is not None for each in sound)
    room = column(
        *("most", "images"),
        lambda sound: (
            NONE if sound.plan.most_images is None else f"{sound.plan.most_images:,}"
        ),
        "at most {} images fit",
    )
    traffic = column(
        *("between", "B/image"),
        lambda sound: f"{sound.traffic:,}",
        "{} B/image between devices",
    )
    return [
        column("", "parameters", lambda sound: f"{sound.plan.parameters:,}"),
        column("", "MACs", lambda sound: f"{sound.plan.macs:,}"),
        *(column(name, unit, held(name), f"{name} {{}} {unit}") for name in names),
        column(
            *("", "images"),
            lambda sound: f"{sound.plan.images:,}",
            "{} image at once" if one else "{} images at once",
        ),
        *([room] if limited else []),
        *([traffic] if len(names) > 1 else []),
        column(
            *("last", "map"), lambda sound: dimensions(sound.last.shape), "last map {}"
        ),
        column(
            *("receptive", "field"),
            lambda sound: dimensions(sound.last.field),
            "receptive field {}",
        ),
    ]


def memory(sound: Sound) -> dict[str, int]:
    """Return the bytes that training takes, by device."""
    return {device.name: device.memory.training for device in sound.plan.devices}
