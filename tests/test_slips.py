"""Slips in blocks, expressions and placements: one error each, and help that works."""

from __future__ import annotations

import pytest
from helpers import compile_text, refused

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
