"""How to write what was meant: help for malformed values and keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from specgen.diagnostics import nearest_help, short
from specgen.frontend.annotations import element, fields, members, plain, tags
from specgen.frontend.foreign import key_help, our_tag, tag_help, value_help
from specgen.schema import UNITS
from specgen.spec import Spec
from specgen.spec.entries import FROM
from specgen.yaml12.scalars import scalar

YES = {"yes", "on", "y", "true"}
NO = {"no", "off", "n", "false"}
BY = r"[x\u00d7*, ]"  # 96x96
NUMBER = r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
PAIR = re.compile(rf"[(\[]?\s*({NUMBER})\s*[,x\u00d7*; ]\s*({NUMBER})\s*[)\]]?")
CALL = re.compile(r"([A-Za-z_][\w.]*)(\(.*\))?")  # conv2d(64, 3)
BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]+)")
KEY_AND_VALUE = re.compile(r"([A-Za-z_]\w*)([:=])(.+)", re.DOTALL)
THOUSANDS = re.compile(r"[0-9]{1,3}([,_' ][0-9]{3})+|[0-9]+(_[0-9]+)+")
WITH_UNIT = re.compile(rf"({NUMBER}) ?(epochs?|steps?|images?|pixels?|px|channels?|s)")
PERCENT = re.compile(rf"({NUMBER}) ?%")
POWER = re.compile(r"([1-9][0-9]{,2})(?:\^|\*\*)(-?[0-9]{1,2})")
SIDES = ("height", "width")
ONE_SIZE = ("size", "shape", "image_size", "resolution", "side")  # keys of a square
KINDS_OF_IMAGES = ("1", "3", "4")  # their channels
SIZE = re.compile(rf"(?:([0-9]+)\s*{BY}\s*)?([0-9]+)\s*{BY}\s*([0-9]+)")
ITEM = re.compile(r"[\w.-]{1,30}")  # of a list, written alone
REMOVED = {"none", "nil", "remove", "removed", "delete", "off", "no", "false"}
INDENT = "indent what belongs to it by two spaces, or put it in {braces}"
# Keys that other programs use for the kind of a thing.
TAG_KEYS = ("type", "layer", "layer_type", "class", "class_name", "kind", "op", "name")


def for_value(value: Any, expected: str, annotation: Any) -> str | None:
    """Return how to write a value that was `expected` to be something else.

    `annotation` is the type of what belongs here.
    """
    model, tag = plain(annotation)
    if image := _image(value, model):
        return image
    if value is False and tag == "op":
        value = "false"
    if expected == "a list" and ITEM.fullmatch(str(value)):
        return f"write [{value}]"
    if isinstance(value, str):
        text = value.strip()
        return _for_text(text, expected, tag) or _only_field(value, annotation)
    if tag and isinstance(value, list):
        return f"write {{{tag}: NAME, ...}}; {listing(tags(annotation))}"
    if isinstance(value, float) and "whole number" in expected and value.is_integer():
        return f"write {int(value)}"
    if isinstance(value, list) and "number" in expected:
        alone = len(value) == 1 and isinstance(value[0], int | float)
        return f"write {value[0]}, without brackets" if alone else None
    if only := _only_field(value, annotation):
        return only
    if isinstance(value, list) and "a mapping" in expected:
        return _by_name(value, annotation)
    if isinstance(value, dict) and value and all(map(str.isdecimal, value)):
        return "put all values in one list: [1, 2]"  # --set stride.0=2
    if value is None and expected == "a mapping":
        return INDENT
    if value is None:
        return "give it a value, or leave the key out"
    return None


def for_sides(key: Any, value: Any, owner: Any) -> str | None:
    """Return how to write the height and the width that one key has."""
    if not set(SIDES) <= fields(owner).keys() or key not in (*SIDES, *ONE_SIZE):
        return None
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, int):
        text = f"{value}, {value}" if key in ONE_SIZE else ""
    if not (found := SIZE.fullmatch(text.strip())):
        return None
    channels, height, width = found.groups()
    sides = f"height: {height}, width: {width}"
    return f"write channels: {channels}, {sides}" if channels else f"write {sides}"


def _image(value: Any, model: Any) -> str | None:
    """Return how to write the shape of an image: 3x96x96, [3, 96, 96], 96x96."""
    if not set(SIDES) <= fields(model).keys():
        return None
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if not (found := SIZE.fullmatch(text.strip(" ()[]"))):
        return None
    channels, height, width = found.groups()
    if channels and channels not in KINDS_OF_IMAGES and width in KINDS_OF_IMAGES:
        channels, height, width = width, channels, height  # channels last
    return f"write {{channels: {channels or 3}, height: {height}, width: {width}}}"


def _only_field(value: Any, annotation: Any) -> str | None:
    """Return how to write the value of the only field that a mapping can have."""
    inner, _ = plain(annotation)
    union = members(inner)
    several = isinstance(value, list)
    if isinstance(value, dict | bool | None) or (union and not several):
        return None
    names = next((n for n in map(_fields, union or [inner]) if len(n) == 1), None)
    if names:
        text = ", ".join(map(str, value)) if several else str(value)
        return f"write {{{names[0]}: {short(f'[{text}]' if several else text)}}}"
    return None


def _fields(annotation: Any) -> list[str]:
    return list(fields(plain(annotation)[0]))


def _by_name(value: list[Any], annotation: Any) -> str:
    """Return how to write a list of names as a mapping of what needs no fields."""
    each = element(plain(annotation)[0], "")
    model = plain(each)[0]
    optional = bool(fields(model)) and not any(
        field.is_required() for field in model.model_fields.values()
    )
    if optional and all(isinstance(name, str) for name in value):
        return f"write {{{', '.join(f'{short(name)}: {{}}' for name in value)}}}"
    return "write name: value for each, without dashes and [brackets]"


def for_nothing(owner: Any, key: str) -> str:
    """Return what to do about a key without a value."""
    for name, field in getattr(owner, "model_fields", {}).items():
        if key == (field.alias or name) and field.is_required():
            return "give it a value" if field.annotation is str else INDENT
    return "leave the key out for its default"


def _for_text(text: str, expected: str, tag: str | None) -> str | None:
    if "a mapping" in expected and (found := KEY_AND_VALUE.fullmatch(text)):
        return _space(found)
    if tag == "op" and text.casefold() in REMOVED:
        return "write null to remove a layer of the base"
    if tag and (called := CALL.fullmatch(text)):
        more = ", ..." if called[2] else ""
        return f"write {{{tag}: {short(called[1])}{more}}}"
    if "bytes" in expected and (size := BYTES.fullmatch(text)):
        units = {unit.casefold(): unit for unit in UNITS}
        unit = units.get(size[2].casefold()) or units.get(f"{size[2].casefold()}ib")
        return f"write {size[1]}{unit}" if unit else None
    if "true" in expected and "false" in expected and text.casefold() in YES | NO:
        return f"write {str(text.casefold() in YES).lower()}"
    if "number" in expected and (number := _number(text, expected)):
        return number
    if expected == "1" and text == "1":  # the version
        return "write 1, without quotes"
    return value_help(text)


def _number(text: str, expected: str) -> str | None:
    """Return how to write a number, or two of them."""
    if _is_number(text):
        return f"write {text}, without quotes"
    if "[height, width]" in expected:
        if found := PAIR.fullmatch(text):
            return f"write [{found[1]}, {found[2]}]"
        if text[:1] == "(":
            return "write the two numbers in [brackets]"
    if THOUSANDS.fullmatch(text):
        return f"write {re.sub('[^0-9]', '', text)}"
    if found := PERCENT.fullmatch(text):
        return f"write {float(found[1]) / 100:g}" if _is_number(found[1]) else None
    if found := POWER.fullmatch(text):
        return f"write {int(found[1]) ** int(found[2]):g}"
    if (number := text.replace(",", ".")) != text and _is_number(number):
        return f"write {number}"
    if found := WITH_UNIT.fullmatch(text):
        return f"write {found[1]}, without {found[2]}"
    return None


def _is_number(text: str) -> bool:
    try:
        number = scalar(text)
    except ValueError:
        return False
    return isinstance(number, int | float) and not isinstance(number, bool)


def for_key(key: str, value: Any, owner: Any) -> str:
    """Return what an unknown key should be, or all that it can be."""
    names = list(fields(owner))
    every = [*names, FROM, "when", "repeat"] if "op" in names else names
    found = KEY_AND_VALUE.fullmatch(key)
    if found and value is None and found[1] in names:
        return _space(found)
    section, _, inside = key.partition(".")
    if inside and section in names:
        return f"write {section}: {{{short(inside)}: {short(str(value))}}}"
    if value is None and key.endswith(")"):
        return "write a list in [brackets]"
    if home := next(_homes(owner, key), None):
        return f"it belongs in {home}"
    if sides := for_sides(key, value, owner):
        return sides
    if known := key_help(key, every):
        return known
    if home := next(_homes(Spec, key), None):  # another section
        return f"it belongs in {home}"
    return nearest_help(key, every) or listing(names)


def for_op(tag: str, word: str, names: Collection[str]) -> str:
    """Return which op, or other kind, an unknown one may mean."""
    return tag_help(tag, word, names) or nearest_help(word, names) or listing(names)


def for_missing_tag(
    tag: str, data: Mapping[str, Any], names: Collection[str]
) -> tuple[str | None, str]:
    """Return the key that takes the place of a missing `tag`, and the help."""
    for key, value in data.items():
        found = KEY_AND_VALUE.fullmatch(key)
        if found and found[1] == tag and value is None:
            return key, _space(found, *_tight(data, key))
        if key in names:
            return key, f"write {tag}: {key}"
    for key in TAG_KEYS:
        value = data.get(key)
        if isinstance(value, str):
            name = value if value in names else our_tag(tag, value, names)
            if name or key in ("type", "kind"):
                return key, f"write {tag}: {short(name or value)}"
    return None, f"write {tag}: NAME; {listing(names)}"


def listing(names: Collection[str]) -> str:
    """Return all valid names."""
    return f"valid names are {', '.join(names)}"


def _tight(data: Mapping[str, Any], but: str) -> Iterator[re.Match[str]]:
    """Yield other keys that contain their values."""
    for key, value in data.items():
        found = KEY_AND_VALUE.fullmatch(key)
        if found and value is None and key != but:
            yield found


def _space(*found: re.Match[str]) -> str:
    """Return how to write a key with = or without a space after its colon."""
    written = ", ".join(
        f"{key}: {short(value.strip())}"
        for key, _, value in (match.groups() for match in found)
    )
    if found[0][2] == "=":
        return f"write {written}"
    where = "the colon" if len(found) == 1 else "each colon"
    return f"put a space after {where}: {written}"


def _homes(owner: Any, key: str, path: str = "") -> Iterator[str]:
    """Yield the paths below a model that have this key."""
    for name, annotation in fields(owner).items():
        inner, _ = plain(annotation)
        for model in members(inner) or [inner]:
            if key in fields(plain(model)[0]):
                yield f"{path}{name}"
            yield from _homes(plain(model)[0], key, f"{path}{name}.")
