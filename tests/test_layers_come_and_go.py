"""What an overlay that adds and removes layers does to the rest of its base."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from specgen.compiler import Program, compile_file, render
from specgen.diagnostics import Diagnostic, SpecError
from specgen.frontend import ranges
from specgen.frontend.overlay import load

ALEXNET = ROOT / "specs/alexnet.yaml"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def variant(text: str) -> Program:
    Path("alexnet.yaml").write_bytes(ALEXNET.read_bytes())
    Path("top.yaml").write_text(f"extends: alexnet.yaml\n{text}\n")
    return compile_file(Path("top.yaml"))


def refused(text: str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        variant(text)
    (error,) = caught.value.diagnostics
    return error


# --- the placement


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("prob: null", {"conv1..drop7": "split", "fc8": "gpu0"}),
        ("drop7: null, relu7: null", {"conv1..fc7": "split", "fc8..prob": "gpu0"}),
        ("norm1: null", {"conv1..drop7": "split", "fc8..prob": "gpu0"}),
        (
            "drop: {op: dropout, after: conv1}",
            {"conv1..drop7": "split", "fc8..prob": "gpu0"},
        ),
        (
            "a: {op: relu, after: drop7}, b: {op: relu, after: a}",
            {"conv1..drop7": "split", "fc8..prob": "gpu0", "a": "split", "b": "split"},
        ),
        # After the removed end of a range: it goes to what is left of the range.
        (
            "a: {op: relu, after: drop7}, drop7: null",
            {"conv1..relu7": "split", "fc8..prob": "gpu0", "a": "split"},
        ),
    ],
)
def test_the_placement_follows(layers: str, expected: dict[str, str]) -> None:
    assert variant(f"layers: {{{layers}}}").spec.placement.layers == expected


def test_new_first_layers_go_where_the_next_one_is() -> None:
    first = "layers.a={op: dropout, after: input}"
    second = "layers.b={op: dropout, after: a}"
    placed = load(ALEXNET, [first, second]).data["placement"]["layers"]
    assert placed.items() >= {"a": "split", "b": "split"}.items()


def test_a_range_with_nothing_left_is_removed() -> None:
    Path("base.yaml").write_text(
        "layers: {a: 1, b: 2}\nplacement: {layers: {a: x, b: y}}"
    )
    placed = load(Path("base.yaml"), ["layers.b=null"]).data["placement"]["layers"]
    assert placed == {"a": "x"}


def test_an_entry_of_the_base_can_be_replaced() -> None:
    text = "layers: {prob: null}\nplacement: {layers: {fc8: gpu1, fc8..prob: null}}"
    layers = variant(text).spec.placement.layers
    assert layers == {"conv1..drop7": "split", "fc8": "gpu1"}


def test_a_placement_may_be_given_for_a_new_layer() -> None:
    text = "layers: {a: {op: relu, after: drop7}}\nplacement: {layers: {a: gpu1}}"
    assert variant(text).spec.placement.layers["a"] == "gpu1"


def test_an_overlay_s_own_placement_names_only_existing_layers() -> None:
    text = "layers: {prob: null}\nplacement: {devices: {a: {}}, layers: {%s: a}}"
    assert refused(text % "conv1..prob").code == "unknown-layer"
    assert variant(text % "conv1..fc8").spec.placement.layers == {"conv1..fc8": "a"}


def test_a_new_layer_that_cannot_be_split_is_refused_with_help() -> None:
    error = refused("layers:\n  norm: {op: local_response_norm, size: 3, after: conv3}")
    assert error.code == "cannot-split"
    assert error.span
    assert (error.span.file, error.span.line) == ("top.yaml", 3)
    assert error.help
    assert "place the layer on one device" in error.help


def test_a_new_layer_without_a_place_is_one_error() -> None:
    assert refused("layers: {bn: {op: relu}}").code == "new-layer"
    assert refused("layers: {bn: {op: relu, after: nosuch}}").code == "new-layer"


@given(st.data(), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_remaining_layers_stay_on_their_devices(
    draw: st.DataObject, gone: set[int], new: set[int]
) -> None:
    old = [f"x{index}" for index in range(10) if index not in new]
    order = [f"x{index}" for index in range(10)]
    cuts = sorted(draw.draw(st.sets(st.sampled_from(range(1, 10)))))
    placed: dict[str, int] = {}
    keys = []
    for number, (low, high) in enumerate(
        zip([0, *cuts], [*cuts, len(old)], strict=True)
    ):
        if names := old[low:high]:
            keys.append("..".join(dict.fromkeys([names[0], names[-1]])))
            placed |= dict.fromkeys(names, number)
    at = ranges.spans(order)
    kept = [name for name in order if int(name[1:]) not in gone]
    shrunk = [ranges.shrink(key, at, kept) for key in keys]
    for number, key in enumerate(shrunk):
        left = [name for name in kept if placed.get(name) == number]
        if key is None:
            assert not any(name in kept for name in old if placed[name] == number)
        elif left:
            first, _, last = key.partition("..")
            names = kept[kept.index(first) : kept.index(last or first) + 1]
            assert {placed.get(name, number) for name in names} == {number}
            assert set(left) <= set(names)


GROUPS = """\
layers:
  a: {op: relu}
  b: {op: relu}
  g:
    layers:
      c: {op: relu}
      d: {op: relu}
      e: {op: relu}
  f: {op: relu}
placement: {layers: {a..g.c: x, g.d: y, g.e..f: z}}
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["g.layers.c=null"], "a..b: x, g.d: y, g.e..f: z"),
        (["g.layers.c=null", "b=null"], "a: x, g.d: y, g.e..f: z"),
        (["g.layers.e=null"], "a..g.c: x, g.d: y, f: z"),
        (["f=null"], "a..g.c: x, g.d: y, g.e: z"),
        (["a=null", "b=null"], "g.c: x, g.d: y, g.e..f: z"),
        (["g=null"], "a..b: x, f: z"),
        (["g.layers.n={op: relu, after: input}"], "a..g.c: x, g.d: y, g.e..f: z"),
        (["g.layers.n={op: relu, after: d}"], "a..g.c: x, g.d: y, g.e..f: z, g.n: y"),
        (["n={op: relu, after: g}", "f=null"], "a..g.c: x, g.d: y, g.e..n: z"),
        (
            ["n={layers: {m: {op: relu}}, after: f}"],
            "a..g.c: x, g.d: y, g.e..f: z, n: z",
        ),
    ],
)
def test_the_placement_follows_into_groups(options: list[str], expected: str) -> None:
    Path("base.yaml").write_text(GROUPS)
    sets = [f"layers.{option}" for option in options]
    placed = load(Path("base.yaml"), sets).data["placement"]["layers"]
    assert ", ".join(f"{key}: {value}" for key, value in placed.items()) == expected


def test_a_range_grows_by_no_group_when_it_shrinks_to_one() -> None:
    Path("base.yaml").write_text(GROUPS.replace("a..g.c: x, g.d: y, g.e..f", "a..f"))
    placed = load(Path("base.yaml"), ["layers.a=null", "layers.b=null"])
    assert placed.data["placement"]["layers"] == {"g..f": "z"}


# --- what is said about the network


def about(text: str) -> tuple[str, str]:
    spec = variant(text).spec
    return spec.summary, spec.reference


SUMMARY = "AlexNet as published, two towers on two GPUs"
REFERENCE = "Krizhevsky, Sutskever & Hinton, NIPS 2012"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training: {epochs: 3}", (SUMMARY, REFERENCE)),
        ("layers: {conv1: {kernel_size: 11}}", (SUMMARY, REFERENCE)),
        ("summary: Mine", ("Mine", REFERENCE)),
        ("layers: {norm1: null}", (f"Based on: {SUMMARY}", REFERENCE)),
        ("input: {height: 227}", (f"Based on: {SUMMARY}", REFERENCE)),
        ("layers: {a: {op: relu, after: conv1}}", (f"Based on: {SUMMARY}", REFERENCE)),
        ("summary: Mine\nlayers: {norm1: null}", ("Mine", f"Based on: {REFERENCE}")),
        ("summary: null\nlayers: {norm1: null}", ("", f"Based on: {REFERENCE}")),
        (
            "summary: Mine\nreference: Me\nlayers: {norm1: null}",
            ("Mine", "Me"),
        ),
    ],
)
def test_another_network_is_based_on_the_described_one(
    text: str, expected: tuple[str, str]
) -> None:
    assert about(text) == expected


def test_based_on_is_added_once() -> None:
    variant("layers: {norm1: null}")
    program = compile_file(Path("top.yaml"), ["layers.norm2=null"])
    assert program.spec.summary == f"Based on: {SUMMARY}"
    assert b"Based on: AlexNet as published" in render(program)["model.py"]


# --- the folder of a run


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([], "alexnet"),
        (["layers.conv1.kernel_size=7"], "alexnet-conv1.kernel_size=7"),
        (["training.epochs=7", "data.flip=true"], None),
        (["layers.relu1={op: relu}"], None),
        (["summary=a/../b"], None),
    ],
)
def test_each_variant_has_a_run_folder_of_its_own(
    sets: list[str], expected: str | None
) -> None:
    files = render(compile_file(ALEXNET, sets))
    (line,) = (
        line for line in files["train.py"].decode().splitlines() if "runs/" in line
    )
    name = line.partition("runs/")[2].rstrip('"')
    assert len(name) <= 40
    if expected:
        assert name == expected
    else:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._=-")
        other = render(compile_file(ALEXNET, [*sets[:-1], sets[-1] + " "]))
        assert other["train.py"] != files["train.py"]
    assert f"runs/{name}/" in files["predict.py"].decode()


# --- where a base may be


def project(*marks: str) -> Path:
    Path("project/specs/variants").mkdir(parents=True)
    for mark in marks:
        Path("project", mark).mkdir()
    Path("project/specs/alexnet.yaml").write_bytes(ALEXNET.read_bytes())
    top = Path("project/specs/variants/top.yaml")
    top.write_text("extends: ../alexnet.yaml\nlayers: {norm1: null}")
    return top


@pytest.mark.parametrize("mark", [".git", "pyproject.toml"])
def test_a_base_may_be_anywhere_in_the_project(mark: str) -> None:
    assert "norm1" not in compile_file(project(mark)).spec.layers


def test_a_base_outside_the_project_needs_a_root() -> None:
    top = project("specs/variants/.git")
    with pytest.raises(SpecError) as caught:
        compile_file(top)
    (error,) = caught.value.diagnostics
    assert error.code == "extends-outside"
    assert error.help
    assert "--root" in error.help
    compile_file(top, root=Path("project"))
    with pytest.raises(SpecError):
        compile_file(top, root=Path("project/specs/variants"))


def test_links_do_not_lead_out_of_a_project() -> None:
    top = project(".git")
    Path("stranger.yaml").write_text("secret: 1")
    Path("project/specs/alexnet.yaml").unlink()
    Path("project/specs/alexnet.yaml").symlink_to(Path("stranger.yaml").resolve())
    with pytest.raises(SpecError) as caught:
        compile_file(top)
    assert [error.code for error in caught.value.diagnostics] == ["extends-outside"]


def test_a_name_may_equal_that_of_a_share_without_parameters() -> None:
    assert "relu5b" in variant("layers: {relu5b: {op: relu, after: relu5}}").spec.layers
    error = refused("layers: {conv5b: {op: relu, after: relu5}}")
    assert (error.code, error.message) == ("bad-name", "conv5b is also conv5 on gpu1")
