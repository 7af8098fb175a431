"""Whatever a spec's words and numbers are, what is generated is clean Python."""

from __future__ import annotations

import ast
import subprocess
import sys
import unicodedata
from pathlib import Path as FilePath
from typing import Any

import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from specgen.backends.layout import comments
from specgen.backends.prose import prose, width
from specgen.compiler import compile_read, render
from specgen.diagnostics import Path
from specgen.names import LONGEST, attribute_problem
from specgen.source import Source

Data = dict[str, Any]
Comments = dict[Path, tuple[str, ...]]

# Without the 100,000 that are all alike.
MANY = (
    "CJK UNIFIED",
    "CJK COMPAT",
    "HANGUL SYLLABLE",
    "TANGUT",
    "EGYPTIAN",
    "CUNEIFORM",
)
PRINTABLE = [
    c
    for c in map(chr, range(0x80, 0x110000))
    if c.isprintable() and not unicodedata.name(c, "").startswith(MANY)
]


def ruff(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", *map(str, arguments), "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True)


def passes(folder: FilePath) -> None:
    """Judge all files by the project's rules; those of a folder are siblings."""
    own = sorted({path.stem for path in folder.rglob("*.py")})
    settings = ("--config", ROOT / "pyproject.toml", folder)
    siblings = ("--config", f"lint.isort.known-first-party = {own}")
    for command in (("format", "--check"), ("check", *siblings)):
        done = ruff(*command, *settings)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("11 \u00d7 11 \u2013 \u2018wide\u2019", "11 x 11 - 'wide'"),
        ("a\u00a0b\u200b\u202ec\ufe0f \u3164", "a bc"),
        ("\u03b1 = 1e\u22124, 3\u03c3, ΔE", "alpha = 1e-4, 3sigma, ΔE"),
        ("5 \u00b5m, “Größe” x², ½, naïve…", "5 μm, “Größe” x², ½, naïve..."),
        (
            "\uff46\uff55\uff4c\uff4c\uff0c \U0001d41b\U0001d428\U0001d425 ﬁt",
            "full, bol fit",
        ),
        ("сеть \u0441 ветвями, 日本語", "сеть c ветвями, 日本語"),
        ("e\u0301t\u0065\u0301", "été"),
        ('say "no" \\', "say 'no' /"),
        ("noqa", "'noqa'"),
        ("see # NoQA: E501 and 'noqa'", "see # 'NoQA': E501 and 'noqa'"),
        ("type: ignore[x] of this type", "'type': ignore[x] of this type"),
        ("fmt: off, isort:skip", "'fmt': off, 'isort':skip"),
        ("pragma no cover", "'pragma' no cover"),
        ("-*- coding: latin-1 -*-", "-*- 'coding': latin-1 -*-"),
        ("/// script", "'///' script"),
        ("///script, C:\\\\\\x and file:///x", "///script, C:///x and file:///x"),
        (">>> 1 / 0", "'>>>' 1 / 0"),
        ("prototype: x, typed: y, a type", "prototype: x, typed: y, a type"),
    ],
)
def test_words_stay_unchanged_where_no_tool_obeys_them(
    words: str, written: str
) -> None:
    assert prose(words) == written
    assert prose(written) == written


def test_lookalikes_are_what_ruff_says_they_are(tmp_path: FilePath) -> None:
    file = tmp_path / "code.py"
    kept = {f"# {text}\n" for c in PRINTABLE for text in (prose(c), prose(f"x{c}"))}
    file.write_text("".join(sorted(kept)))
    done = ruff("check", "--isolated", "--select", "RUF003", file)
    assert done.returncode == 0, done.stdout[:2000]
    text = (ROOT / "specgen" / "backends" / "lookalikes.txt").read_text("utf-8")
    listed = [c for line in text.splitlines() for c in line.split(" ", 1)[1]]
    file.write_text("".join(f"# {c}\n" for c in listed))
    done = ruff("check", "--isolated", "--select", "RUF003", "-q", file)
    assert done.stdout.count("RUF003") == len(listed) == len(set(listed))


def test_no_character_is_wider_than_counted(tmp_path: FilePath) -> None:
    file = tmp_path / "code.py"
    shown = [c for c in PRINTABLE if prose(c) == c]
    file.write_text("".join(f"# x {c * (40 // width(c))}\n" for c in shown))
    done = ruff("check", "--isolated", "--select", "E501", "--line-length", 44, file)
    assert done.returncode == 0, done.stdout[:2000]
    assert [width(c) for c in "aé字⚙"] == [1, 1, 2, 2]


def test_long_words_and_wide_ones_are_broken() -> None:
    assert comments(["字" * 50], 8) == [
        " " * 8 + "# " + "字" * 38,
        " " * 8 + "# " + "字" * 12,
    ]


TOOLS = (
    *("noqa", "NOQA:E501", "type: ignore", "fmt: off", "fmt: skip", "ruff: noqa"),
    *(
        "mypy: ignore-errors",
        "pyright: strict",
        "isort: skip_file",
        "pylint: skip-file",
    ),
    *("pragma: no cover", "-*- coding: latin-1 -*-", "!/bin/sh", "/// script", "///"),
    *(">>> 1", '"""', "'''", "\\", "#", "{{ net }}", "{% raw %}", "TODO", "%%"),
    *(
        "\u2013",
        "\u00d7",
        "…",
        "“",
        "\u202e",
        "\u200b",
        "\u2028",
        "\ufeff",
        "字" * 60,
        "w" * 120,
    ),
)
WORDS = st.lists(
    st.sampled_from(TOOLS) | st.text(st.characters(exclude_categories=["Cs"])),
    max_size=6,
).map(" ".join)
FIGURES = st.floats(1e-15, 1e15, exclude_min=True) | st.sampled_from([1e-5, 0.1, 1e15])
LONGER = LONGEST - 1  # one more letter, in a share
NAMES = (
    st.sampled_from(["noqa", "fmt", "mypy", "pragma", "n" * LONGER, "Q" * LONGER])
    | st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,38}", fullmatch=True)
).filter(lambda name: attribute_problem(name) is None and name != "input")
CLASSES = st.just("N" * LONGEST) | NAMES.map(lambda name: f"N{name}")

LAYERS: tuple[Data, ...] = (
    {"op": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": {"top": 1}},
    {"op": "relu"},
    {"op": "local_response_norm", "size": 3},
    {"op": "spatial_response_norm", "size": 3},
    {"op": "max_pool2d", "kernel_size": 2},
    {"op": "flatten"},
    {"op": "linear", "out_features": 8},
    {"op": "dropout", "p": 0.1},
    {"op": "linear", "out_features": 3},
    {"op": "softmax"},
)
SCHEDULES: tuple[Data, ...] = (
    {"kind": "step", "epochs": list(range(1, 40))},
    {"kind": "plateau", "patience": 2**20, "drops": 2**20},
    {"kind": "cosine"},
)


def usable(figure: float) -> bool:
    return figure == 1 or abs(figure - 1) > 2**-23


@st.composite
def specs(draw: st.DrawFn) -> tuple[Data, Comments]:
    """Draw a spec with random text wherever text is free, and comments above keys."""
    figures, words = FIGURES.filter(usable), WORDS
    share = st.floats(1e-15, 0.999) | st.just(0.9)
    names = draw(
        st.lists(NAMES, min_size=12, max_size=12, unique_by=lambda n: n.rstrip("ab"))
    )
    first, second, *layers = names
    ops = [dict(layer) for layer in LAYERS]
    for op in ops:
        if op["op"] in ("conv2d", "linear"):
            op["init"] = {
                "bias": draw(figures),
                "weight": {"normal": {"std": draw(figures)}},
            }
        elif op["op"].endswith("_norm"):
            op |= {key: draw(figures) for key in ("alpha", "beta", "k")}
    places: list[Any] = ["split"] * 2 + [first] * 4 + ["split"] * 2 + [second] * 2
    data: Data = {
        "specgen": 1,
        "name": draw(CLASSES),
        "summary": draw(words),
        "reference": draw(words),
        "input": {"channels": 3, "height": 12, "width": 12},
        "layers": dict(zip(layers, ops, strict=True)),
        "placement": {
            "devices": {first: {}, second: {}},
            "layers": dict(zip(layers, places, strict=True)),
        },
        "data": {"size": 16, "flip": True, "color_noise": 0.1, "std": draw(figures)},
        "training": {
            "epochs": 90,
            "batch_size": 2**20,
            "warmup_epochs": draw(st.floats(1e-15, 89).filter(usable) | st.just(1e-5)),
            "label_smoothing": draw(share),
            "clip_grad_norm": draw(figures),
            "precision": "bfloat16",
            "accumulate": 2**20,
            "optimizer": {
                "lr": draw(figures),
                "momentum": draw(share),
                "weight_decay": draw(figures),
                "decay_biases": draw(st.booleans()),
                "lr_multipliers": {"weight": draw(figures), "bias": draw(figures)},
            },
            "schedule": draw(st.sampled_from(SCHEDULES)),
        },
    }
    keys = st.sampled_from(paths(data))
    texts = st.lists(words, min_size=1, max_size=2).map(tuple)
    return data, draw(st.dictionaries(keys, texts, min_size=5))


def paths(data: Data, above: Path = ()) -> list[Path]:
    """Return the path of every key."""
    found: list[Path] = []
    for key, value in data.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += paths(value, found[-1])
    return found


def python(data: Data, comments: Comments) -> dict[str, str]:
    """Return the generated Python files."""
    source = Source(data, {}, {}, comments, {})
    files = render(compile_read(source, "net"))
    return {name: text.decode() for name, text in files.items() if name.endswith(".py")}


def tree(text: str) -> str:
    """Return the code that Python sees, without the docstring of the file."""
    module = ast.parse(text)
    del module.body[0]
    compile(text, "net.py", "exec")
    return ast.dump(module)


def test_any_words_give_clean_python_and_change_no_code(tmp_path: FilePath) -> None:
    numbers = iter(range(10_000))

    @settings(max_examples=30)
    @given(specs())
    def check(drawn: tuple[Data, Comments]) -> None:
        data, comments = drawn
        files = python(data, comments)
        silent = python(data | {"summary": "", "reference": ""}, {})
        folder = tmp_path / f"net{next(numbers)}"
        folder.mkdir()
        for name, text in files.items():
            if text != silent[name]:
                assert tree(text) == tree(silent[name]), name
                (folder / name).write_text(text)

    check()
    passes(tmp_path)


def test_words_are_where_they_belong() -> None:
    data: Data = {
        "specgen": 1,
        "name": "Net",
        "input": {"channels": 3, "height": 4, "width": 4},
        "layers": {
            "flat": {"op": "flatten"},
            "fc1": {"op": "linear", "out_features": 2},
            "prob": {"op": "softmax"},
        },
    }
    above: Comments = {
        ("layers", name): (f"Above {name}.",) for name in ("flat", "fc1", "prob")
    }
    text = python(data, above)["model.py"]
    assert "        # Above flat.\n        # Above fc1.\n        self.fc1 = " in text
    assert "        # Above prob.\n        return F.softmax(logits, dim=1)\n" in text


def test_a_size_stays_on_one_line() -> None:
    for length in range(60, 90):
        lines = comments([f"{'n' * length} 11 x 11, x and 3 x 3 x 3"], 0)
        assert " ".join(line[2:] for line in lines).endswith("11 x 11, x and 3 x 3 x 3")
        assert all(len(line) <= 88 for line in lines)
        for size in ("11 x 11", "3 x 3 x 3"):
            assert any(size in line for line in lines)
