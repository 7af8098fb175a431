"""An error is placed where the value that causes it was written last."""

from __future__ import annotations

from pathlib import Path

import pytest

from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic, SpecError, render_text

BASE = """\
specgen: 1
name: Net
params: {width: 16, g: 2, act: relu}
input: {channels: 3, height: 32, width: 32}
blocks:
  unit:
    params: {out: , half: $(out // 2), stride: 1}
    layers:
      conv: {op: conv2d, out_channels: $half, kernel_size: 3, stride: $stride}
      act: {op: $act}
layers:
  conv1: {op: conv2d, out_channels: $width, kernel_size: 3}
  conv2: {op: conv2d, out_channels: $(width // 2), kernel_size: 1, groups: $g}
  units: {block: unit, with: {out: $(2 * width)}, repeat: 2, first: {stride: 2}}
  pool3: {op: max_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc4: {op: linear, out_features: 10}
data: {std: 64}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def found(file: str, *options: str) -> tuple[Diagnostic, ...]:
    """Return what is wrong, or else the warnings."""
    try:
        return compile_file(Path(file), options).warnings
    except SpecError as error:
        return error.diagnostics


def place(problem: Diagnostic) -> tuple[str, str]:
    """Return its file, or the option, and the text under the caret."""
    assert problem.span
    start = problem.span.column - 1
    text = problem.span.text[start : start + problem.span.length]
    return problem.span.file, text


@pytest.mark.parametrize(
    ("option", "marked", "message", "note"),
    [
        (
            "params.width=big",
            "big",
            'expected a whole number, got the string "big"',
            "out_channels is $width at base.yaml:12",
        ),
        (
            "params.width=0",
            "0",
            "must be at least 1, got 0",
            "out_channels is $width at base.yaml:12",
        ),
        (
            "params.act=rleu",
            "rleu",
            "there is no op rleu",
            "op is $act at base.yaml:10",
        ),
        (
            "params.g=16",
            "16",
            "conv2: 8 output channels cannot be divided into 16 groups",
            "groups is $g at base.yaml:13",
        ),
        (
            "layers.units.with.out=1",
            "1",
            "must be at least 1, got 0",
            "out_channels is $half at base.yaml:9",
        ),
        (
            "layers.units.1.with.out=1",
            "1",
            "must be at least 1, got 0",
            "out_channels is $half at base.yaml:9",
        ),
        (
            "layers.units.first.stride=0",
            "0",
            "must be at least 1, got 0",
            "stride is $stride at base.yaml:9",
        ),
        (
            "blocks.unit.params.stride=0",
            "0",
            "must be at least 1, got 0",
            "stride is $stride at base.yaml:9",
        ),
        (
            "input.height=7",
            "7",
            "units.1.conv: a window of 3 does not fit the padded height of 2",
            "units.1.conv is at base.yaml:9",
        ),
        (
            "layers.flat=null",
            "flat",
            "fc4: linear needs features, but its input is (16, 6, 6)",
            "fc4 is at base.yaml:17",
        ),
        (
            "params.width=null",
            "width",
            "there is no param width",
            "conv1 is at base.yaml:12",
        ),
        (
            "blocks.unit=null",
            "unit",
            "there is no block unit",
            "units is at base.yaml:14",
        ),
    ],
)
def test_an_option_is_named_before_the_place_where_its_value_is_used(
    option: str, marked: str, message: str, note: str
) -> None:
    (problem,) = found("base.yaml", option)
    assert place(problem) == (f"--set {option}", marked)
    assert problem.message == message
    assert note in problem.notes


def test_a_split_is_wrong_where_it_is_asked_for() -> None:
    head = "placement={devices: {a: {}, b: {}}, layers: "
    ends = f"{head}{{conv1..flat: a, fc4: split}}}}"
    (problem,) = found("base.yaml", ends, "layers.conv1.kernel_size=1")
    assert (problem.code, place(problem)) == (
        "cannot-split",
        (f"--set {ends}", "layers"),
    )
    assert "fc4 is at base.yaml:17" in problem.notes
    starts = f"{head}{{conv1: split, conv2..fc4: a}}}}"
    odd = BASE.replace("out_channels: $width", "out_channels: 15")
    Path("base.yaml").write_text(odd.replace("g: 2", "g: 1"))
    (problem,) = found("base.yaml", starts)
    assert (problem.code, place(problem)) == (
        "cannot-split",
        (f"--set {starts}", "split"),
    )
    (problem,) = found("base.yaml", starts, "layers.conv1.out_channels=17")
    assert place(problem)[1] == "17"


def test_an_overlay_is_named_before_its_base() -> None:
    Path("top.yaml").write_text("extends: base.yaml\nparams: {width: 0}\n")
    (problem,) = found("top.yaml")
    assert place(problem) == ("top.yaml", "0")
    (problem,) = found("top.yaml", "params.width=1.5")
    assert place(problem) == ("--set params.width=1.5", "1.5")


def test_a_value_that_is_wrong_in_several_places_is_wrong_once() -> None:
    Path("base.yaml").write_text(BASE.replace("width: 16, g", "width: 0, g"))
    (problem,) = found("base.yaml")
    assert (
        render_text([problem])
        == """\
error[out-of-range]: must be at least 1, got 0
 --> base.yaml:3:17
  |
3 | params: {width: 0, g: 2, act: relu}
  |                 ^
  = note: out_channels is $width at base.yaml:12"""
    )


def test_arithmetic_in_the_same_file_can_be_wrong_itself() -> None:
    wrong = BASE.replace("$(width // 2)", "$(width // 64)")
    Path("base.yaml").write_text(wrong)
    (problem,) = found("base.yaml")
    assert place(problem) == ("base.yaml", "$(width // 64)")


def test_a_norm_of_an_overlay_after_a_layer_of_its_base() -> None:
    text = "extends: base.yaml\nlayers:\n  bn: {op: batch_norm2d, after: conv1}\n"
    Path("top.yaml").write_text(text)
    (warning,) = found("top.yaml")
    assert place(warning) == ("top.yaml", "bn")
    assert warning.message == "conv1: its bias has no effect: bn subtracts the mean"
    assert warning.notes == ("conv1 is at base.yaml:12",)
    assert warning.help == "in conv1: write bias: false"
    Path("top.yaml").write_text(f"{text}  conv1: {{bias: false}}\n")
    assert not found("top.yaml")


def test_a_warning_about_the_base_stays_there() -> None:
    wrong = BASE.replace("  conv2:", "  bn: {op: batch_norm2d}\n  conv2:")
    Path("base.yaml").write_text(wrong)
    (warning,) = found("base.yaml", "layers.conv1.kernel_size=5")
    assert place(warning)[0] == "base.yaml"


def test_several_changes_to_a_base_are_listed() -> None:
    (problem,) = found("base.yaml", "input.height=9", "input.width=9")
    assert place(problem)[0] == "base.yaml"
    changed = "the network is changed by --set input.height=9, --set input.width=9"
    assert changed in problem.notes


def test_an_error_in_the_base_itself_stays_there() -> None:
    Path("base.yaml").write_text(BASE.replace("kernel_size: 2", "kernal_size: 2"))
    (problem,) = found("base.yaml", "params.width=8")
    assert place(problem) == ("base.yaml", "kernal_size")


@pytest.mark.parametrize(
    ("option", "marked", "code", "note"),
    [
        ("name=null", "name", "missing-key", None),
        ("layers=null", "layers", "missing-key", None),
        (
            "layers.pool3.kernel_size=null",
            "kernel_size",
            "missing-key",
            "pool3 is at base.yaml:15",
        ),
        (
            "training.epochs=2",
            "2",
            "training-mismatch",
            "training.warmup_epochs is at base.yaml:19",
        ),
        ("input.width=99", "99", "data-mismatch", "data.size is at base.yaml:18"),
    ],
)
def test_what_a_change_leaves_behind_is_its_error(
    option: str, marked: str, code: str, note: str | None
) -> None:
    base = BASE.replace("{std: 64}", "{std: 64, size: 40}")
    training = "training: {epochs: 9, warmup_epochs: 5}\n"
    Path("base.yaml").write_text(base + training)
    (problem,) = found("base.yaml", option)
    assert (problem.code, place(problem)) == (code, (f"--set {option}", marked))
    assert list(problem.notes) == ([note] if note else [])


def test_what_is_removed_and_given_again_is_there() -> None:
    Path("top.yaml").write_text("extends: base.yaml\nparams: {g: null}\n")
    (problem,) = found("top.yaml")
    assert place(problem) == ("top.yaml", "g")
    assert not found("top.yaml", "params.g=1")
    (problem,) = found("top.yaml", "params.g=16")
    assert place(problem) == ("--set params.g=16", "16")


def test_long_chains_of_params_end() -> None:
    chain = [f"p{i}: $(p{i - 1} + 0 * p{max(0, i - 2)})" for i in range(1, 1500)]
    lines = "".join(f"  {each}\n" for each in ["p0: 1", *chain, "width: 16", "g: 2"])
    given = "params: {width: 16, g: 2, act: relu}\n"
    text = BASE.replace(given, f"params:\n{lines}  act: relu\n")
    used = text.replace("out_channels: $width", "out_channels: $p1499")
    Path("base.yaml").write_text(used)
    assert not found("base.yaml", "params.g=1")
    (problem,) = found("base.yaml", "params.p0=0")
    assert place(problem) == ("--set params.p0=0", "0")


def test_params_in_a_circle_end() -> None:
    Path("base.yaml").write_text(
        BASE.replace("width: 16", "width: $g").replace("g: 2", "g: $width")
    )
    assert "unknown-param" in {problem.code for problem in found("base.yaml")}
