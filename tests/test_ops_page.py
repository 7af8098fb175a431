"""The page of ops: a row for each, with its fields and their defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from specgen.ops import AnyOp
from specgen.ops.base import Op
from specgen.schema import Strict

PAGE = (Path(__file__).parent.parent / "docs" / "ops.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\| .* \| .* \|$", PAGE, re.M))
OPS = {
    get_args(op.model_fields["op"].annotation)[0]: op
    for op in get_args(get_args(AnyOp)[0])
}


def test_every_op_has_a_row_and_nothing_else_has() -> None:
    assert set(ROWS) == set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_its_row_has_its_fields_and_defaults(name: str) -> None:
    text = ROWS[name]
    if text.startswith("the same"):  # as the row above
        above = list(ROWS)[list(ROWS).index(name) - 1]
        text = f"{ROWS[above]}, {text}"
    fields = dict(
        re.findall(r"`(\w+)`(?: \((.*?)\))?", re.sub(r", or `\w+`", "", text))
    )
    op: type[Op] = OPS[name]
    assert set(fields) == set(op.model_fields) - {"op"}
    for key, said in fields.items():
        field = op.model_fields[key]
        if field.is_required():
            assert said in ("", "odd"), key
        else:
            assert means(said.strip("`"), field.default), key


def means(said: str, default: Any) -> bool:
    """Whether the page says this default."""
    match default:
        case None | Strict():
            return said in ("", "none", "the window", "0")
        case bool():
            return said == str(default).lower()
        case str():
            return said == default
        case (first, second):
            return [float(said)] * 2 == [first, second]
    return bool(float(said) == default)
