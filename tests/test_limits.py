"""What is too much: sizes, counts and errors of a hostile spec."""

from __future__ import annotations

import pytest
from helpers import compile_text, refused

from specgen import compiler
from specgen.diagnostics import MOST_COMPARED, MOST_ERRORS, Span
from specgen.passes import check, placement
from specgen.yaml12.reader import Reader

HEAD = """
specgen: 1
name: Net
input: {channels: 3, height: SIZE, width: SIZE}
data: {size: 1048576}
layers:
"""
END = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 10}\n"


def spec(layers: str = "", size: int = 8, placement: str = "") -> str:
    return f"{HEAD.replace('SIZE', str(size))}{layers}{END}{placement}"


CONV = "  conv: {op: conv2d, out_channels: %d, kernel_size: %d, padding: %d}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            spec(size=2**20),
            "the input, 3 x 1048576 x 1048576, has more than 1099511627776 values",
        ),
        (
            spec(CONV % (2**20, 1, 0), size=2**11),
            "conv: the output, 1048576 x 2048 x 2048, has more than 1099511627776"
            " values",
        ),
        (
            spec(CONV % (2**10, 2**16, 2**15)),
            "conv: the weight, 1024 x 3 x 65536 x 65536, has more than 1099511627776"
            " values",
        ),
        (
            spec("  norm: {op: local_response_norm, size: 3, groups: 1048576}\n"),
            "must be at most 1024, got 1048576",
        ),
    ],
)
def test_a_tensor_too_large_for_any_device_is_refused(text: str, message: str) -> None:
    (found,) = refused(text)
    assert (found.code, found.message) == ("out-of-range", message)


@pytest.mark.parametrize(
    "end", ["fc: {op: linear, out_features: 1}", "one: {op: relu}"]
)
def test_one_class_leaves_nothing_to_learn(end: str) -> None:
    layers = "  flat: {op: flatten}\n  fc: {op: linear, out_features: 1}\n"
    text = spec().replace(END, layers + (f"  {end}\n" if "one" in end else ""))
    (found,) = refused(text)
    assert found.message == (
        "the network ends in a single score, so its loss is always 0"
    )
    assert found.path == ("layers", "fc", "out_features")


def test_a_budget_with_a_softmax_inside() -> None:
    placed = "placement: {devices: {a: {memory: 1B}}, layers: {soft..fc: a}}\n"
    text = spec("  soft: {op: softmax}\n", placement=placed)
    flat = text.replace("  soft", "  flat0: {op: flatten}\n  soft")
    flat = flat.replace("  flat: {op: flatten}\n", "").replace("soft..", "flat0..")
    assert [found.code for found in refused(flat)] == ["softmax-inside"]


def test_more_devices_than_letters() -> None:
    devices = ", ".join(f"d{index}: {{}}" for index in range(24))
    placed = (
        f"placement: {{devices: {{{devices}}}, layers: {{conv: split, flat..fc: d0}}}}"
    )
    (found,) = refused(spec(CONV % (24, 1, 0), placement=placed))
    assert found.message == "a placement has from 1 to 23 devices, not 24"


def test_the_number_of_errors_is_limited() -> None:
    text = spec("".join(f"  c{index}: {{op: cnv}}\n" for index in range(2000)))
    found = refused(text)
    assert len(found) == MOST_ERRORS
    assert found[-1].code == "too-many-errors"
    assert {problem.code for problem in found[:-1]} == {"unknown-op"}
    keys = ", ".join(f"key{index}: 1" for index in range(2000))
    for where in ("  relu: {op: relu, KEYS}\n", "  relu: {op: relu}\nINIT: {KEYS}\n"):
        text = where.replace("KEYS", keys)
        if "INIT" in where:
            text = spec() + text.partition("\n")[2].replace("INIT", "init")
        else:
            text = spec(text)
        assert refused(text)[-1].code == "too-many-errors"


def test_the_search_for_near_names_is_limited() -> None:
    relus = "".join(f"  relu{index}: {{op: relu}}\n" for index in range(1000))
    wrong = "".join(f"    relv{index}: a\n" for index in range(150))
    placed = f"placement:\n  devices: {{a: {{}}}}\n  layers:\n    relu0..fc: a\n{wrong}"
    helped = [bool(found.help) for found in refused(spec(relus, placement=placed))]
    most = MOST_COMPARED // 1002
    assert helped == [True] * most + [False] * (150 - most)


CHAIN = "  conv0: {op: conv2d, out_channels: 4, kernel_size: 1}\n" + "".join(
    f"  conv{index}: {{op: conv2d, out_channels: 4, kernel_size: 1}}\n"
    for index in range(1, 5)
)
SPLIT = """\
placement:
  devices: {a: {}, b: {}, c: {}, d: {}}
  layers: {conv0..flat: split, fc: a}
"""


def test_a_long_line_is_not_copied_for_each_of_its_keys() -> None:
    class Line(str):
        def __getitem__(self, place: object) -> str:
            part = super().__getitem__(place)  # type: ignore[index]
            assert len(part) < 9
            return part

    text = Line("{size: 3,3, " + "a: 1, " * 1000)
    span = Span("net.yaml", 1, text.index("3, ") + 1, 1, text)
    found = Reader._second_number({"size": 3}, span)
    assert found == "two numbers need brackets: size: [3, 3]"


def test_the_number_of_layers_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """More are only counted: one error, however wrong they are."""
    layers = "".join(f"  l{i}: {{op: nothing}}\n" for i in range(9))
    text = f"specgen: 1\nname: Net\ninput: {{}}\nlayers:\n{layers}"
    assert len(refused(text)) > 9
    monkeypatch.setattr(compiler, "MOST_LAYERS", 8)
    (problem,) = refused(text)
    assert problem.code == "too-large"
    assert problem.message == "a network can have 8 layers, not 9"
    assert problem.span
    assert problem.span.line == 4


def test_the_number_of_steps_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    # Six layers on four devices, one on one; five exchanges of four pieces, one of
    # the image, and one to a single device: 25 + 4 + 4 * 4 * 4 + 4.
    monkeypatch.setattr(placement, "MOST_STEPS", 97)
    compile_text(spec(CHAIN, placement=SPLIT))
    monkeypatch.setattr(placement, "MOST_STEPS", 96)
    (found,) = refused(spec(CHAIN, placement=SPLIT))
    assert found.code == "too-large"


def test_the_number_of_onnx_nodes_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    norm = "  norm: {op: local_response_norm, size: 3, groups: 3}\n"
    monkeypatch.setattr(check, "MOST_STEPS", 7)  # of the norm 5, flat and fc
    compile_text(spec(norm))
    monkeypatch.setattr(check, "MOST_STEPS", 6)
    (found,) = refused(spec(norm))
    assert found.code == "too-large"
