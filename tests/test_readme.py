"""The README of a generated folder: complete, and only text, whatever a spec says."""

from __future__ import annotations

import re

import pytest
from branching import residual
from helpers import TOWERS, compile_text, spec_text, towers
from hypothesis import given
from hypothesis import strategies as st

from specgen.backends import readme as backend
from specgen.compiler import Program, render
from specgen.markdown import code, escaped, table

# Unescaped, these open a cell, code, HTML, a link, an image, emphasis, math.
OPENING = re.compile(r"(?<!\\)(?:\\\\)*([|`<\[\]*_~$&])")


def readme(program: Program) -> str:
    return render(program)["README.md"].decode()


@pytest.fixture(scope="module")
def alexnet() -> str:
    return readme(compile_text(spec_text("alexnet"), "alexnet"))


def test_it_says_what_the_network_is(alexnet: str) -> None:
    lines = alexnet.splitlines()
    assert lines[:8:2] == [
        "# AlexNet",
        "AlexNet as published, two towers on two GPUs",
        "Krizhevsky, Sutskever \\& Hinton, NIPS 2012",
        "![AlexNet on gpu0 and gpu1](architecture.svg)",
    ]
    headings = [line[3:] for line in lines if line.startswith("## ")]
    assert headings == ["Layers", "Memory and traffic", "Recipe", "Commands"]
    for row in (
        "| `conv1` | `conv2d` | 11 | 4 | b3 r3 |  | 96x55x55 | 34,944 | 105,415,200 |",
        "| **total** |  |  |  |  |  |  | **60,965,224** | **724,406,816** |",
        "- `conv3`: The only convolution that reads both towers.",
        "| `gpu0` | `conv1..prob` | 32,531,112 | 483.17 MiB | 949.91 MiB | 3.00 GiB |"
        " 31% | 598 |",
        "| `fc8` | `gpu1` | `gpu0` | 8,192 | 2,097,152 |",
        "| **total** |  |  | **836,608** | **137,101,312** |",
        "| `training.epochs` | 90 | Section 5: roughly. |",
        "| `training.seed` | 0 |  |",
        "| `layers.fc6.init.bias` | 1 |  |",
        "python export.py runs/alexnet/checkpoint.safetensors",
        'net = AlexNet(devices=("cuda:0", "cuda:1"))',
    ):
        assert lines.count(row) == 1, row


def test_its_picture_is_in_the_folder_and_its_commands_too(alexnet: str) -> None:
    files = render(compile_text(spec_text("alexnet"), "alexnet"))
    assert set(re.findall(r"\]\((.*?)\)", alexnet)) <= set(files)
    assert set(re.findall(r"^python (\S+)", alexnet, re.M)) <= set(files)


def test_one_device_has_no_budget_and_no_traffic_to_show() -> None:
    text = readme(towers("one"))
    assert "of budget" not in text
    assert "copied from device to device" not in text
    assert 'devices=("cuda:0",))' in text


def test_starts_of_norms_are_there_if_they_say_something() -> None:
    norms = """  norm2: {op: batch_norm2d}
  norm3: {op: batch_norm2d, init: {weight: 0}}
  norm4:
    op: batch_norm2d
    # as usual
    init: {bias: 0}
  flat:"""
    text = readme(compile_text(TOWERS.replace("  flat:", norms)))
    found = [line for line in text.splitlines() if "`layers.norm" in line]
    assert found == [
        "| `layers.norm3.init.weight` | 0 |  |",
        "| `layers.norm4.init.weight` | 1 | as usual |",
        "| `layers.norm4.init.bias` | 0 |  |",
    ]


def test_comments_are_where_they_belong_once() -> None:
    commented = TOWERS.replace("  conv2:", "  # on conv2\n  conv2:")
    commented = commented.replace("init: {w", "# on the start\ninit: {w")
    commented = commented.replace("input: {c", "# on the image\ninput: {c")
    commented += "training:\n  # on the optimizer\n  optimizer: {lr: 0.5}\n"
    commented = commented.replace("\nspecgen: 1", "# for an editor\nspecgen: 1")
    text = readme(compile_text(commented))
    assert "for an editor" not in text
    for line in (
        "- `input`: on the image",
        "- `conv2`: on conv2",
        "| `init.weight` | kaiming\\_normal | on the start |",
        "| `training.optimizer.kind` | sgd | on the optimizer |",
        "| `training.optimizer.lr` | 0.5 |  |",
    ):
        assert text.splitlines().count(line) == 1, line
    for words in ("on conv2", "on the start", "on the image", "on the optimizer"):
        assert text.count(words) == 1


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("plain words, (1) and 2 x 3: a-b", "plain words, (1) and 2 x 3: a-b"),
        ("1. one", "1\\. one"),
        ("- item # no heading", "\\- item # no heading"),
        ("# heading", "\\# heading"),
        ("=== ", "\\==="),
        ("a | b", "a \\| b"),
        ("<script>&amp;", "\\<script\\>\\&amp;"),
        ("![x](javascript:y)", "!\\[x\\](javascript:y)"),
        ("**a** __b__ ~~c~~ `d`", "\\*\\*a\\*\\* \\_\\_b\\_\\_ \\~\\~c\\~\\~ \\`d\\`"),
        ("$x$ :smile: \\", "\\$x\\$ \\:smile: \\\\"),
        ("see https://a.org/b_c.", "see <https://a.org/b_c>."),
        ("www.a.org ftp://x", "www\\.a.org ftp\\://x"),
        ("two\nlines\x00", "two lines\\\\x00"),
    ],
)
def test_words_are_shown_unchanged(words: str, written: str) -> None:
    """What was tried with cmark-gfm, GitHub's parser."""
    assert escaped(words) == written


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_table_keeps_its_cells(a: str, b: str) -> None:
    """A bar after one backslash, or two, does not end a cell."""
    lines = table(("x", "y"), "<>", [(code(a), escaped(b))]).split("\n")
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3]


HOSTILE = "</td> | `x` <script>alert(1)</script> ![a](http://b/c) **d** [e]: # $f$ &lt;"


def test_hostile_words_change_nothing_but_words() -> None:
    """Apart from its words, the README of a hostile spec is like any other."""
    spec = TOWERS.replace("  conv2:", "  # WORDS\n  conv2:").replace(
        "summary: two towers that meet at conv2 and at the linear layers",
        "summary: 'WORDS'\nreference: 'WORDS'",
    )
    spec += "training:\n  # WORDS\n  epochs: 3\n"
    usual = readme(compile_text(spec)).splitlines()
    hostile = readme(compile_text(spec.replace("WORDS", HOSTILE))).splitlines()
    assert len(usual) == len(hostile)
    changed = [pair for pair in zip(usual, hostile, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 4
    for before, after in changed:
        start, end = before.split("WORDS")
        assert after.startswith(start)
        assert after.endswith(end)
        words = after[len(start) : len(after) - len(end)]
        assert words.count("<http://b/c>") == 1
        assert not OPENING.search(words.replace("<http://b/c>", ""))


def test_branches_have_a_column_of_what_is_read() -> None:
    program = towers("one")
    text = backend.render(program.spec, program.source, "net", residual())
    head, _, image, *_ = re.findall(r"^\|.*\|$", text, re.M)
    assert head.endswith("| MACs | from |")
    assert image.count("|") == head.count("|")
    assert re.search(r"^\| `layer1.0.add` \| .* \| `bn2, maxpool` \|$", text, re.M)
