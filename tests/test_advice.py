"""Help that shows how to write what was meant: following it leads to no other error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic, SpecError

SPEC = """\
specgen: 1
name: Net
input: {channels: 3, height: 12, width: 12}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 1, bias: true}
  pool1:
    op: max_pool2d
    kernel_size: 2
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
data: {size: 16, std: 64}
training:
  epochs: 7
  label_smoothing: 0.5
  schedule: {kind: cosine}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def errors(text: str) -> list[Diagnostic]:
    Path("net.yaml").write_text(text)
    try:
        compile_file(Path("net.yaml"))
    except SpecError as error:
        return list(error.diagnostics)
    return []


# What is right, what people write, and what help says about it.
WRONG = [
    ("{op: flatten}", "{op:flatten}", "put a space after the colon: op: flatten"),
    ("{op: flatten}", "{op=flatten}", "write op: flatten"),
    ("{op: flatten}", "{type: flatten}", "write op: flatten"),
    ("{op: flatten}", "{type: Flatten}", "write op: flatten"),
    ("{op: flatten}", "{flatten}", "write op: flatten"),
    ("{op: flatten}", "{flatten: {}}", "write op: flatten"),
    ("{op: flatten}", "flatten", "write {op: flatten}"),
    ("{op: flatten}", "op:flatten", "put a space after the colon: op: flatten"),
    ("{op: flatten}", "{op: nn.Flatten}", "it is called flatten here"),
    ("{kind: cosine}", "{kind:cosine}", "put a space after the colon: kind: cosine"),
    ("{kind: cosine}", "cosine", "write {kind: cosine}"),
    ("{kind: cosine}", "{type: cosine}", "write kind: cosine"),
    ("{kind: cosine}", "{kind: CosineAnnealingLR}", "it is called cosine here"),
    (
        "kernel_size: 3,",
        "kernel_size: 3,3,",
        "two numbers need brackets: kernel_size: [3, 3]",
    ),
    ("kernel_size: 2", "kernel_size: 2,2", "write [2, 2]"),
    ("kernel_size: 2", "kernel_size: (2, 2)", "write [2, 2]"),
    ("kernel_size: 2", "kernel_size: 2x2", "write [2, 2]"),
    ("kernel_size: 2", 'kernel_size: "2"', "write 2, without quotes"),
    ("kernel_size: 2", "kernel_size: 2.0", "write 2"),
    ("kernel_size: 2", "kernel_size: [2]", "write 2, without brackets"),
    ("stride: 1", "stride:1", "put a space after the colon: stride: 1"),
    ("stride: 1", "stride=1", "write stride: 1"),
    ("stride: 1", "strides: 1", "it is called stride here"),
    ("out_channels: 8", "filters: 8", "it is called out_channels here"),
    ("bias: true", "bias: yes", "write true"),
    ("bias: true", "bias: 'True'", "write true"),
    ("epochs: 7", "num_epochs: 7", "it is called epochs here"),
    ("epochs: 7", "epochs: '7'", "write 7, without quotes"),
    (
        "epochs: 7",
        "epochs:7",
        "put a space after the colon in the line before: epochs: 7",
    ),
    ("label_smoothing: 0.5", "label_smoothing: 50%", "write 0.5"),
    ("label_smoothing: 0.5", "label_smoothing: 0,5", "write 0.5"),
    (
        "label_smoothing: 0.5",
        "label_smoothing: ",
        "give it a value, or leave the key out",
    ),
    ("size: 16, std: 64", "size: 16, std: 2^6", "write 64"),
    (
        "{channels: 3, height: 12, width: 12}",
        "12x12",
        "write {channels: 3, height: 12, width: 12}",
    ),
    (
        "{channels: 3, height: 12, width: 12}",
        "[3, 12, 12]",
        "write {channels: 3, height: 12, width: 12}",
    ),
    (
        "{channels: 3, height: 12, width: 12}",
        "[12, 12, 3]",
        "write {channels: 3, height: 12, width: 12}",
    ),
    (
        "height: 12, width: 12",
        "height: 12 x 12",
        "write height: 12, width: 12",
    ),
    ("height: 12, width: 12", "size: 12", "write height: 12, width: 12"),
    (
        "channels: 3, height: 12, width: 12",
        "shape: [3, 12, 12]",
        "write channels: 3, height: 12, width: 12",
    ),
    ("height: 12, width: 12", "size: [12, 12]", "write height: 12, width: 12"),
    ("size: 16, std: 64", "size:16, std: 64", "put a space after the colon: size: 16"),
]
# What help leads to, where that differs from the spec above.
FOLLOWED = {
    "two numbers need brackets: kernel_size: [3, 3]": "kernel_size: [3, 3],",
    "write [2, 2]": "kernel_size: [2, 2]",
}


@pytest.mark.parametrize(("right", "wrong", "help"), WRONG)
def test_help_leads_to_no_other_error(right: str, wrong: str, help: str) -> None:
    assert right in SPEC
    assert errors(SPEC) == []
    (error,) = errors(SPEC.replace(right, wrong))
    assert error.help == help
    shown = re.sub(r"^.*?(write|colon:|brackets:|before:|called) | here$", "", help)
    meant = shown.removesuffix(", without quotes").removesuffix(", without brackets")
    followed = FOLLOWED.get(help, right)
    if "give it" not in help:
        assert meant in followed
    assert errors(SPEC.replace(right, followed)) == []


@pytest.mark.parametrize(
    ("right", "wrong", "marked", "help"),
    [
        ("name: Net", "name Net", "name Net", "put a colon after the name: name: Net"),
        ("layers:", "layers", "layers", "put a colon after the name: layers:"),
        ("input: {", "input {", ":", "put a colon after the name: input: {...}"),
        ("epochs: 7", "epochs = 7", ":", "put a colon in the line before: epochs: 7"),
        ("flat: {", "flat {", "flat {op", "write flat: {op: flatten}"),
        ("{op: flatten}", "{op: flatten}}", "}", "there is one } too many"),
        ("kernel_size: 3,", "kernel_size: [3, 3]],", "]", "there is one ] too many"),
        (
            "kernel_size: 3,",
            "kernel_size: (3, 3),",
            "(3",
            "write a list in brackets: kernel_size: [3, 3]",
        ),
        ("  flat:", "  // end\n  flat:", "// end", "a comment begins with #"),
        ("name: Net", 'name: "Net', '"', None),
        (
            "  flat:",
            " flat:",
            "f",
            "begin this line in the same column as those that it belongs to",
        ),
        (
            "  flat: {",
            "  - flat: {",
            "-",
            "begin this line in the same column as those that it belongs to",
        ),
        (
            "    op: max_pool2d\n    kernel_size: 2",
            "  op: max_pool2d\n  kernel_size: 2",
            "pool1",
            "indent what belongs to it by two spaces, or put it in {braces}",
        ),
        ("schedule: {kind: cosine}", "optimizer: {lr: 0,01}", "0", "write lr: 0.01"),
        (
            "input: {channels: 3, height: 12, width: 12}",
            "input:\nchannels: 3\nheight: 12\nwidth: 12",
            "input",
            "indent what belongs to it by two spaces, or put it in {braces}",
        ),
        (
            "  epochs: 7\n  label_smoothing: 0.5\n  schedule",
            "epochs: 7\nlabel_smoothing: 0.5\nschedule",
            "training",
            "indent what belongs to it by two spaces, or put it in {braces}",
        ),
        (
            "layers:",
            "placement:\nlayers:",
            "placement",
            "leave the key out for its default",
        ),
        ("name: Net", "name:", "name", "give it a value"),
        (
            "linear, out_features: 10",
            "linear, out_channels: 10",
            "out_channels",
            "it is called out_features here",
        ),
        (
            "linear, out_features: 10",
            "linear, classes: 10",
            "classes",
            "it is called out_features here",
        ),
        (
            "epochs: 7",
            "optimizer.lr: 0.1",
            "optimizer.lr",
            "write optimizer: {lr: 0.1}",
        ),
        ("name: Net", "name: My net", "My net", "write MyNet"),
        ("name: Net", "name: my-net", "my-net", "write MyNet"),
        ("  conv1:", "  conv-1:", "conv-1", "write conv_1"),
        ("  conv1:", "  forward:", "forward", "write forward1"),
    ],
)
def test_a_slip_is_one_error_where_it_is(
    right: str, wrong: str, marked: str, help: str | None
) -> None:
    (error,) = errors(SPEC.replace(right, wrong, 1))
    assert error.span
    start = error.span.column - 1
    assert error.span.text[start : start + error.span.length] == marked
    assert error.help == help


@pytest.mark.parametrize(
    ("right", "wrong", "help"),
    [
        (
            "{op: flatten}",
            "{op: LSTM}",
            "it is not supported: see specgen explain limits",
        ),
        (
            "{op: flatten}",
            "{op: selu}",
            "it is not supported: see specgen explain limits",
        ),
        ("{op: flatten}", "{op: Accuracy}", "training always measures accuracy"),
        (
            "{kind: cosine}",
            "{kind: poly}",
            "it is not supported: see specgen explain limits",
        ),
        (
            "stride: 1",
            "in_channels: 3",
            "it is inferred from the previous layer: leave it out",
        ),
        (
            "kernel_size: 2",
            "kernel_size: 2\n    padding: same",
            "give the number: kernel_size // 2 keeps the size",
        ),
        ("stride: 1", "init: {weight: xavier}", "it is called xavier_uniform here"),
        ("stride: 1", "padding: SAME", "it is called same here"),
        ("stride: 1", "init: {weight: zeros}", "write 0"),
        ("stride: 1", "init: {weight: normal}", "write {normal: {std: 0.01}}"),
        ("stride: 1", "init: {weight: {uniform: fan_in}}", "write {mode: fan_in}"),
        ("stride: 1", "init: {weight: orthogonal}", "it is not supported: see specgen"),
        ("stride: 1", "init: {weight: he_normal}", "it is called kaiming_normal here"),
        ("epochs: 7", "lr: 0.1", "it belongs in optimizer"),
        ("training:", "batch_size: 5\ntraining:", "it belongs in training"),
        ("std: 64", "batch_size: 5", "it belongs in training"),
        ("epochs: 7", "flip: true", "it belongs in data"),
        (
            "std: 64",
            "crop: 12",
            "the input section sets the size of crops: leave it out",
        ),
        ("training:", "momentum: 0.5\ntraining:", "it belongs in training.optimizer"),
        (
            "epochs: 7",
            "optimizer: {nesterov: true}",
            "it is not supported: see specgen explain limits",
        ),
        ("epochs: 7", "optimizer: {learning_rate: 1}", "it is called lr here"),
        (
            "epochs: 7",
            "precision: fp16",
            "it is not supported: see specgen explain limits",
        ),
        ("epochs: 7", "precision: bf16", "it is called bfloat16 here"),
        (
            "epochs: 7",
            "epochs: 99999999",
            "this is a limit of specgen: see specgen explain limits",
        ),
        ("epochs: 7", "zzz: 1", "valid names are epochs, batch_size, accumulate, seed"),
        (
            "stride: 1",
            "activation: relu",
            "an activation is a separate layer: relu1:",
        ),
    ],
)
def test_help_depends_on_the_field(right: str, wrong: str, help: str) -> None:
    assert right in SPEC
    (error,) = errors(SPEC.replace(right, wrong))
    assert error.help
    assert error.help.startswith(help)


@pytest.mark.parametrize(
    ("right", "wrong", "help"),
    [
        ("{op: flatten}", "flatten()", "write {op: flatten, ...}"),
        ("{op: flatten}", "[flatten]", "write {op: NAME, ...}; valid names are conv2d"),
        ("{op: flatten}", "{}", "write op: NAME; valid names are conv2d"),
        ("{op: flatten}", "{op: flatten", "put a comma between two keys, and a } at"),
        ("flat: {op: flatten}", "flat:{op: flatten}", ""),
        (
            "{op: linear, out_features: 10}",
            "{op:linear,out_features:10}",
            "put a space after each colon: op: linear, out_features: 10",
        ),
        ("stride: 1", "stride: {'0': 2}", "put all values in one list"),
        ("{kind: cosine}", "{kind: step, epochs: 15}", "write [15]"),
        ("{op: flatten}", "{op: reshape, shape: 4}", "write [4]"),
        ("training:", "blocks: {b: {inputs: x, layers: []}}\ntraining:", "write [x]"),
        ("{kind: cosine}", "[3, 5]", "write {kind: NAME, ...}; valid names are step"),
        ("{size: 16, std: 64}", "", "leave the key out for its default"),
        (
            "{channels: 3, height: 12, width: 12}",
            "",
            "indent what belongs to it by two spaces",
        ),
        (
            "training:",
            "placement: {devices: {a: {memory: 3gb}}}\ntraining:",
            "write 3GB",
        ),
        (
            "training:",
            "placement: {devices: {a: {memory: 3 G}}}\ntraining:",
            "write 3GiB",
        ),
    ],
)
def test_help_with_other_forms(right: str, wrong: str, help: str) -> None:
    assert right in SPEC
    error, *_ = errors(SPEC.replace(right, wrong))
    assert (error.help or "").startswith(help)


@pytest.mark.parametrize(
    "std", ["0^-1", "999**99", "1.2.3%", "'1e999'", "[[1]]", "(", "1,,1"]
)
def test_help_tries_what_looks_like_a_number(std: str) -> None:
    error, *_ = errors(SPEC.replace("std: 64", f"std: {std}"))
    assert error.code in ("wrong-type", "yaml-syntax", "non-string-key")


def test_a_list_in_place_of_a_mapping() -> None:
    layers = "layers:\n  - conv1: {op: flatten}\n"
    text = re.sub(r"layers:\n(  .*\n)+", layers, SPEC)
    (error,) = errors(text)
    assert error.help == "write name: value for each, without dashes and [brackets]"


def test_tabs() -> None:
    (error,) = errors(SPEC.replace("  pool1:", "\tpool1:"))
    assert error.help == "indent with spaces, not tabs"
