"""The JSON Schema: it accepts what the compiler accepts, and tells what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers import ROOT

from specgen.editor import json_schema
from specgen.source import parse

SCHEMA = json_schema()
SPECS = [*sorted(ROOT.glob("specs/**/*.yaml")), ROOT / "tests" / "blocks.yaml"]
HEAD = "specgen: 1\nname: Net\ninput: {channels: 3, height: 8, width: 8}\n"


def errors(text: str) -> list[tuple[str, str]]:
    """Return where the schema finds something wrong, and what."""
    data = parse(text.encode(), "a.yaml").data
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [
        (".".join(map(str, error.absolute_path)), error.message)
        for error in validator.iter_errors(data)
    ]


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every property that the schema says something about."""
    if isinstance(schema, list):
        for item in schema:
            yield from properties(item, path)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from ((f"{path}.{name}", field) for name, field in value.items())
            if key not in ("if", "else"):  # conditions on what is described elsewhere
                yield from properties(value, f"{path}.{key}")


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_property_is_described() -> None:
    found = dict(properties(SCHEMA))
    assert len(found) > 100
    assert [name for name, field in found.items() if not field.get("description")] == []


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_shipped_specs_are_valid(path: Path) -> None:
    assert errors(path.read_text()) == []


@pytest.mark.parametrize(
    ("layer", "place", "message"),
    [
        ("{op: conv, out_channels: 3}", "op", "'conv' is not one of ["),
        ("{op: conv2d, kernel_size: 3}", "", "'out_channels' is a required property"),
        ("{op: relu, p: 0.5}", "", "Additional properties are not allowed ('p' was"),
        ("{op: dropout, p: 2}", "p", "2 is greater than or equal to the maximum of 1"),
        ("7", "", "7 is not of type 'object', 'null'"),
    ],
)
def test_what_is_wrong_with_a_layer_is_one_error(
    layer: str, place: str, message: str
) -> None:
    ((where, found),) = errors(f"{HEAD}layers: {{x: {layer}}}")
    assert where == f"layers.x.{place}".rstrip(".")
    assert found.startswith(message)


BLOCKS = """\
params: {width: 1.0, act: relu}
blocks:
  basic:
    params: {channels: , stride: 1}
    inputs: [x, skip]
    layers:
      conv:
        op: conv2d
        out_channels: $channels
        kernel_size: [$(stride + 2), 3]
        padding: {top: $stride}
        init: {weight: {normal: {std: $(0.1 * stride)}}}
        when: $(stride != 1)
      act: {op: $act, from: [conv], repeat: $stride, names: a$index}
      add: {op: add, from: [act, skip]}
      down: {layers: [{op: relu, name: x}, {layers: {a: {op: relu}}}], repeat: 2}
"""


@pytest.mark.parametrize(
    ("layer", "place", "message"),
    [
        ("{block: basic, with: {channels: $(64 * width)}, repeat: 2}", None, ""),
        ("{block: basic, first: {stride: 2}, '0': {conv: {stride: 2}}}", None, ""),
        (
            "{block: basic, with: {channels: [1]}}",
            "with.channels",
            "[1] is not of type",
        ),
        ("{block: basic, wiht: 3}", "wiht", "3 is not of type 'object', 'null'"),
        ("{block: 3}", "block", "3 is not of type 'string'"),
        ("{layers: [{op: rellu}]}", "layers.0.op", "'rellu' is not one of ["),
        ("{layers: [{op: relu}], when: 3}", "when", "3 is not valid under any of"),
        ("{op: relu, repeat: 0}", "repeat", "0 is not valid under any of"),
        ("{op: dropout, p: half}", "p", "'half' is not of type 'number'"),
        ("{op: dropout, p: $half}", None, ""),
        ("{op: reshape, shape: [$half, -1]}", None, ""),
        ("{op: add, from: [x, 3]}", "from", "['x', 3] is not valid under any of"),
    ],
)
def test_blocks_and_expressions(layer: str, place: str | None, message: str) -> None:
    found = errors(f"{HEAD}{BLOCKS}layers: {{x: {layer}}}")
    if place is None:
        assert found == []
    else:
        ((where, said),) = found
        assert where == f"layers.x.{place}"
        assert said.startswith(message)


def test_a_wrong_kind_of_schedule_is_one_error() -> None:
    text = f"{HEAD}layers: {{}}\ntraining: {{schedule: {{kind: poly, patience: 3}}}}"
    ((where, found),) = errors(text)
    assert where == "training.schedule.kind"
    assert found == "'poly' is not one of ['cosine', 'plateau', 'step']"


@pytest.mark.parametrize(
    ("overlay", "count"),
    [
        ("layers: {a: {op: relu, after: b}, b: null, c: {kernel_size: 3}}", 0),
        ("input: {height: 227}", 0),
        ("training: {schedule: {factor: 0.5}}", 0),
        ("placement: {devices: {gpu0: {memory: 6GiB}}}", 0),
        ("layers: {a: {op: rellu, after: b}}", 1),
        ("lyers: {}", 1),
    ],
)
def test_an_overlay_says_only_what_it_changes(overlay: str, count: int) -> None:
    assert len(errors(f"extends: base.yaml\n{overlay}")) == count


def test_a_spec_by_itself_must_be_complete() -> None:
    found = errors("specgen: 1\nname: Net\ninput: {channels: 3, height: 8}")
    assert sorted(message for _, message in found) == [
        "'layers' is a required property",
        "'width' is a required property",
    ]


def test_completion_offers_a_snippet_of_each_op() -> None:
    layer = SCHEMA["$defs"]["Layer"]
    snippets = {each["label"]: each["body"] for each in layer["defaultSnippets"]}
    assert list(snippets) == layer["properties"]["op"]["else"]["enum"]
    assert snippets["conv2d"] == {
        "op": "conv2d",
        "out_channels": "${1:64}",
        "kernel_size": "${2:3}",
    }
    assert snippets["relu"] == {"op": "relu"}


def test_the_schema_says_each_thing_once() -> None:
    """What all layers have in common was once wrapped again for each op: 1.2 MB."""
    assert len(json.dumps(SCHEMA)) < 150_000
