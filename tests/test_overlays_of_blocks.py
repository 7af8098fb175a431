"""Overlays and `--set` on groups, blocks and params, and on single instances."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_blocks import END, HEAD, RESNET

from specgen.compiler import Program, compile_file
from specgen.diagnostics import Diagnostic, SpecError
from specgen.frontend.resolved import resolved

BASE = f"""{HEAD}{RESNET}  tail:
    layers:
      conv: {{op: conv2d, out_channels: 4, kernel_size: 1}}
      relu: {{op: relu}}
  list:
    layers:
      - {{op: conv2d, out_channels: 4, kernel_size: 1}}
      # between
      - {{op: relu}}
      - {{op: conv2d, out_channels: 5, kernel_size: 1}}
{END}"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def ops(program: Program) -> dict[str, str]:
    """Return the shape of each layer's output, and its op."""
    nodes = program.graph.nodes
    return {n.name: f"{n.op.op} {'x'.join(map(str, n.shape))}" for n in nodes}


def changed(base: Path, *sets: str, top: str = "") -> dict[str, str | None]:
    """Return the layers that options, or an overlay, change; None is one less."""
    path = base
    if top:
        path = base.with_name("top.yaml")
        path.write_text(f"extends: base.yaml\n{top}")
    before, after = ops(compile_file(base)), ops(compile_file(path, sets))
    names = [*before, *(name for name in after if name not in before)]
    return {n: after.get(n) for n in names if before.get(n) != after.get(n)}


def test_a_param_of_the_spec(base: Path) -> None:
    found = changed(base, "params.width=0.5")
    assert found["layer1.1.add"] == "add 4x16x16"
    assert found["layer2.1.add"] == "add 8x8x8"


def test_a_value_in_a_block_changes_every_use(base: Path) -> None:
    found = changed(base, "blocks.basic.layers.relu1={op: dropout}")
    assert found == {
        f"layer{i}.{j}.relu1": f"dropout {shape}"
        for i, shape in ((1, "8x16x16"), (2, "16x8x8"))
        for j in (0, 1)
    }


def test_a_value_of_one_use(base: Path) -> None:
    found = changed(base, "layers.layer1.with.channels=6")
    assert found["layer1.1.add"] == "add 6x16x16"
    assert found["layer1.0.downsample.0"] == "conv2d 6x16x16"
    assert "layer2.0.add" not in found
    assert set(changed(base, "layers.layer1.repeat=1")) == {
        f"layer1.1.{name}" for name in ("conv1", "relu1", "conv2", "add")
    }


def test_one_instance(base: Path) -> None:
    found = changed(base, "layers.layer2.1.relu1={op: dropout, p: 0.1}")
    assert found == {"layer2.1.relu1": "dropout 16x8x8"}
    found = changed(
        base,
        "layers.layer1.1.conv1.kernel_size=1",
        "layers.layer1.1.conv1.padding=null",
    )
    assert found == {}  # the shapes are the same
    top = 'layers: {layer1: {"1": {conv1: {kernel_size: 1, padding: 0}}}}'
    path = base.with_name("top.yaml")
    path.write_text(f"extends: base.yaml\n{top}\n")
    for program in (
        compile_file(path),
        compile_file(
            base,
            [
                "layers.layer1.1.conv1.kernel_size=1",
                "layers.layer1.1.conv1.padding=0",
            ],
        ),
    ):
        sizes = [
            op.kernel_size  # type: ignore[union-attr]
            for name, op in program.spec.layers.items()
            if name in ("layer1.0.conv1", "layer1.1.conv1")
        ]
        assert sizes == [(3, 3), (1, 1)]


def test_another_op_of_one_instance_replaces_its_fields(base: Path) -> None:
    assert changed(base, "layers.layer2.1.conv1={op: relu}") == {
        "layer2.1.conv1": "relu 16x8x8"
    }


def test_an_expression_for_one_instance(base: Path) -> None:
    sets = ["params.more=3", "layers.layer2.1.conv1.out_channels=$(channels + more)"]
    found = changed(base, *sets)
    assert found == {
        "layer2.1.conv1": "conv2d 19x8x8",
        "layer2.1.relu1": "relu 19x8x8",
    }


def test_params_and_parts_of_one_instance(base: Path) -> None:
    found = changed(base, "layers.layer2.1.with.channels=8")
    assert found["layer2.1.add"] == "add 8x8x8"
    assert found["layer2.1.downsample.0"] == "conv2d 8x8x8"
    assert changed(base, "layers.layer2.0.relu1=null") == {"layer2.0.relu1": None}
    assert changed(base, "layers.layer2.0.downsample.1=null") == {
        "layer2.0.downsample.1": None
    }


def test_entries_of_a_group_come_and_go(base: Path) -> None:
    found = changed(base, top="layers: {tail: {layers: {relu: null}}}")
    assert found == {"tail.relu": None}
    found = changed(
        base,
        top="layers: {tail: {layers: {drop: {op: dropout, after: conv}}}}",
    )
    assert found == {"tail.drop": "dropout 4x8x8"}
    top = "blocks: {basic: {layers: {drop: {op: dropout, after: conv1}, relu1: null}}}"
    found = changed(base, top=top)
    assert found["layer1.0.drop"] == "dropout 8x16x16"
    assert found["layer1.0.relu1"] is None
    new = "layers: {more: {layers: [{op: relu}], after: tail}, layer2: null}"
    assert changed(base, top=new)["more.0"] == "relu 4x16x16"


def test_items_of_a_list_are_changed_by_their_numbers(base: Path) -> None:
    found = changed(base, "layers.list.layers.2.out_channels=7")
    assert found == {"list.2": "conv2d 7x8x8", "flat": "flatten 448"}
    found = changed(base, top='layers: {list: {layers: {"1": {op: dropout}}}}')
    assert found == {"list.1": "dropout 4x8x8"}
    found = changed(base, "layers.list.layers.1=null")
    assert found == {"list.1": "conv2d 5x8x8", "list.2": None}
    assert changed(base, "layers.list.layers.1.when=false") == found
    # The others keep their names if one instance is removed.
    assert changed(base, "layers.list.1=null") == {"list.1": None}


def caret(problem: Diagnostic) -> str:
    assert problem.span
    start = problem.span.column - 1
    return problem.span.text[start : start + problem.span.length]


@pytest.mark.parametrize(
    ("option", "code", "marked", "message", "help"),
    [
        (
            "layers.layer1.1.conv1.stride=0",
            "out-of-range",
            "0",
            "must be at least 1, got 0",
            None,
        ),
        (
            "layers.layer1.2.conv1.stride=1",
            "unknown-key",
            "2",
            "unknown key 2: nothing inside has this name",
            None,
        ),
        (
            "layers.layer1.0.conv3.stride=1",
            "unknown-key",
            "conv3",
            "unknown key conv3: nothing inside has this name",
            "the nearest name is conv2",
        ),
        (
            "layers.layer1.wiht={channels: 3}",
            "unknown-key",
            "wiht",
            "unknown key wiht: nothing inside has this name",
            "the nearest name is with",
        ),
        (
            "layers.layer1.1.when=false",
            "unknown-key",
            "when",
            "unknown key when: nothing inside has this name",
            "to leave out 1, write null: 1: null",
        ),
        (
            "layers.layer1.1.relu1.when=false",
            "unknown-key",
            "when",
            "unknown key when: a single layer has only its fields",
            "to leave out relu1, write null: relu1: null",
        ),
        (
            "layers.layer1.0.conv1=3",
            "wrong-type",
            "3",
            "expected a mapping, got 3",
            None,
        ),
        (
            "layers.layer1.0.add=null",
            "bad-from",
            "null",
            "an entry that is left out reads one input, not 2",
            None,
        ),
        (
            "layers.layer1.0.with.chanels=3",
            "unknown-param",
            "chanels",
            "the block basic has no param chanels",
            "the nearest name is channels",
        ),
        (
            "layers.list.layers.3.op=relu",
            "new-layer",
            "3",
            "there is no layer 3 to change",
            "it has the items 0 to 2",
        ),
        (
            "layers.tail.layers.relv={op: relu}",
            "new-layer",
            "relv",
            "the new layer relv does not say where it goes",
            "add after: NAME of a layer, or after: input",
        ),
        (
            "layers.tail.layers.relv.p=1",
            "new-layer",
            "relv",
            "there is no layer relv to change",
            "the nearest name is relu",
        ),
        (
            "blocks.basic.layers.relu3=null",
            "nothing-to-remove",
            "relu3",
            "there is no layer relu3 to remove",
            "the nearest name is relu1",
        ),
        (
            "layers.layer1.0.conv1.stride=$(1 +)",
            "bad-expression",
            "$(1 +)",
            "this expression is not complete",
            None,
        ),
        (
            "layers.layer1.0.conv1.stride=$strid",
            "unknown-param",
            "$strid",
            "there is no param strid",
            "the nearest name is stride",
        ),
        (
            "layers.layer1.1.with.channels=$(2 * widht)",
            "unknown-param",
            "$(2 * widht)",
            "there is no param widht",
            "the nearest name is width",
        ),
        (
            "blocks.basic.params.stride=$(2 *)",
            "bad-expression",
            "$(2 *)",
            "this expression is not complete",
            None,
        ),
        (
            "blocks.basc.layers.conv1.stride=2",
            "unknown-block",
            "basc",
            "there is no block basc to change",
            "the nearest name is basic",
        ),
        (
            "blocks.basic.params.strid=2",
            "no-effect",
            "strid",
            "nothing in basic uses the param strid",
            "the nearest name is stride",
        ),
        (
            "blocks.basi={layers: [{op: relu}]}",
            "no-effect",
            "basi",
            "no layer uses the block basi",
            "the nearest name is basic",
        ),
        (
            "params.widht=1",
            "no-effect",
            "widht",
            "nothing uses the param widht",
            "the nearest name is width",
        ),
    ],
)
def test_a_wrong_option_has_its_place(
    base: Path, option: str, code: str, marked: str, message: str, help: str | None
) -> None:
    with pytest.raises(SpecError) as caught:
        compile_file(base, [option])
    (found,) = caught.value.diagnostics
    assert (found.code, found.message, found.help) == (code, message, help)
    assert caret(found) == marked
    assert found.span
    assert found.span.file == f"--set {option}"


PLACED = """\
placement:
  devices: {a: {}, b: {}}
  layers: {stem..layer1: a, layer2: b, tail.conv: a, tail.relu: b, list..fc: a}
"""


def test_a_placement_follows_groups(base: Path) -> None:
    base.write_text(BASE + PLACED)

    def where(*sets: str) -> dict[str, str]:
        layers = compile_file(base, sets).placed.layers
        return {layer.node.name: layer.shares[0].device for layer in layers}

    usual = where()
    found = where("layers.tail.layers.relu=null")
    assert found == {n: d for n, d in usual.items() if n != "tail.relu"}
    found = where("layers.layer1=null")
    assert found == {n: d for n, d in usual.items() if not n.startswith("layer1.")}
    found = where("layers.tail=null")
    assert found == {n: d for n, d in usual.items() if not n.startswith("tail.")}
    found = where("layers.tail.layers.drop={op: dropout, after: conv}")
    assert found == usual | {"tail.drop": "a"}
    found = where("layers.more={block: basic, with: {channels: 4}, after: layer2}")
    assert {found[name] for name in found if name.startswith("more.")} == {"b"}


def test_the_resolved_spec_builds_the_same(base: Path) -> None:
    sets = [
        "params.width=2",
        "layers.layer2.1.conv1.kernel_size=1",
        "layers.layer2.1.conv1.padding=0",
        "layers.tail.relu=null",
        "blocks.basic.layers.relu1.when=$(channels > 3)",
    ]
    program = compile_file(base, sets)
    text = resolved(program.spec, program.source)
    again = compile_file(base, text=text.encode())
    assert again.graph == program.graph
    assert "# between" in text
    assert "# the shortcut" in text
    assert resolved(again.spec, again.source) == text
    origins = resolved(program.spec, program.source, origins=True)
    assert compile_file(base, text=origins.encode()).graph == program.graph
    (line,) = [line for line in origins.splitlines() if "when: $(channels" in line]
    assert line.endswith("# --set blocks.basic.layers.relu1.when=$(channels > 3)")
