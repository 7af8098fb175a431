"""Specs that mean no good: endless repeats, recursion, depth, long expressions."""

from __future__ import annotations

import pytest
from helpers import refused

from specgen.frontend import network

HEAD = """\
specgen: 1
name: Net
input: {channels: 3, height: 16, width: 16}
"""
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 10}\n"
GROUP = "{layers: {a: %s}}"


def nested(depth: int) -> str:
    """Return groups within each other, as far as YAML goes."""
    text = "{op: relu}"
    for _ in range(depth):
        text = GROUP % text
    return text


@pytest.mark.parametrize(
    ("sections", "layers", "code"),
    [
        ("", "  x: {op: relu, repeat: 1000000}\n", "too-large"),
        ("", "  x: {op: relu, repeat: $(2 ** 20)}\n", "too-large"),
        ("", "  x: {op: relu, repeat: $(2 ** 62)}\n", "out-of-range"),
        ("", "  x: {op: relu, repeat: $(9 ** 9 ** 9)}\n", "bad-expression"),
        (
            "",
            "  x: {layers: [{op: relu, repeat: 1000}], repeat: 1000}\n",
            "too-large",
        ),
        (
            "",
            "  x: {layers: [{op: relu, when: false}], repeat: 12000}\n"
            "  y: {layers: [{op: relu, when: false}], repeat: 12000}\n"
            "  z: {layers: [{op: relu, when: false}], repeat: 12000}\n",
            "too-large",
        ),
        (
            "blocks:\n"
            + "".join(
                f"  b{i}: {{layers: [{{block: b{i + 1}, repeat: 10}}]}}\n"
                for i in range(20)
            )
            + "  b20: {layers: [{op: relu}]}\n",
            "  x: {block: b0}\n",
            "too-large",
        ),
        (
            "blocks:\n"
            + "".join(f"  b{i}: {{layers: [{{block: b{i + 1}}}]}}\n" for i in range(99))
            + "  b99: {layers: [{op: relu}]}\n",
            "  x: {block: b0}\n",
            "too-deep",
        ),
        ("", f"  x: {nested(40)}\n", "too-deep"),
        (
            f"params: {{a: 1, b: $({'a + ' * 70}1)}}\n",
            f"  x: {{op: conv2d, out_channels: $({'b+' * 140}a), kernel_size: 1,"
            " repeat: 12000}\n",
            "too-large",
        ),
    ],
)
def test_too_much_is_refused(
    sections: str, layers: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "MOST_LAYERS", 1200)
    monkeypatch.setattr(network, "MOST_WORK", 40_000)
    codes = {
        problem.code for problem in refused(f"{HEAD}{sections}layers:\n{layers}{END}")
    }
    assert codes == {code}
