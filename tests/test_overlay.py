from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlays import BASE, all_paths, errors, merged, one, write
from reading import ALEXNET, ALEXNET_FILE
from test_compiler import SPEC as WHOLE

from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic, SpecError, render_text
from specgen.frontend.overlay import load
from specgen.source import MAX_BYTES
from specgen.spec import Spec

FIGURES = st.sampled_from([0.5, 1e-3, 2])


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


def test_help_on_a_missing_file_has_the_nearest_name() -> None:
    (error,) = errors(Path("bse.yaml"))
    assert error == Diagnostic(
        "cannot-read",
        "cannot read bse.yaml: no such file or directory",
        help="the nearest name is base.yaml",
    )
    assert errors(write("", head="bas.yaml"))[0].help == error.help
    assert errors(Path("nosuch/deep.yaml"))[0].help is None


def test_a_large_base_is_not_read_completely() -> None:
    with Path("huge.yaml").open("wb") as file:
        file.truncate(100 * MAX_BYTES)
    (error,) = errors(write("", head="huge.yaml"))
    assert error.code == "too-large"


def test_the_name_of_a_base_is_short_unless_that_is_another_file() -> None:
    top = write("layers: {conv1: {groups: 2}}", "sub/top.yaml", "../base.yaml")
    assert [str(f) for f in load(top, root=Path()).files] == [
        "base.yaml",
        "sub/top.yaml",
    ]
    Path("far/away").mkdir(parents=True)
    Path("far/base.yaml").write_text(BASE)
    Path("link").symlink_to("far/away")
    top = write("layers: {conv1: {groups: 2}}", "link/top.yaml", "../base.yaml")
    assert str(next(iter(load(top, root=Path()).files))) == "link/../base.yaml"


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
        ("layers.conv2.groups=2", "new-layer", "conv2"),
        ("layers.nosuch=null", "nothing-to-remove", "nosuch"),
        ("layers.conv1.bias=null", "nothing-to-remove", "bias"),
        ("layers.bn={op: bn}", "new-layer", "bn"),
        ("layers.conv1={after: pool1}", "misplaced-after", "after"),
    ],
)
def test_a_wrong_option_is_an_error(option: str, code: str, place: str) -> None:
    assert one(Path("base.yaml"), option) == (code, place)


def test_an_option_s_error_is_shown_in_the_option() -> None:
    assert render_text(errors(Path("base.yaml"), "layers.cnv1.groups=2")) == (
        "error[new-layer]: there is no layer cnv1 to change\n"
        " --> --set layers.cnv1.groups=2:1:8\n"
        "  |\n"
        "1 | layers.cnv1.groups=2\n"
        "  |        ^^^^\n"
        "  = help: the nearest name is conv1"
    )


@pytest.mark.parametrize(
    ("option", "code", "place"),
    [
        ("layer.conv1.groups=2", "unknown-key", "layer"),
        ("layers.conv1.groups.x=2", "wrong-type", "groups"),
        ("name.x=2", "wrong-type", "name"),
        ("training.nosuch=2", "unknown-key", "nosuch"),
        ("training.schedule.factor=0.5", "missing-key", "schedule"),
        ("training.schedule=null", "wrong-type", "null"),
    ],
)
def test_the_value_at_a_path_is_checked_in_the_option(
    option: str, code: str, place: str
) -> None:
    Path("base.yaml").write_text(WHOLE)
    with pytest.raises(SpecError) as caught:
        compile_file(Path("base.yaml"), [option])
    (error,) = caught.value.diagnostics
    assert error.span
    marked = error.span.text[error.span.column - 1 :][: error.span.length]
    assert (error.code, marked) == (code, place)
    assert error.span.file == f"--set {option}"


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("training.optimizer.lr=0.1", lambda spec: spec.training.optimizer.lr == 0.1),
        ("data.size=36", lambda spec: spec.data.size == 36),
        ("init.bias=1", lambda spec: spec.init.bias == 1),
        (
            "placement.devices.gpu0.memory=3GiB",
            lambda spec: spec.placement.devices["gpu0"].memory == 3 * 2**30,
        ),
        ("layers.relu={op: relu, after: conv1}", lambda spec: "relu" in spec.layers),
        (
            "training.schedule={kind: cosine}",
            lambda spec: spec.training.schedule.kind == "cosine",
        ),
    ],
)
def test_what_the_spec_leaves_to_defaults_can_be_set(
    option: str, found: Callable[[Spec], bool]
) -> None:
    Path("base.yaml").write_text(WHOLE)
    assert found(compile_file(Path("base.yaml"), [option]).spec)


# --- options and overlays are one thing

SCHEDULES = st.one_of(
    st.fixed_dictionaries({"kind": st.just("cosine")}, optional={"final_lr": FIGURES}),
    st.just({"kind": "step", "epochs": [3, 5]}),
    st.fixed_dictionaries({}, optional={"patience": st.just(2), "factor": FIGURES}),
    st.none(),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "summary": st.text(st.characters(codec="ascii", categories=["L"]), min_size=1),
        "nosuch": st.just({"a": {"b": 1}}),
        "data": st.fixed_dictionaries(
            {}, optional={"size": st.just(256), "std": FIGURES, "flip": st.none()}
        ),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "schedule": SCHEDULES,
                "optimizer": st.fixed_dictionaries({"lr": FIGURES}),
                "epochs": st.none() | st.just(7),
            },
        ),
        "layers": st.dictionaries(
            st.sampled_from(["conv1", "relu3", "fc8", "new", "prob"]),
            st.one_of(
                st.none(),
                st.just(7),
                st.just({"op": "relu", "after": "pool5"}),
                st.just({"op": "conv2d", "out_channels": 8, "kernel_size": [3, 3]}),
                st.fixed_dictionaries({}, optional={"stride": st.just(2)}),
            ),
        ),
        "placement": st.sampled_from(
            [
                {"devices": {"gpu0": {"memory": "4GiB"}}},
                {"devices": {"gpu1": None}, "layers": {"conv1..prob": "gpu0"}},
                {"layers": {"fc8..prob": "gpu1"}},
                {"layers": {"new": "gpu1"}},
            ]
        ),
    },
)


def as_options(
    draw: Callable[..., Any], data: dict[str, Any], path: str = ""
) -> list[str]:
    """Say what an overlay says by options, each for a value or for a mapping."""
    options = []
    for key, value in data.items():
        if isinstance(value, dict) and value and draw(st.booleans()):
            options += as_options(draw, value, f"{path}{key}.")
        else:
            options.append(f"{path}{key}={json.dumps(value)}")
    return options


def outcome(path: Path, sets: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return the data, and the errors without their places."""
    source = load(path, sets)
    problems = [(p.code, p.message, p.path, p.help) for p in source.problems]
    return source.data, sorted(problems, key=str)


@given(st.data(), CHANGES)
def test_options_and_an_overlay_that_says_the_same(
    draw: st.DataObject, changes: dict[str, Any]
) -> None:
    options = as_options(draw.draw, changes)
    with TemporaryDirectory() as folder:
        base, top = Path(folder, "base.yaml"), Path(folder, "top.yaml")
        base.write_bytes(ALEXNET)
        top.write_text(json.dumps({"extends": "base.yaml", **changes}))
        expected = outcome(top)
        found = outcome(base, options)
        assert found == expected
        assert list(found[0].get("layers", ())) == list(expected[0].get("layers", ()))
        shuffled = draw.draw(st.permutations(options))
        assert outcome(base, shuffled) == expected


# --- hostile input


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_option_raises_anything_but_spec_errors(key: str, value: str) -> None:
    for option in (f"{key}={value}", f"layers.conv1.{key}={value}", key):
        with suppress(SpecError):
            source = load(ALEXNET_FILE, [option])
            assert set(source.values) == set(all_paths(source.data, ()))
