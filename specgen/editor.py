"""The JSON Schema with which an editor completes and checks a spec.

It says what the schema classes say. What a whole file adds - `extends`, `after`, layers
that are `null` or only changed - is added here; the compiler checks names and shapes.
A mapping with `op` or `kind` is checked against that one definition only, so that its
errors are not hidden among everything that the others would need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from specgen.spec import Spec
from specgen.spec.entries import EXPRESSION_SCHEMA, GROUP, USE, Group, Use, Wiring

Schema = dict[str, Any]

DEFINITIONS = "$defs"
LAYER = f"#/{DEFINITIONS}/Layer"
LAYERS: Schema = {
    "type": ["object", "array"],
    "additionalProperties": {"$ref": LAYER},
    "items": {"$ref": LAYER},
}
# Placeholders that completion inserts for the required fields of a layer.
PLACEHOLDERS = {"out_channels": 64, "out_features": 10, "kernel_size": 3, "size": 5}


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat a key: editors show them as headings."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> Schema:
    """Return the schema of a spec file, draft 2020-12."""
    schema = Spec.model_json_schema(schema_generator=_Untitled)
    schema = _by_tag(schema, schema[DEFINITIONS])
    definitions, sections = schema[DEFINITIONS], schema["properties"]
    ops = [op for op in definitions.values() if "op" in op.get("properties", ())]
    definitions |= {
        model.__name__: model.model_json_schema(schema_generator=_Untitled)
        for model in (Group, Use)
    }
    layer = sections["layers"]["additionalProperties"]
    sections["layers"]["additionalProperties"] = {"$ref": LAYER}
    layer["description"] = (
        "A layer: an op, a group of layers, or a block. In an overlay, fields without"
        " op change the base's layer, and null removes it."
    )
    layer["type"] = ["object", "null"]
    layer["defaultSnippets"] = [
        _snippet(name, definitions[_name(branch["then"])])
        for name, branch in zip(
            layer["properties"]["op"]["enum"], layer["allOf"], strict=True
        )
    ]
    layer["allOf"] += [
        {
            "if": {"type": "object", "required": [key]},
            "then": {"$ref": f"#/{DEFINITIONS}/{name}"},
        }
        for key, name in ((GROUP, "Group"), (USE, "Use"))
    ]
    definitions["Layer"] = layer
    for name in ("Group", "Use"):
        # Other keys are names of what is inside: they change one instance.
        definitions[name]["additionalProperties"] = {"type": ["object", "null"]}
    for name in ("Group", "Block"):
        definitions[name]["properties"][GROUP] |= LAYERS
        definitions[name].pop("required", None)
    for definition in (*ops, definitions["Group"], definitions["Use"]):
        definition["properties"] |= _wiring()
    sections["extends"] = {
        "type": "string",
        "description": "the spec that this one changes, relative to this file",
    }
    for definition in (schema, *definitions.values()):
        _describe(definition, definitions)
    _allow_expressions(ops, definitions)
    layer["properties"]["op"] = _or_expression(layer["properties"]["op"])
    size = definitions["Input"].pop("required")
    whole = {
        "required": schema.pop("required"),
        "properties": {"input": {"required": size}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "if": {"required": ["extends"]},
        "then": {},
        "else": whole,
    }


def _wiring() -> Schema:
    """Return what every layer can say besides what it is."""
    found = Wiring.model_json_schema(schema_generator=_Untitled)["properties"]
    after = {
        "type": "string",
        "description": "in an overlay: the layer that a new layer follows",
    }
    for field in found.values():  # without null
        options = [o for o in field.pop("anyOf") if o != {"type": "null"}]
        field |= options[0] if len(options) == 1 else {"anyOf": options}
        field.pop("default", None)
    return {**found, "after": after}


def _allow_expressions(schemas: Iterable[Schema], definitions: Schema) -> None:
    """Let fields, wherever they are, be expressions; `op` has its own place."""
    done: set[str] = set()
    wiring = Wiring.model_fields.items()
    without = {"op", *(field.alias or name for name, field in wiring)}
    waiting = list(schemas)
    while waiting:
        schema = waiting.pop()
        waiting += schema.get("anyOf", ())
        if "$ref" in schema and (name := _name(schema)) not in done:
            done.add(name)
            waiting.append(definitions[name])
        if "items" in schema:
            schema["items"] = _or_expression(schema["items"])
            waiting.append(schema["items"]["else"])
        fields = schema.get("properties", {})
        for name, field in fields.items():
            if name not in without and "const" not in field:
                fields[name] = _or_expression(field)
                waiting.append(fields[name]["else"])


def _or_expression(schema: Schema) -> Schema:
    """Return a schema of what may also be an expression; without, errors are equal."""
    keys = {"description", "default"} & schema.keys()
    told = {key: schema[key] for key in sorted(keys)}
    rest = {key: value for key, value in schema.items() if key not in keys}
    return {**told, "if": EXPRESSION_SCHEMA, "then": {}, "else": rest}


def _by_tag(schema: Any, definitions: Schema) -> Any:
    """Let the tag of a mapping decide which definition it is checked against."""
    if isinstance(schema, list):
        return [_by_tag(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "discriminator" not in schema:
        found = {key: _by_tag(item, definitions) for key, item in schema.items()}
        inner = found.get("anyOf", [{}])[0]
        if "allOf" not in inner:
            return found
        del found["anyOf"]  # of this and null
        return {**inner, **found, "type": ["object", "null"]}
    tag = schema["discriminator"]["propertyName"]
    by_tag = schema["discriminator"]["mapping"]
    told = [_first(definitions[_name({"$ref": to})]) for to in by_tag.values()]
    kind = {
        "enum": list(by_tag),
        "enumDescriptions": told,
        "description": f"which {'layer' if tag == 'op' else tag} it is",
    }
    return {
        "type": "object",
        "properties": {tag: kind},
        "allOf": [
            {
                "if": {
                    "type": "object",
                    "properties": {tag: {"const": name}},
                    "required": [tag],
                },
                "then": {"$ref": to},
            }
            for name, to in by_tag.items()
        ],
    }


def _describe(definition: Schema, definitions: Schema) -> None:
    """Describe properties in the words of their definition."""
    for schema in (definition, *definition.get("anyOf", ())):
        for name, field in schema.get("properties", {}).items():
            _shorten_default(field)
            if "description" in field:
                continue
            if name in ("op", "kind"):
                field["description"] = _first(definition)
            for option in (field, *field.get("anyOf", ())):
                if "$ref" in option:
                    field["description"] = _first(definitions[_name(option)])


def _shorten_default(field: Schema) -> None:
    """Give a default as people write it: one number for both directions."""
    match field.get("default"):
        case [first, second] if first == second:
            field["default"] = first
        case None:
            field.pop("default", None)


def _first(definition: Schema) -> str:
    """Return the first paragraph of a definition's description."""
    text: str = definition.get("description") or definition["anyOf"][-1]["description"]
    return text.partition("\n\n")[0].replace("\n", " ")


def _snippet(op: str, definition: Schema) -> Schema:
    """Return what completion inserts for a layer: its op and the required fields."""
    body: Schema = {"op": op}
    for name in definition["required"]:
        if name != "op":
            body[name] = f"${{{len(body)}:{PLACEHOLDERS.get(name, '')}}}"
    return {"label": op, "description": _first(definition), "body": body}


def _name(reference: Schema) -> str:
    """Return the name of the definition that is referenced."""
    name: str = reference["$ref"].rpartition("/")[2]
    return name
