"""Specs that are wrong in ways nobody thought of: mutants of those in specs/."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from helpers import ROOT

PATHS = [*sorted(ROOT.glob("specs/*.yaml")), ROOT / "tests" / "blocks.yaml"]
SPECS = {path.name: path.read_text() for path in PATHS}
# Networks of these are larger: fewer mutants take as long.
ZOO = {path.name: path.read_text() for path in ROOT.glob("specs/zoo/*.yaml")}
OF_ZOO = 1 / 16

WORDS = """
0 1 -1 2 3 7 64 1000 1048576 1048577 4294967296 9223372036854775807
99999999999999999999
0.5 1.0 -0.0 1e-16 1e15 1e16 1e400 .nan .inf -.inf true false yes null ~ '' "" ' ' x é
漢
input split flatten relu softmax linear conv2d gpu0 conv1 fc8 momentum_buffer data class
[] [1] [1,2] [0,0] [1,2,3] {} {a:1} {op:relu} {op:softmax} {split:[gpu0]} {split:[]} *a
&a !!int !!str !x | > - ? : # @ ` % 1:30 010 0x10 0o7 3GiB -3GiB 1_000 conv1..prob
prob..conv1 ..conv1 conv1.. .. ... --- [[[[ }}}} 1e1000000 \\x1b[31m 2024-01-01
"\\ud800"
$width $channels $index $in.channels $(1+) $(9**9**9) $(1//0) when repeat from with
first layers block basic layer1.cell1 layer2.0.conv1 downsample
"""
VALUES = WORDS.split()
TOKEN = re.compile(r"[^\s{}\[\],:#]+")
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")

Mutation = Callable[[random.Random, str], str]


def _replaced(
    pattern: re.Pattern[str], draw: random.Random, text: str, new: str
) -> str:
    """Replace one of the matches."""
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = draw.choice(found)
    return text[: match.start()] + new + text[match.end() :]


def token(draw: random.Random, text: str) -> str:
    """Replace a word or a number by another value."""
    return _replaced(TOKEN, draw, text, draw.choice(VALUES))


def number(draw: random.Random, text: str) -> str:
    """Replace a number by another."""
    new = draw.choice([str(draw.randint(-2, 300)), str(2 ** draw.randint(0, 64))])
    return _replaced(NUMBER, draw, text, new)


def exchanged(draw: random.Random, text: str) -> str:
    """Replace a word of the spec by another of its words."""
    return _replaced(TOKEN, draw, text, draw.choice(TOKEN.findall(text) or [""]))


def character(draw: random.Random, text: str) -> str:
    """Drop, double or insert a character."""
    at = draw.randrange(len(text) + 1)
    new = draw.choice(["", text[at : at + 1] * 2, chr(draw.randrange(0x250))])
    new = draw.choice([new, draw.choice("{}[],:#&*!|>-?'\"%@`\t\n \0\x1b\u2028")])
    return text[:at] + new + text[at + 1 :]


def line(draw: random.Random, text: str) -> str:
    """Drop, repeat, move or indent a line."""
    lines = text.splitlines(keepends=True) or [""]
    at = draw.randrange(len(lines))
    taken = lines[at]
    match draw.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(draw.randrange(len(lines)), taken)
        case 2:
            del lines[at]
            lines.insert(draw.randrange(len(lines) + 1), taken)
        case _:
            lines[at] = draw.choice([" ", "  ", "    ", "- "]) + taken
    return "".join(lines)


def field(draw: random.Random, text: str) -> str:
    """Give a mapping one more key, known or not."""
    keys = re.findall(r"\w+(?=:)", text) or ["x"]
    new = f"{{{draw.choice([*keys, 'x'])}: {draw.choice(VALUES)}, "
    return _replaced(re.compile(r"\{"), draw, text, new)


def layers(draw: random.Random, text: str) -> str:
    """Repeat one layer under many names."""
    found = re.findall(r"^  (\w+): (\{op: .*\})", text, re.MULTILINE)
    if not found:
        return text
    _, op = draw.choice(found)
    new = "".join(f"  more{n}: {op}\n" for n in range(draw.choice([1, 5, 50])))
    return text.replace("layers:\n", f"layers:\n{new}", 1)


def placement(draw: random.Random, text: str) -> str:
    """Place the layers anywhere, on any number of devices, some with a budget."""
    names = re.findall(r"^  (\w+): \{op: ", text, re.MULTILINE)
    if not names:
        return text
    devices = [f"d{n}" for n in range(draw.choice([1, 2, 2, 3, 4, 8, 23, 24]))]
    budgets = draw.choice(["{}", "{}", "{memory: 1GiB}", "{memory: 1B}"])
    ends = sorted(draw.sample(range(1, len(names) + 1), min(3, len(names))))
    entries, start = [], 0
    for end in [*ends, len(names)]:
        if start < end:
            some = draw.sample(devices, draw.randint(1, len(devices)))
            on = ["split", some[0], f"{{split: [{', '.join(some)}]}}"]
            place = draw.choice([on[0], on[1], on[1], on[2]])
            entries.append(f"    {names[start]}..{names[end - 1]}: {place}\n")
        start = max(start, end)
    held = "".join(f"    {device}: {budgets}\n" for device in devices)
    placed = f"placement:\n  devices:\n{held}  layers:\n{''.join(entries)}"
    rest = re.sub(r"^placement:.*\n(?:[ #].*\n|\n)*", "", text, flags=re.MULTILINE)
    return rest.rstrip("\n") + "\n" + placed


def cut(draw: random.Random, text: str) -> str:
    """Cut the text off anywhere."""
    return text[: draw.randrange(len(text) + 1)]


MUTATIONS: tuple[Mutation, ...] = (
    *(token, token, token, number, number, exchanged, exchanged),
    *(placement, placement, character, line, field, layers, cut),
)


def mutant(number: int) -> tuple[str, dict[str, str]]:
    """Return the name of a spec, and all specs with it and its bases changed."""
    draw = random.Random(number)
    name = draw.choice(sorted(SPECS))
    files = dict(SPECS)
    if draw.random() < OF_ZOO:
        name = draw.choice(sorted(ZOO))
        files = {name: ZOO[name]}
    for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
        changed = name
        if "extends: alexnet.yaml" in files[name] and draw.random() < 0.5:
            changed = "alexnet.yaml"
        files[changed] = draw.choice(MUTATIONS)(draw, files[changed])
    return name, files
