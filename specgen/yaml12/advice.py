"""What to do about invalid YAML, in which the parser points behind the mistake."""

from __future__ import annotations

import re

from specgen.diagnostics import Span, short

# A key and its value, which YAML reads as one string without a colon and a space.
TIGHT = re.compile(r"([A-Za-z_]\w*)(:|\s*=\s*)([^\s:=].*)")
NO_COLON = re.compile(r"\s*([A-Za-z_][\w.]*)\s*\{")  # name {key: value}

# What parts of the parser's messages most often mean.
MEANING = {
    "mapping values are not allowed": "put a mapping in {braces}, a string in quotes",
    "cannot start any token": "a string that begins with this character needs quotes",
    "expected '-'": "begin every item of a list with a dash, or none",
    "did not find expected key": "put a string in quotes, or several keys in {braces}",
    "unexpected ':'": "put a space after the colon",
    "expected ',' or '}'": "put a comma between two keys, and a } at the end",
    "expected ',' or ']'": "put a comma between two values, and a ] at the end",
}


def advice(problem: str, span: Span, line_before: str) -> str | None:
    """Return the help for a message of the parser, which points to a span."""
    before, at = span.text[: span.column - 1], span.text[span.column - 1 :]
    if at[:1] == "\t":
        return "indent with spaces, not tabs"
    if at[:1] == ":" and (found := TIGHT.fullmatch(line_before)):
        written = f"{found[1]}: {short(found[3])}"
        where = "put a space after the colon" if found[2] == ":" else "put a colon"
        return f"{where} in the line before: {written}"
    if at.startswith("{") and before.endswith("$"):
        return "write $name or $(expression)"
    if at.startswith("//"):
        return "a comment begins with #"
    if found := NO_COLON.match(span.text):
        return f"put a colon after the name: {found[1]}: {{...}}"
    if "find expected ':'" in problem:
        name, _, value = at.partition(" ")
        return f"put a colon after the name: {short(f'{name}: {value}'.strip())}"
    is_key = "did not find expected key" in problem
    if at[:1] in ("}", "]") and (is_key or (at[0] == "]" and "'}'" in problem)):
        return f"there is one {at[0]} too many"
    if is_key and not before.strip():
        return "begin this line in the same column as those that it belongs to"
    return next((help for part, help in MEANING.items() if part in problem), None)
