"""How the numbers of a block or group follow from its params and from what it reads.

Each op computes its shape from those of its inputs once more, with numbers that
remember how they came about. So there is no second account here of what ops do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from specgen.backends.sized import LOST, Sized, bounded, term_of
from specgen.frontend.expressions import Name, Number, Term
from specgen.frontend.formulas import IN_CHANNELS, names_of, read, replaced
from specgen.graph import Node, Placed, Scope, Share, around
from specgen.ops.base import Op, Shape, TorchForm
from specgen.ops.join import Add, Multiply

Terms = Mapping[Term, Term]


class Frame:
    """The names in a use of a block, or in a group, with their `values`.

    These are `params`, of the block or the one around the group; `sizes` of what it
    reads, such as `in.channels`; and one for each plain number of its layers. Those of
    the frame around it, `outer`, are others.
    """

    def __init__(
        self,
        scope: Scope,
        shapes: Mapping[str, Shape],
        scopes: Mapping[str, Scope],
        called: Sequence[str],
        outer: Frame | None,
    ) -> None:
        self.params: Mapping[str, float] = scope.params
        if outer and not scope.block:
            self.params = outer.params
        self.values: dict[str, float] = {**self.params}
        self.sizes: list[str] = []
        self._scope, self._scopes, self._outer = scope, scopes, outer
        self._shapes: dict[str, Shape] = {}
        self._traced: dict[str, tuple[Op, tuple[Shape, ...]]] = {}
        self._equal: dict[Term, Term] = {}
        self._outside: dict[Term, Term] = {}  # what names are in the outer frame
        for value, name in zip(scope.inputs, ("in", *called[1:]), strict=True):
            if value not in self._shapes:
                self._shapes[value] = self._read(value, name, shapes[value])
        # What names of formulas are here; those of a block are its own.
        self._names: Terms = {} if scope.block else self._entered()
        for name, formula in scope.formulas.items():
            if outer and (term := read(formula)):
                self._outside[Name(name)] = bounded(replaced(term, outer._names))

    def _read(self, value: str, called: str, shape: Shape) -> Shape:
        """Name the sizes of what is read from outside."""
        sizes = [*shape]
        for axis, kind in _named_axes(shape):
            name = f"{called}.{kind}"
            self.sizes.append(name)
            self.values[name] = shape[axis]
            sizes[axis] = Sized.of(shape[axis], Name(name))
            if self._outer:
                size = self._outer.shape(value)[axis]
                self._outside[Name(name)] = term_of(size)
        return tuple(sizes)

    def _entered(self) -> Terms:
        """Return what the names of the outer frame are in this group."""
        outer = self._outer
        if outer is None:
            return {}
        known: dict[Term, Term] = {
            Name(name): Name(name) for name in (*self.params, IN_CHANNELS)
        }
        known |= outer._names
        found: dict[Term, Term] = {}
        for name in outer.sizes:  # which may be called like other ones here
            far = f"outer.{name}"
            found[Name(name)], self._outside[Name(far)] = Name(far), Name(name)
            self.values[far] = outer.values[name]
        for name in reversed(self.sizes):
            term = self._outside[Name(name)]
            if not isinstance(term, Number):
                found[term] = Name(name)
        self._outside |= {Name(name): Name(name) for name in self.params}
        return {name: bounded(replaced(term, found)) for name, term in known.items()}

    def shape(self, value: str) -> Shape:
        """Return the shape of a value, as far as it is known how it came about."""
        return self._shapes[value]

    def add(self, node: Node) -> None:
        """Find the shape of a layer."""
        fields: dict[str, int] = {}
        for field, value in node.op:
            if type(value) is int:
                term = self.written(node, field)
                own = term or self._plain(node.name, field, value)
                fields[field] = Sized.of(value, own)
        op = node.op.model_copy(update=fields)
        xs = tuple(self._shapes[name] for name in node.inputs)
        self._traced[node.name] = op, xs
        self._keep(node.name, op.output(*xs))
        if isinstance(op, Add | Multiply):
            for x in xs[1:]:
                for one, other in zip(xs[0], x, strict=True):
                    if one == other:
                        self._equate(term_of(one), term_of(other))

    def _keep(self, value: str, shape: Shape) -> None:
        """Note a shape; sizes of which nothing is known have names of their own."""
        sizes = [*shape]
        for axis, kind in _named_axes(shape):
            if not isinstance(sizes[axis], Sized) or term_of(sizes[axis]) == LOST:
                size = int(sizes[axis])
                sizes[axis] = Sized.of(size, self._plain(value, kind, size))
        self._shapes[value] = tuple(sizes)

    def _plain(self, path: str, field: str, value: float) -> Term:
        """Return a name for a number that follows from nothing."""
        inside = re.sub(r"\W", "_", path.removeprefix(f"{self._scope.path}."))
        name = f"_{inside}.{field}"
        self.values[name] = value
        return Name(name)

    def _equate(self, one: Term, other: Term) -> None:
        """Note that two sizes must be equal: so one of what is read is another."""
        if self._outer:
            self._outer._equate(self._leave(one), self._leave(other))
        one, other = self.settled(one), self.settled(other)
        read = [name for name in self.sizes if Name(name) in (one, other)]
        if one == other or not read:
            return
        name = Name(read[-1])
        other = other if one == name else one
        if names_of(other) <= {*self.params, *self.sizes} - {name.name}:
            equal: Terms = {name: other}
            self._equal = {n: replaced(t, equal) for n, t in self._equal.items()}
            self._equal |= equal

    def settled(self, term: Term) -> Term:
        """Return a formula with what is equal in the place of what is read."""
        return replaced(term, self._equal)

    def leave(self, term: Term) -> Term | None:
        """Return what a formula is in the outer frame, or None if that is unknown."""
        found = self._leave(term) if self._outer else LOST
        return None if found == LOST else found

    def _leave(self, term: Term) -> Term:
        outer = self._outer
        assert outer
        for name in names_of(term):
            if Name(name) not in self._outside and name in self.values:
                own = outer._plain(self._scope.path, name, self.values[name])
                self._outside[Name(name)] = own
        return bounded(replaced(term, self._outside))

    def finish(self) -> None:
        """Tell the outer frame what this one gives."""
        shape = self._shapes.get(self._scope.output)
        if self._outer and shape:
            sizes = (
                Sized.of(x, self._leave(self.settled(x.term)))
                if isinstance(x, Sized)
                else x
                for x in shape
            )
            self._outer._keep(self._scope.output, tuple(sizes))

    def form(self, layer: Placed, share: Share) -> TorchForm:
        """Return how a share appears in `model.py`, with formulas for numbers."""
        op, xs = self._traced[layer.node.name]
        count = len(layer.shares)
        if count > 1:
            fields = {
                field: _part(getattr(share.op, field), whole, count)
                for field, whole in op
                if isinstance(whole, Sized)
            }
            op = share.op.model_copy(update=fields)
            pairs = zip(share.input_shapes, xs, strict=True)
            xs = tuple((_part(own[0], x[0], count), *own[1:]) for own, x in pairs)
        return op.torch(*xs)

    def written(self, node: Node, field: str) -> Term | None:
        """Return the formula that the spec has for a field.

        A block without a class of its own has params that are not known here.
        """
        formula = node.formulas.get(field)
        for path in around(node.scope) if formula else ():
            if path == self._scope.path:
                break
            if self._scopes[path].block:
                return None
        term = read(formula) if formula else None
        return bounded(replaced(term, self._names)) if term else None


def _part(value: int, whole: int, count: int) -> int:
    """Return what one of equal shares has of a number: all of it, or its share."""
    if value == whole:
        return whole
    return whole // count if value * count == whole else value


def _named_axes(shape: Shape) -> Iterable[tuple[int, str]]:
    """Channels, and the features of tokens."""
    return ((0, "channels"), (1, "features"))[: 2 if len(shape) == 2 else 1]
