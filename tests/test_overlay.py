from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlays import BASE, all_paths, errors, merged, one, write
from reading import ALEXNET_FILE

from specgen.diagnostics import Diagnostic, SpecError, render_text
from specgen.frontend.overlay import load
from specgen.source import MAX_BYTES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


# --- files


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("nosuch.yaml", "cannot-read"),
        ("folder", "cannot-read"),
        ("pipe", "cannot-read"),
        ("loop.yaml", "cannot-read"),
        ('"nul\\0.yaml"', "cannot-read"),
        ("n" * 5000, "cannot-read"),
        ("../base.yaml", "extends-outside"),
        ("/etc/passwd", "extends-outside"),
        ("link.yaml", "extends-outside"),
        ("top.yaml", "extends-cycle"),
        ("other.yaml", "extends-cycle"),
        ("7", "wrong-type"),
        ("''", "wrong-type"),
        ("~", "wrong-type"),
        ("[base.yaml]", "wrong-type"),
    ],
)
def test_a_base_that_cannot_be_used(head: str, code: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("link.yaml").symlink_to("/etc/passwd")
    write("", "other.yaml", head="top.yaml")
    (error,) = errors(write("", head=head))
    assert error.code == code
    assert error.span
    place = "other.yaml" if head == "other.yaml" else "top.yaml"
    assert (error.span.file, error.span.line) == (place, 1)


def test_a_missing_file_has_its_nearest_name_as_help() -> None:
    (error,) = errors(Path("bse.yaml"))
    assert error == Diagnostic(
        "cannot-read",
        "cannot read bse.yaml: no such file or directory",
        help="the nearest name is base.yaml",
    )
    assert errors(write("", head="bas.yaml"))[0].help == error.help
    assert errors(Path("nosuch/deep.yaml"))[0].help is None


def test_a_large_base_is_not_read_whole() -> None:
    with Path("huge.yaml").open("wb") as file:
        file.truncate(100 * MAX_BYTES)
    (error,) = errors(write("", head="huge.yaml"))
    assert error.code == "too-large"


def test_errors_of_unreadable_files_come_with_those_of_options() -> None:
    path = write("a: 1\na: 2", head="nosuch.yaml")
    found = errors(path, "x", "layers.conv1.groups=[")
    assert [error.code for error in found] == [
        "yaml-syntax",
        "bad-set",
        "cannot-read",
        "duplicate-key",
    ]


# --- options


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        ("layers.conv1.kernel_size=7", "layers conv1 kernel_size", 7),
        ("layers.conv1.groups=2", "layers conv1 groups", 2),
        ("layers.conv1.alpha= 1e-4 ", "layers conv1 alpha", 1e-4),
        ("layers.conv1.bias=false", "layers conv1 bias", False),
        ("layers.conv1.size=[3, 5]", "layers conv1 size", [3, 5]),
        ("layers.conv1.init={bias: 1}", "layers conv1 init", {"bias": 1}),
        ("summary='a: b # c'", "summary", "a: b # c"),
        ("summary=a = b", "summary", "a = b"),
        ("summary=''", "summary", ""),
        ("placement.layers.conv1..pool1=gpu0", "placement layers conv1..pool1", "gpu0"),
        ("data.augment=[]", "data augment", []),
    ],
)
def test_an_option_sets_a_value(option: str, path: str, value: Any) -> None:
    source = merged(Path("base.yaml"), option)
    data: Any = source.data
    for key in path.split():
        data = data[key]
    assert data == value
    span = source.values[tuple(path.split())]
    assert (span.file, span.text) == (f"--set {option}", option)
    shown = option.partition("=")[2].strip()
    assert span.text[span.column - 1 :][: span.length] == shown


def test_options_mean_what_an_overlay_means() -> None:
    source = merged(
        Path("base.yaml"),
        "layers.norm1=null",
        "layers.conv1={padding: {left: 1}}",
        "layers.bn={op: bn, after: norm1}".replace("norm1", "conv1"),
        "layers.bn2={op: bn, after: conv1}",
        "layers.bn.eps=1",
    )
    layers = source.data["layers"]
    assert list(layers) == ["conv1", "bn", "bn2", "relu1", "pool1"]
    assert layers["conv1"]["padding"] == {"bottom": 3, "right": 3, "left": 1}
    assert layers["bn"] == {"op": "bn", "eps": 1}


def test_an_option_can_undo_what_one_before_it_did() -> None:
    new = "layers.bn={op: bn, after: conv1}"
    other = "layers.bn2={op: bn, after: conv1}"
    layers = merged(Path("base.yaml"), new, "layers.bn=null", new, other).data["layers"]
    assert list(layers) == ["conv1", "bn", "bn2", "relu1", "norm1", "pool1"]


@pytest.mark.parametrize(
    ("option", "code", "place"),
    [
        ("", "bad-set", ""),
        ("layers", "bad-set", "layers"),
        ("=1", "bad-set", "="),
        ("layers.=1", "bad-set", "="),
        (".layers=1", "bad-set", "."),
        ("name=", "bad-set", "="),
        ("name= # x", "bad-set", "="),
        ("name=a: b", "bad-set", "a: b"),
        ("name=- b", "bad-set", "- b"),
        ("name=a\nb", "bad-set", "\n"),
        ("name=[", "yaml-syntax", ""),
        ("name=a\x1b", "bad-character", "\x1b"),
        ("name=\udcff", "not-utf8", "\udcff"),
        ("name=.nan", "bad-number", ".nan"),
        ("name=*x", "unknown-anchor", "*x"),
        ("extends=base.yaml", "bad-set", "extends"),
        ("layer.conv1.groups=2", "bad-set", "layer"),
        ("layers.conv2.groups=2", "bad-set", "conv2"),
        ("layers.conv1.groups.x=2", "bad-set", "groups"),
        ("name.x=2", "bad-set", "name"),
        ("data.augment.0=2", "bad-set", "augment"),
        ("layers.conv1.bias=null", "nothing-to-remove", "bias"),
        ("layers.bn={op: bn}", "new-layer", "bn"),
        ("layers.conv1={after: pool1}", "misplaced-after", "after"),
    ],
)
def test_a_wrong_option_is_an_error(option: str, code: str, place: str) -> None:
    assert one(Path("base.yaml"), option) == (code, place)


def test_an_option_s_error_is_shown_in_the_option() -> None:
    assert render_text(errors(Path("base.yaml"), "layers.cnv1.groups=2")) == (
        "error[bad-set]: there is no layer cnv1 here\n"
        " --> --set layers.cnv1.groups=2:1:8\n"
        "  |\n"
        "1 | layers.cnv1.groups=2\n"
        "  |        ^^^^\n"
        "  = help: the nearest name is conv1"
    )


# --- hostile input


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_option_raises_anything_but_spec_errors(key: str, value: str) -> None:
    for option in (f"{key}={value}", f"layers.conv1.{key}={value}", key):
        with suppress(SpecError):
            source = load(ALEXNET_FILE, [option])
            assert set(source.values) == set(all_paths(source.data, ()))
