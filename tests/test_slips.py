"""Slips in blocks, expressions and placements: one error each, and help that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import compile_text, refused

from specgen.compiler import compile_file, compile_read
from specgen.diagnostics import SpecError
from specgen.frontend.overlay import change
from specgen.source import parse

SPEC = """\
specgen: 1
name: Net
input: {channels: 3, height: 12, width: 12}
blocks:
  unit:
    params: {out: , act: relu}
    layers:
      conv: {op: conv2d, out_channels: $out, kernel_size: 3, padding: 1}
      act: {op: $act}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
  unit1: {block: unit, with: {out: 8}}
  sum: {op: add, from: [conv1, unit1]}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
placement:
  devices: {a: {memory: 3GiB}, b: {}}
  layers: {conv1..flat: {split: [a, b]}, fc2: a}
init: {weight: {normal: {std: 0.01}}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "code", "help", "follow"),
    [
        (
            "with: {out: 8}",
            "out: 8",
            "unknown-key",
            "it is a param of the block: with: {out: ...}",
            None,
        ),
        (
            "with: {out: 8}",
            "with: {out: 8, size: 3}",
            "unknown-param",
            "valid names are out, act",
            None,
        ),
        ("block: unit, with: {out: 8}", "op: unit", "unknown-op", None, None),
        ("op: $act", "op: act", "unknown-op", "write $act", "op: $act"),
        ("$out", "out", "wrong-type", "write $out", "$out"),
        ("$out", "1 * $out", "wrong-type", "write $(1 * out)", "$(1 * out)"),
        ("$out", "$out * 1", "bad-expression", "write $(out * 1)", "$(out * 1)"),
        ("$out", "'{{out}}'", "wrong-type", "write $(out)", "$(out)"),
        ("$out", "${out}", "yaml-syntax", "write $name or $(expression)", None),
        ("from: [", "inputs: [", "unknown-key", "it is called from here", "from: ["),
        (
            "{conv1..flat",
            "{conv1-flat",
            "unknown-layer",
            "write conv1..flat",
            "{conv1..flat",
        ),
        (
            "{split: [a, b]}",
            "[a, b]",
            "wrong-type",
            "write {split: [a, b]}",
            "{split: [a, b]}",
        ),
        (
            "{a: {memory: 3GiB}, b: {}}",
            "[a, b]",
            "wrong-type",
            "write {a: {}, b: {}}",
            "{a: {}, b: {}}",
        ),
        ("{memory: 3GiB}", "3GiB", "wrong-type", "write {memory: 3GiB}", None),
        ("{std: 0.01}", "0.01", "wrong-type", "write {std: 0.01}", "{std: 0.01}"),
    ],
)
def test_help_leads_to_no_other_error(
    right: str, wrong: str, code: str, help: str | None, follow: str | None
) -> None:
    assert right in SPEC
    (error,) = refused(SPEC.replace(right, wrong))
    assert error.code == code
    assert help is None or error.help == help
    assert compile_text(SPEC.replace(right, follow or right))


def test_a_block_needs_the_key_for_its_layers() -> None:
    lines = SPEC.replace("    layers:\n", "", 1)
    for text in (
        lines.replace("      conv:", "    conv:").replace("      act:", "    act:"),
        SPEC.replace(
            "    params: {out: , act: relu}\n    layers:", "    op: relu\n    x:"
        ),
    ):
        (error,) = refused(text)
        assert (
            error.message == "layers is missing: a block has its layers below that key"
        )
        assert error.span
        assert error.span.text == "  unit:"


def test_a_mistyped_key_for_layers_of_a_block_is_named() -> None:
    (error,) = refused(SPEC.replace("    layers:\n", "    layrs:\n", 1))
    assert (error.code, error.help) == ("unknown-key", "the nearest name is layers")


@pytest.mark.parametrize(
    ("option", "code", "help"),
    [
        ("layers/fc2.bias=false", "bad-set", "write layers.fc2.bias"),
        ("layers[fc2].bias=false", "bad-set", "write layers.fc2.bias"),
        ("layers.fc2.bias = false", "bad-set", "write layers.fc2.bias"),
        (
            "placement.layers.conv1 .. flat=a",
            "bad-set",
            "write placement.layers.conv1..flat",
        ),
        ("fc2.bias=false", "unknown-key", "it is a layer: layers.fc2"),
        (
            "fc3={op: linear, out_features: 2}",
            "unknown-key",
            "a layer belongs below layers, indented",
        ),
        (
            "input.shape=[3, 8, 8]",
            "unknown-key",
            "write channels: 3, height: 8, width: 8",
        ),
        (
            "training.epochs=9 epochs",
            "wrong-type",
            "write 9, without epochs",
        ),
    ],
)
def test_an_option_is_written_in_another_way(option: str, code: str, help: str) -> None:
    source = change(parse(SPEC.encode(), "net.yaml"), [option])
    with pytest.raises(SpecError) as caught:
        compile_read(source, "net")
    (error,) = caught.value.diagnostics
    assert (error.code, error.help) == (code, help)


def test_the_ending_of_a_name_is_missing(tmp_path: Path) -> None:
    (tmp_path / "net.yml").write_text(SPEC)
    with pytest.raises(SpecError) as caught:
        compile_file(tmp_path / "net")
    (error,) = caught.value.diagnostics
    assert (error.code, error.help) == ("cannot-read", "give the whole name, net.yml")


@pytest.mark.parametrize(
    ("text", "code", "help"),
    [
        ("extend: net.yaml\n", "unknown-key", "it is called extends here"),
        ("base: net.yaml\n", "unknown-key", "it is called extends here"),
        ("extends: net\n", "cannot-read", "give the whole name, net.yaml"),
        (
            "extends: net.yaml\nlayers: {relu1: {op: relu, before: flat}}\n",
            "new-layer",
            "write after: sum",
        ),
        (
            "extends: net.yaml\nlayers: {sum: none}\n",
            "wrong-type",
            "write null to remove a layer of the base",
        ),
        (
            "extends: net.yaml\nlayers: {sum: false}\n",
            "wrong-type",
            "write null to remove a layer of the base",
        ),
    ],
)
def test_an_overlay_is_written_in_another_way(
    text: str, code: str, help: str, tmp_path: Path
) -> None:
    (tmp_path / "net.yaml").write_text(SPEC)
    (tmp_path / "top.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        compile_file(tmp_path / "top.yaml")
    (error,) = caught.value.diagnostics
    assert (error.code, error.help) == (code, help)


@pytest.mark.parametrize(("default", "kind"), [("[]", "a list"), ("{}", "a mapping")])
def test_the_default_of_a_param_is_one_value(default: str, kind: str) -> None:
    conv = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: $(size // 2)}"
    text = f"""\
specgen: 1
name: Net
input: {{channels: 3, height: 8, width: 8}}
blocks: {{b: {{params: {{size: {default}}}, layers: {{c: {conv}}}}}}}
layers: {{x: {{block: b}}, flat: {{op: flatten}}, fc: {{op: linear, out_features: 3}}}}
"""
    (found,) = refused(text)
    assert found.message == f"expected a number, true, false or a word, got {kind}"
