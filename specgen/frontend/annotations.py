"""The types of a Pydantic model, followed along the `loc` of its errors.

`loc` has the keys of the data and, in between, which member of a union was tried: its
tag where the union has a discriminator, else a label made from its type. A type that is
not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

Key = str | int


def plain(annotation: Any) -> tuple[Any, str | None]:
    """Return a type without `Annotated` and `None`, and its discriminator, if any."""
    tag = None
    while True:
        union = members(annotation)
        if get_origin(annotation) is Annotated:
            found = [getattr(m, "discriminator", None) for m in annotation.__metadata__]
            tag = next((name for name in found if isinstance(name, str)), tag)
            annotation = annotation.__origin__
        elif len(union) == 1:
            annotation = union[0]
        else:
            return annotation, tag


def members(annotation: Any) -> list[Any]:
    """Return the types of a union, without None; nothing for any other type."""
    if get_origin(annotation) not in (Union, UnionType):
        return []
    return [member for member in get_args(annotation) if member is not NoneType]


def tagged(union: Any, discriminator: str, tag: Key) -> Any:
    """Return the member of a discriminated union that has this tag."""
    for member in members(union):
        field = fields(plain(member)[0]).get(discriminator)
        if tag in get_args(plain(field)[0]):
            return member
    return None


def tags(annotation: Any) -> list[str]:
    """Return the tags of the members of a discriminated union."""
    union, discriminator = plain(annotation)
    found: list[str] = []
    for member in members(union):
        field = fields(plain(member)[0]).get(discriminator or "")
        found += get_args(plain(field)[0])
    return found


def labeled(union: Any, label: Key) -> Any:
    """Return the member of a union that Pydantic calls by this label."""
    names = {_name(member): member for member in members(union)}
    fitting = [name for name in names if name in str(label)]
    return names[max(fitting, key=len)] if fitting else None


def element(annotation: Any, key: Key) -> Any:
    """Return the type of what a model, mapping or sequence has at a key."""
    if key in (names := fields(annotation)):
        return names[str(key)]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is tuple and isinstance(key, int) and ... not in args:
        return args[min(key, len(args) - 1)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return args[1]
    return args[0] if args else None


def fields(annotation: Any) -> dict[str, Any]:
    """Return the types of a model's fields by the name they have in a spec."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {}
    return {
        field.alias or name: Annotated[field.annotation, field]
        for name, field in annotation.model_fields.items()
    }


def _name(annotation: Any) -> str:
    bare = plain(annotation)[0]
    return str(getattr(get_origin(bare) or bare, "__name__", bare))
