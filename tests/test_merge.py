from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlays import BASE, all_paths, errors, merged, one, write
from reading import ALEXNET, ALEXNET_FILE

from specgen.frontend import merge
from specgen.frontend.overlay import load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def test_an_empty_overlay_changes_nothing() -> None:
    base, top = load(Path("base.yaml")), merged(write(""))
    assert (top.data, top.keys, top.values) == (base.data, base.keys, base.values)
    assert top.comments == base.comments


def test_mappings_merge_key_by_key() -> None:
    source = merged(write("name: Other\nlayers: {conv1: {padding: {left: 1}}}"))
    assert source.data["name"] == "Other"
    assert source.data["layers"]["conv1"] == {
        "op": "conv2d",
        "out_channels": 96,
        "kernel_size": 11,
        "padding": {"bottom": 3, "right": 3, "left": 1},
    }


def test_scalars_lists_and_a_whole_placement_are_replaced() -> None:
    text = "placement: {devices: {a: {}}, layers: {conv1..pool1: a}}"
    data = merged(write(f"{text}\ndata: {{augment: [flip]}}")).data
    assert data["placement"] == {"devices": {"a": {}}, "layers": {"conv1..pool1": "a"}}
    assert data["data"] == {"augment": ["flip"]}


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("{op: linear}", {"op": "linear"}),
        ("{op: conv2d}", "base"),
        ("{kernel_size: 11}", "base"),
        ("7", 7),
    ],
)
def test_a_layer_is_replaced_when_its_op_changes(text: str, layer: Any) -> None:
    expected = load(Path("base.yaml")).data["layers"]["conv1"]
    layers = merged(write(f"layers: {{conv1: {text}}}")).data["layers"]
    assert layers["conv1"] == (expected if layer == "base" else layer)
    assert list(layers) == ["conv1", "relu1", "norm1", "pool1"]


def test_null_removes() -> None:
    text = "layers: {norm1: null, conv1: {padding: ~}}\ndata:\n"
    source = merged(write(text))
    assert list(source.data) == ["specgen", "name", "layers", "placement"]
    assert list(source.data["layers"]) == ["conv1", "relu1", "pool1"]
    assert "padding" not in source.data["layers"]["conv1"]
    gone = {("layers", "norm1"), ("layers", "conv1", "padding"), ("data",)}
    assert not [path for path in source.values if path[:3] in gone or path[:2] in gone]


def test_null_inside_a_new_value_is_a_value() -> None:
    text = "placement: {devices: {gpu0: null}, layers: {}}\nother: {x: null}"
    data = merged(write(text)).data
    assert data["placement"] == {"devices": {"gpu0": None}, "layers": {}}
    assert data["other"] == {"x": None}


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("bn: {op: bn, after: conv1}", "conv1 bn relu1 norm1 pool1"),
        ("bn: {op: bn, after: pool1}", "conv1 relu1 norm1 pool1 bn"),
        ("bn: {op: bn, after: input}", "bn conv1 relu1 norm1 pool1"),
        # As written: a second one after the same layer goes after the first.
        (
            "a: {op: x, after: relu1}, b: {op: x, after: relu1}",
            "conv1 relu1 a b norm1 pool1",
        ),
        (
            "a: {op: x, after: relu1}, b: {op: x, after: a}, c: {op: x, after: relu1}",
            "conv1 relu1 a b c norm1 pool1",
        ),
        (
            "a: {op: x, after: relu1}, b: {op: x, after: relu1}, c: {op: x, after: a}",
            "conv1 relu1 a c b norm1 pool1",
        ),
        # A removed layer still determines the place of the new one.
        ("norm1: null, bn: {op: bn, after: norm1}", "conv1 relu1 bn pool1"),
        ("bn: {op: bn, after: norm1}, norm1: null", "conv1 relu1 bn pool1"),
    ],
)
def test_after_places_a_new_layer(text: str, order: str) -> None:
    path = write(f"layers: {{{text}}}")
    layers = merged(path).data["layers"]
    assert list(layers) == order.split()
    assert not any("after" in layer for layer in layers.values())


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (["a={op: x, after: conv1}", "b={op: x, after: conv1}"], "conv1 a b relu1"),
        (
            ["a={op: x, after: conv1}", "a=null", "a.op=x", "a.after=input"],
            "a conv1 relu1",
        ),
        (["a={op: x, after: conv1}", "conv1=null", "b={op: x, after: a}"], "a b relu1"),
        (
            ["a={op: x, after: conv1}", "a=null", "a={op: x, after: relu1}"],
            "conv1 relu1 a",
        ),
        (["a={op: x, after: input}", "b={op: x, after: input}"], "a b conv1 relu1"),
    ],
)
def test_options_place_new_layers_as_files_do(options: list[str], order: str) -> None:
    path = write("layers: {norm1: null, pool1: null}")
    sets = [f"layers.{option}" for option in options]
    assert list(merged(path, *sets).data["layers"]) == order.split()


def test_only_the_first_errors_suggest_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge, "MOST_COMPARED", 400)  # with four layers each time
    layers = ", ".join(f"pool{index}: null" for index in range(2, 300))
    found = errors(write(f"layers: {{{layers}}}"))
    helped = [error for error in found if error.help == "the nearest name is pool1"]
    assert len(found) == 298
    assert helped == found[:100]


def test_a_chain_of_overlays() -> None:
    write("layers: {bn: {op: bn, after: conv1}, norm1: null}", "middle.yaml")
    path = write("layers: {bn: {size: 2}}", head="middle.yaml")
    source = merged(path)
    assert list(source.data["layers"]) == ["conv1", "bn", "relu1", "pool1"]
    assert source.data["layers"]["bn"] == {"op": "bn", "size": 2}
    assert list(source.files) == [Path("base.yaml"), Path("middle.yaml"), path]
    assert source.files[Path("base.yaml")] == BASE.encode()
    assert "extends" not in source.data


def test_a_base_may_be_in_a_subfolder() -> None:
    write("name: Deep", "sub/deep.yaml", head="")
    write("layers: {}", "sub/middle.yaml", head="deep.yaml")
    assert merged(write("", head="./sub/middle.yaml")).data["name"] == "Deep"


def test_every_place_is_in_the_file_that_gave_the_value() -> None:
    text = """\
# Wider.
layers:
  # Smaller.
  conv1: {kernel_size: 7}
  norm1: {op: batch_norm2d, eps: 1e-3}
"""
    path = write(text)
    source = merged(path, "layers.pool1.kernel_size=2")

    def file(*path: str, key: bool = False) -> str:
        return (source.keys if key else source.values)[path].file

    assert file("layers", "conv1", key=True) == "base.yaml"
    assert file("layers", "conv1", "out_channels") == "base.yaml"
    assert file("layers", "conv1", "kernel_size") == str(path)
    assert file("layers", "conv1", "kernel_size", key=True) == str(path)
    assert file("layers", "norm1") == str(path)
    assert file("layers", "norm1", "eps", key=True) == str(path)
    assert file("layers", "pool1", "kernel_size") == "--set layers.pool1.kernel_size=2"
    assert ("layers", "norm1", "size") not in source.values
    assert source.comments == {
        ("layers",): ("Wider.",),
        ("layers", "conv1"): ("Smaller.",),
    }


# --- wrong overlays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers: {norm2: null}", ("nothing-to-remove", "norm2")),
        ("layers: {conv1: {bias: null}}", ("nothing-to-remove", "bias")),
        ("training: null", ("nothing-to-remove", "training")),
        ("layers: {conv11: {kernel_size: 7}}", ("new-layer", "conv11")),
        ("layers: {conv11: 7}", ("new-layer", "conv11")),
        ("layers: {bn: {op: bn}}", ("new-layer", "bn")),
        ("layers: {bn: {op: bn, after: conv2}}", ("new-layer", "conv2")),
        ("layers: {bn: {op: bn, after: bn}}", ("new-layer", "bn")),
        ("layers: {bn: {op: bn, after: [conv1]}}", ("new-layer", "[conv1]")),
        ("layers: {conv1: {after: pool1}}", ("misplaced-after", "after")),
    ],
)
def test_an_overlay_s_error_is_in_the_overlay(
    text: str, expected: tuple[str, str]
) -> None:
    path = write(text)
    assert one(path) == expected
    assert [error.span and error.span.file for error in errors(path)] == [str(path)]


def test_help_gives_the_nearest_name() -> None:
    text = "layers: {norn1: null, conv11: {}, bn: {op: bn, after: rellu1}}"
    found = {error.help for error in errors(write(text))}
    assert found == {
        f"the nearest name is {name}" for name in ["norm1", "conv1", "relu1"]
    }


def test_a_misplaced_layer_is_still_checked() -> None:
    text = "layers: {bn: {op: bn}, conv1: {after: x, groups: 3}}"
    layers = load(write(text)).data["layers"]
    assert layers["bn"] == {"op": "bn"}
    assert layers["conv1"]["groups"] == 3
    assert "after" not in layers["conv1"]


def test_problems_of_all_files_and_options_are_found_at_once() -> None:
    Path("base.yaml").write_text(BASE + "seed: .nan\n")
    path = write("name: .inf\nlayers: {norm2: null}")
    found = errors(path, "a=", "name=.nan", "layers.norm3=null")
    assert [(error.code, error.span and error.span.file) for error in found] == [
        ("bad-set", "--set a="),
        ("nothing-to-remove", "--set layers.norm3=null"),
        ("bad-number", "--set name=.nan"),
        ("bad-number", "base.yaml"),
        ("bad-number", "top.yaml"),
        ("nothing-to-remove", "top.yaml"),
    ]


PIECES = ["null", "1", "{}", "[]", "{op: relu}", "{op: relu, after: conv1}", "x"]


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(PIECES)), max_size=6))
def test_places_and_data_agree_after_any_merge(changes: list[tuple[int, str]]) -> None:
    paths = [path for path in load(ALEXNET_FILE).keys if ".." not in path]
    options = [
        f"{'.'.join(map(str, paths[index % len(paths)]))}{suffix}={value}"
        for index, value in changes
        for suffix in ("", ".new")
    ]
    source = load(ALEXNET_FILE, options)
    assert set(source.values) == set(all_paths(source.data, ()))
    assert set(source.keys) == {
        p for p in source.values if p and isinstance(p[-1], str)
    }
    assert source.files == {ALEXNET_FILE: ALEXNET}


def test_problems_have_paths_that_the_data_has() -> None:
    Path("base.yaml").write_text(BASE + "seed: .nan\nlearn: {rate: .inf, more: *x}\n")
    text = "learn: {rate: 1, more: null}\nlayers: {x: {op: y}, norm2: null, conv11: {}}"
    problems = load(write(text)).problems
    assert {(problem.code, problem.path) for problem in problems} == {
        ("bad-number", ("seed",)),
        ("bad-number", ("learn", "rate")),
        ("unknown-anchor", None),
        ("new-layer", ("layers", "x")),
        ("new-layer", None),
        ("nothing-to-remove", None),
    }


def test_a_mapping_is_replaced_when_its_kind_changes() -> None:
    schedule = "training: {schedule: {kind: plateau, patience: 3}}\n"
    Path("base.yaml").write_text(BASE + schedule)

    def merge(overlay: str) -> Any:
        source = merged(write(f"training: {{schedule: {overlay}}}"))
        return source.data["training"]["schedule"]

    assert merge("{kind: cosine}") == {"kind": "cosine"}
    assert merge("{kind: plateau, drops: 2}") == merge("{drops: 2}")
    assert merge("{drops: 2}") == {"kind": "plateau", "patience": 3, "drops": 2}
