"""The JSON Schema by which an editor completes and checks a spec while it is written.

It says what the schema classes say. What a whole file adds - `extends`, `after`, layers
that are `null` or only changed - is added here; names and shapes are the compiler's.
"""

from __future__ import annotations

from typing import Any

from specgen.spec import Spec


def json_schema() -> dict[str, Any]:
    """Return the schema of a spec file, draft 2020-12."""
    schema = Spec.model_json_schema()
    sections = schema["properties"]
    layer = sections["layers"]["additionalProperties"]
    for reference in layer["oneOf"]:
        op = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        op["properties"]["after"] = {
            "type": "string",
            "description": "In an overlay: the layer that this new one follows.",
        }
    change = {
        "description": "In an overlay: the fields of the base's layer that change.",
        "type": "object",
        "not": {"required": ["op"]},
    }
    removed = {
        "description": "In an overlay: removes the base's layer.",
        "type": "null",
    }
    sections["layers"]["additionalProperties"] = {"anyOf": [layer, change, removed]}
    sections["extends"] = {
        "type": "string",
        "description": "The spec file that this one changes, relative to it.",
    }
    required = schema.pop("required")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
    }
