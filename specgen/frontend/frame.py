"""Where an entry is while the network is expanded, and the names that it sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.frontend.changes import Change
from specgen.frontend.computing import Unknown
from specgen.frontend.definitions import Definition, Entry
from specgen.frontend.expressions import Value
from specgen.frontend.layers import LAYERS


@dataclass(slots=True)
class Frame:
    """The network, a group, a block, or an instance of what repeats.

    Attributes:
        prefix: what names in it begin with: `layer1.0.`.
        entries: those that are in it.
        names: the value of each entry so far, and of each input of a block.
        around: the frame whose names a group sees, too.
        values: of params, `index` and `count`.
        read: the value that `in` is the shape of.
        inputs: the names of a block's inputs.
        uses: the uses of blocks around, the innermost first.
        blocks: the names of these blocks.
        depth: how many frames are around it.
        number: of the next item of a list.
        used: the inputs of the block that are read.
    """

    prefix: str
    entries: Sequence[Entry]
    names: dict[str, str]
    around: Frame | None
    values: Mapping[str, Value]
    read: str
    inputs: tuple[str, ...] = ()
    uses: tuple[tuple[str, Path], ...] = ()
    blocks: tuple[str, ...] = ()
    depth: int = 0
    number: int = 0
    used: set[str] = field(default_factory=set)

    def group(
        self, name: str, entries: Sequence[Entry], values: Mapping[str, Value]
    ) -> Frame:
        """Return the frame of a group in this one."""
        return Frame(
            f"{name}.",
            entries,
            {},
            self,
            values,
            self.read,
            uses=self.uses,
            blocks=self.blocks,
            depth=self.depth + 1,
        )

    def repeated(self, index: int, count: int) -> Frame:
        """Return this frame as an instance of what repeats sees it."""
        values = {**self.values, "index": index, "count": count}
        each = copy(self)  # with the same `names`
        each.values = values
        return each

    def block(
        self,
        name: str,
        block: str,
        entries: Sequence[Entry],
        inputs: Mapping[str, str],
        path: Path,
    ) -> Frame:
        """Return the frame of a use of a block, which sees nothing of this one."""
        return Frame(
            f"{name}.",
            entries,
            dict(inputs),
            None,
            {},
            next(iter(inputs.values())),
            tuple(inputs),
            ((name, path), *self.uses),
            (*self.blocks, block),
            self.depth + 1,
        )

    def find(self, name: str) -> str | None:
        """Return the value that a name has here."""
        frame: Frame | None = self
        while frame:
            if name in frame.names:
                frame.used.add(name)
                return frame.names[name]
            frame = frame.around
        return None

    def seen(self) -> list[str]:
        """Return the names that have a value here."""
        return [*self.names, *(self.around.seen() if self.around else ())]

    def comes(self, name: str) -> bool:
        """Tell whether a later entry has this name."""
        keys = (entry.key for entry in self.entries)
        return name in keys or bool(self.around and self.around.comes(name))

    def missing(
        self, entry: Entry, source: str, path: Path, problems: Problems
    ) -> Diagnostic:
        """Return what is wrong with a name that nothing above an entry has."""
        if source == entry.key:
            return Diagnostic("bad-from", f"{source} reads itself", path)
        if source in str(path[1]).split(".")[:-1]:
            message = f"{source} cannot be read inside itself"
            return Diagnostic("bad-from", message, path)
        if self.comes(source):
            message = f"{entry.key or path[1]} reads {source}, which comes after it"
            help = "move it below the layers that it reads"
            return Diagnostic("bad-from", message, path, help=help)
        message = f"there is no layer {short(source)!r}"
        if self.blocks:
            message += f" in the block {self.blocks[-1]}"
        outer = source.partition(".")[0]
        if outer != source and self.find(outer):
            near: str | None = f"only the output of {outer} can be read: from: {outer}"
        else:
            near = problems.nearest(source, self.seen())
        cause = ((LAYERS, source),)
        return Diagnostic("unknown-layer", message, path, help=near, causes=cause)

    def unread(self, block: Definition) -> Iterator[Diagnostic]:
        """Yield an error for each input of the block that nothing in it reads."""
        for index, name in enumerate(block.inputs):
            if name not in self.used:
                several = ("inputs", index) if len(block.inputs) > 1 else ()
                message = f"no layer of the block {block.name} reads {name}"
                path = (*block.path, *several)
                yield Diagnostic("no-effect", message, path, True, uses=self.uses)


@dataclass(frozen=True, slots=True)
class Instance:
    """One entry in its frame, or one instance of what repeats.

    `name` is its path, `reads` are the values that it reads, `change` is what is
    changed for it alone.
    """

    entry: Entry
    name: str
    reads: tuple[str, ...]
    frame: Frame
    change: Change

    @property
    def path(self) -> Path:
        """Its place, for an error."""
        return (LAYERS, self.name)

    def left_out(self) -> str:
        """Return the value that it has where it is left out: its one input.

        Raises:
            Unknown: it reads several.
        """
        if len(self.reads) > 1:
            message = (
                f"an entry that is left out reads one input, not {len(self.reads)}"
            )
            raise Unknown(Diagnostic("bad-from", message, self.change[0][1]))
        return self.reads[0]


def numbers(values: Mapping[str, Value]) -> dict[str, float]:
    """Return the params that are numbers: a class can have them as arguments."""
    return {name: v for name, v in values.items() if isinstance(v, int | float)}


def called(inputs: Sequence[str]) -> tuple[str, ...]:
    """Return what a group calls the values that it reads: the last part of a path."""
    names: dict[str, None] = {}
    for path in inputs:
        leaf = path.rpartition(".")[2]
        name = path.replace(".", "_") if leaf.isdecimal() or leaf in names else leaf
        names[name] = None
    return tuple(names)
