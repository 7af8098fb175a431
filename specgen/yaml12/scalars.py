"""Characters and plain scalars of YAML 1.2.

PyYAML reads YAML 1.1, where `1e-4` is a string, `010` is eight and `no` is false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import isinf

from specgen.diagnostics import Diagnostic, Span

MAX_BAD_CHARACTERS = 20  # reported; a binary file has millions

LINE_BREAK = re.compile(r"\r\n|\r|\n")
# Also refused: a byte order mark inside the text, and the line breaks of YAML 1.1 that
# YAML 1.2 and editors do not count as such (U+0085, U+2028, U+2029).
BAD_CHARACTERS = (
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
    "\U00010000-\U0010ffff]+"
)

NULL = {"", "~", "null", "Null", "NULL"}
BOOL = {"true": True, "True": True, "TRUE": True}
BOOL |= {"false": False, "False": False, "FALSE": False}
INT = re.compile(r"[-+]?[0-9]+")
OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@lru_cache(maxsize=1024)  # most words are in a spec many times
def scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar in the YAML 1.2 core schema.

    Raises ValueError, with the reason, for a number that cannot be used.
    """
    if text in NULL:
        return None
    if text in BOOL:
        return BOOL[text]
    if INT.fullmatch(text) or OCTAL_OR_HEX.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        # Python refuses to read more than 4300 decimal digits.
        number = int(text, base) if len(text) < 100 else 2**63
        if abs(number) >= 2**63:
            raise ValueError("this whole number does not fit in 64 bits")
        return number
    if FLOAT.fullmatch(text):
        value = float(text)
        if isinf(value):
            raise ValueError("this number is larger than a 64-bit float can hold")
        return value
    if NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that a spec can use")
    return text


def bad_characters(lines: list[str], file: str) -> Iterator[Diagnostic]:
    """Report what is not allowed in the text of a spec, the first of many.

    Bytes that are not UTF-8 are expected as surrogates (PEP 383).
    """
    if all(map(str.isprintable, lines)):
        return  # most specs; compiling the pattern takes 3 ms
    pattern = re.compile(BAD_CHARACTERS)
    count = 0
    for number, line in enumerate(lines, 1):
        for match in pattern.finditer(line):
            count += 1
            if count > MAX_BAD_CHARACTERS:
                return
            start, end = match.span()
            code = ord(match[0][0])
            span = Span(file, number, start + 1, end - start, line)
            if 0xDC80 <= code <= 0xDCFF:
                message = f"byte 0x{code - 0xDC00:02x} is not UTF-8"
                yield Diagnostic(
                    "not-utf8", message, help="save the file as UTF-8", span=span
                )
            else:
                message = f"character U+{code:04X} is not allowed in a spec"
                yield Diagnostic("bad-character", message, span=span)
