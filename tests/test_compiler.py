"""Whole specs: what is refused, all of it at once, each in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from specgen.compiler import compile_file, render
from specgen.diagnostics import SpecError

SPEC = """\
specgen: 1
name: Net
input: {channels: 3, height: 12, width: 12}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3}
  pool1: {op: max_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
  prob: {op: softmax}
data: {size: 16}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC)
    return path


def found(spec: Path, *sets: str) -> list[tuple[str, str]]:
    """Return the code of each error and the text under its caret."""
    with pytest.raises(SpecError) as caught:
        compile_file(spec, sets)
    places = []
    for error in caught.value.diagnostics:
        assert error.span
        start = error.span.column - 1
        marked = error.span.text[start : start + error.span.length]
        places.append((error.code, marked))
    return places


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kernel_size: 2", "kernel_size: 2, stride: null"),
        ("kernel_size: 2", "kernel_size: 2, padding: null"),
        ("kernel_size: 3", "kernel_size: 3, init: {weight: null}"),
        ("kernel_size: 3", "kernel_size: 3, bias: null"),
        ("kernel_size: 2", "kernel_size: null"),
        ("pool1: {op: max_pool2d, kernel_size: 2}", "relu1: null"),
        ("data: {size: 16}", "data: {std: null}"),
        ("data: {size: 16}", "training: {schedule: null}"),
        ("data: {size: 16}", "init: {bias: null}"),
        ("data: {size: 16}", "placement: null"),
        ("data: {size: 16}", "placement: {devices: {gpu0: null}, layers: {}}"),
        ("data: {size: 16}", "placement: {devices: {a: {memory: null}}, layers: {}}"),
        ("name: Net", "name: Net\nsummary: null"),
    ],
)
def test_null_is_not_a_value(spec: Path, old: str, new: str) -> None:
    assert old in SPEC
    spec.write_text(SPEC.replace(old, new))
    assert found(spec) == [("wrong-type", "null")]


def test_null_in_an_overlay_removes(spec: Path) -> None:
    overlay = spec.with_name("top.yaml")
    overlay.write_text("extends: net.yaml\nlayers: {pool1: null}\ndata: {size: null}")
    program = compile_file(overlay, ["layers.conv1.kernel_size=1"])
    assert "pool1" not in program.spec.layers
    assert program.spec.data.size is None
    overlay.write_text("extends: net.yaml\ntraining: {schedule: null}")
    assert found(overlay) == [("wrong-type", "null")]


BIASES = ("layers.conv1.bias=false", "layers.fc2.init={bias: 1}")
OWN = ("layers.conv1.init={weight: kaiming_normal}",)


@pytest.mark.parametrize(
    ("init", "sets", "unused"),
    [
        ("{bias: 0}", BIASES, ["bias"]),
        ("{bias: 0}", BIASES[:1], []),
        ("{bias: 0}", BIASES[1:], []),
        ("{weight: kaiming_normal}", OWN, []),
        (
            "{weight: kaiming_normal, bias: 2}",
            [*BIASES, *OWN, "layers.fc2.init={weight: kaiming_normal, bias: 1}"],
            ["weight", "bias"],
        ),
    ],
)
def test_a_default_start_that_no_layer_uses(
    spec: Path, init: str, sets: list[str], unused: list[str]
) -> None:
    spec.write_text(f"{SPEC}init: {init}\n")
    if unused:
        assert found(spec, *sets) == [("no-effect", leaf) for leaf in unused]
    else:
        compile_file(spec, sets)


def test_a_default_start_is_not_unused_when_its_layer_is_wrong(spec: Path) -> None:
    spec.write_text(f"{SPEC}init: {{bias: 2}}\n")
    sets = (BIASES[0], "layers.fc2.out_features=0")
    assert found(spec, *sets) == [("out-of-range", "0")]


@pytest.mark.parametrize(
    ("optimizer", "key"),
    [
        ("{lr_multipliers: {bias: 2}}", "bias"),
        ("{weight_decay: 1e-4, decay_biases: false}", "decay_biases"),
    ],
)
def test_a_recipe_for_biases_in_a_network_without_any(
    spec: Path, optimizer: str, key: str
) -> None:
    recipe = f"training={{optimizer: {optimizer}}}"
    none = ("layers.conv1.bias=false", "layers.fc2.bias=false")
    assert found(spec, recipe, *none) == [("no-effect", key)]
    compile_file(spec, [recipe, none[0]])


NO_BIASES = SPEC.replace("kernel_size: 3", "kernel_size: 3, bias: false").replace(
    "out_features: 10", "out_features: 10, bias: false"
)


@pytest.mark.parametrize(
    ("written", "left_out"),
    [
        ("training: {optimizer: {decay_biases: true}}", ""),
        ("training: {optimizer: {lr_multipliers: {weight: 1, bias: 1}}}", ""),
        (
            "training: {optimizer: {weight_decay: 1e-4, decay_biases: true}}",
            "training: {optimizer: {weight_decay: 1e-4}}",
        ),
        ("placement: {devices: {gpu0: {}}, layers: {}}", ""),
        ("init: {}", ""),
    ],
)
def test_writing_a_default_changes_nothing(
    spec: Path, written: str, left_out: str
) -> None:
    spec.write_text(f"{NO_BIASES}{written}\n")
    found = render(compile_file(spec))
    spec.write_text(f"{NO_BIASES}{left_out}\n")
    assert found == render(compile_file(spec))


def test_a_bad_name_hides_nothing_else(spec: Path) -> None:
    text = SPEC.replace("conv1", "class").replace("kernel_size: 2", "kernel_size: 99")
    spec.write_text(text.replace("size: 16", "size: 4"))
    assert found(spec) == [
        ("bad-name", "class"),
        ("shape-mismatch", "99"),
        ("data-mismatch", "4"),
    ]


BESIDE = {
    "a layer of a wrong form": (
        "layers.pool1.stride=0",
        "layers.fc2={op: linear, out_features: 10, bias: false, init: {bias: 1}}",
        "training={epochs: 2, warmup_epochs: 3}",
        "placement={devices: {a: {}, b: {}}, layers: {conv1..flat: a, fc3..prob: a}}",
    ),
    "a layer that does not fit": (
        "layers.conv1.kernel_size=13",
        "layers.pool1.padding=2",
        "layers.soft={op: softmax, after: conv1}",
        "data.size=11",
    ),
    "an input of a wrong form": (
        "input={channels: 3, height: x, width: 12}",
        "layers.pool1.padding=2",
        "data.size=x",
        "placement={devices: {b: {}}, layers: {conv1..prob: a}}",
    ),
    "a placement that leaves one out": (
        "layers.conv1.out_channels=9",
        "placement={devices: {a: {}, b: {}}, layers: {conv1: split, flat..prob: a}}",
    ),
    "sections of a wrong form": ("name=net", "training=3", "init=x", "data=[]"),
}
FOUND = {
    "a layer of a wrong form": [
        ("out-of-range", "0"),
        ("no-effect", "1"),
        ("training-mismatch", "3"),
        ("unknown-layer", "fc3..prob"),
    ],
    "a layer that does not fit": [
        ("shape-mismatch", "13"),
        ("shape-mismatch", "2"),
        ("softmax-inside", "softmax"),
        ("data-mismatch", "11"),
    ],
    "an input of a wrong form": [
        ("wrong-type", "x"),
        ("shape-mismatch", "2"),
        ("wrong-type", "x"),
        ("unknown-device", "a"),
    ],
    "a placement that leaves one out": [
        ("bad-placement", "{conv1: split, flat..prob: a}"),
        ("cannot-split", "9"),
    ],
    "sections of a wrong form": [
        ("bad-name", "net"),
        ("wrong-type", "3"),
        ("wrong-type", "x"),
        ("wrong-type", "[]"),
    ],
}


@pytest.mark.parametrize("case", BESIDE)
def test_an_error_hides_no_other(case: str, spec: Path) -> None:
    assert sorted(found(spec, *BESIDE[case])) == sorted(FOUND[case])


@pytest.mark.parametrize("option", ["specgen=true", "specgen=1.0", "specgen='1'"])
def test_the_version_is_the_number_one(spec: Path, option: str) -> None:
    assert found(spec, option) == [("wrong-type", option.partition("=")[2])]


@pytest.mark.parametrize(
    "figure",
    [
        "layers.fc2.init={weight: {normal: {std: %s}}}",
        "layers.fc2.init={bias: -%s}",
        "layers.drop={op: dropout, p: %s, after: flat}",
        "layers.norm={op: local_response_norm, size: 3, k: %s, after: conv1}",
        "data.std=%s",
        "training={optimizer: {lr: %s}}",
        "training={optimizer: {weight_decay: %s}}",
        "training={warmup_epochs: %s}",
        "training={clip_grad_norm: %s}",
    ],
)
def test_no_figure_becomes_0_in_float32(spec: Path, figure: str) -> None:
    for small in ("5e-324", "1e-46", "9e-16"):
        ((code, marked),) = found(spec, figure % small)
        assert (code, marked.strip("-")) == ("out-of-range", small)
    compile_file(spec, [figure % "1e-15"])


@pytest.mark.parametrize(
    "figure",
    [
        "layers.drop={op: dropout, p: %s, after: flat}",
        "training={optimizer: {momentum: %s}}",
        "training={label_smoothing: %s}",
    ],
)
def test_no_share_becomes_1_in_float32(spec: Path, figure: str) -> None:
    for large in ("1", "0.99999999", "0.9999999999999999"):
        assert found(spec, figure % large) == [("out-of-range", large)]
    compile_file(spec, [figure % "0.9999999"])


def test_bounds_are_written_out(spec: Path) -> None:
    with pytest.raises(SpecError, match="must be less than 4294967296, got 9999999999"):
        compile_file(spec, ["training={seed: 9999999999}"])
    with pytest.raises(SpecError, match="must be less than 1, got 1"):
        compile_file(spec, ["training={label_smoothing: 1}"])


@pytest.mark.parametrize("after", ["nowhere", "[conv1]", "{a: b}", "3"])
def test_a_layer_after_a_missing_one_is_one_error(spec: Path, after: str) -> None:
    assert found(spec, f"layers.relu1={{op: relu, after: {after}}}") == [
        ("new-layer", after)
    ]


def test_a_bad_file_name_hides_nothing_else(spec: Path) -> None:
    path = spec.rename(spec.with_name("no name.yaml"))
    with pytest.raises(SpecError) as caught:
        compile_file(path, ["layers.conv1.stride=0"])
    codes = [error.code for error in caught.value.diagnostics]
    assert codes == ["out-of-range", "bad-name"]
