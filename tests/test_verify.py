"""Verify passes what is right, and fails each planted fault by name."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
from helpers import PLACEMENTS, ROOT, TOWERS, compile_data, compile_text, towers
from hypothesis import given, settings
from hypothesis.strategies import sampled_from
from strategies import Data, placed_networks

from specgen import verify as package
from specgen.compiler import Program, compile_file, render
from specgen.diagnostics import SpecError
from specgen.graph import PlacedGraph
from specgen.ops.base import FLOAT32
from specgen.passes import cost
from specgen.verify import Check, as_data, table, verify
from specgen.verify.check import first_difference

# The names of the checks, and groups of them that a fault often touches together.
START = "initial weights against one device"
SHAPES = "shapes in PyTorch"
VALUES = "PyTorch against ONNX"
LOGITS = "logits against one device"
GRADIENTS = "gradients against one device"
FLOPS = {"MACs", "FLOPs by layer"}
TRAFFIC = {"parameters by device", "traffic forward", "traffic backward"}
SAVED = "saved activations"
FUNCTION = {VALUES, LOGITS, GRADIENTS}
NAMES = {"parameters", "state_dict", "shapes in ONNX", START, SHAPES, SAVED, *FLOPS}
NAMES |= FUNCTION | TRAFFIC

# What is edited in the model of two towers, and the checks that see it.
FAULTS: dict[str, tuple[str, str, set[str]]] = {
    "another seed": ("manual_seed(seed)", "manual_seed(seed + 1)", {START}),
    "another standard deviation": ("((2 / fan_in)", "((1 / fan_in)", {START}),
    "another initial bias": (
        '"conv3.bias": 1',
        '"conv3.bias": 0',
        {START},
    ),
    "dropout twice": (
        "a = self.drop4(F.relu(self.fc4a(a)))",
        "a = self.drop4(self.drop4(F.relu(self.fc4a(a))))",
        {SHAPES, SAVED},
    ),
    "a convolution twice": (
        "a = self.conv2a(a)",
        "a = (self.conv2a(a) + self.conv2a(a)) / 2",
        {SHAPES, *FLOPS},
    ),
    "a norm left out": (
        "b = self.pool1(self.norm1(F.relu(self.conv1b(b))))",
        "b = self.pool1(F.relu(self.conv1b(b)))",
        {SHAPES, SAVED, *FUNCTION},
    ),
    "a norm across its groups": ("k=1.0, groups=2", "k=1.0", FUNCTION),
    "a relu left out": ("F.relu(self.fc4b(b))", "self.fc4b(b)", {SAVED, *FUNCTION}),
    "kept for nothing": (
        "F.relu(self.fc4b(b))",
        "F.relu(self.fc4b(b)).relu()",
        {SAVED},
    ),
    "a wrong side padded": (
        "F.pad(a, (0, 1, 0, 1))",
        "F.pad(a, (1, 0, 0, 1))",
        FUNCTION,
    ),
    "average for maximum": (
        "nn.MaxPool2d(3, stride=2)",
        "nn.AvgPool2d(3, stride=2)",
        {SAVED, *FUNCTION},
    ),
    "shares swapped": (
        "x = gather(a, b, to=self.gpu0)",
        "x = gather(b, a, to=self.gpu0)",
        FUNCTION,
    ),
    "shares of a weight swapped": ('"fc4": "ab"', '"fc4": "ba"', {START, *FUNCTION}),
    "images mixed up": ("x = self.fc5(x)", "x = self.fc5(x.flip(0))", FUNCTION),
    "a little more": ("x = self.fc5(x)", "x = self.fc5(x) + 1e-8", {LOGITS}),
    "a little steeper": (
        "        x = self.fc5(x)",
        "        if a.requires_grad:\n"
        "            a.register_hook(lambda g: g * (1 + 1e-8))\n"
        "        x = self.fc5(x)",
        {GRADIENTS},
    ),
    "a gradient cut off": (
        "b = self.conv2b(b)",
        "b = self.conv2b(b.detach())",
        {GRADIENTS, "traffic backward"},
    ),
    "not a number": ("x = self.fc5(x)", 'x = self.fc5(x) * float("nan")', FUNCTION),
    "another softmax": (
        "F.softmax(logits, dim=1)",
        "F.softmax(logits, dim=0)",
        {VALUES},
    ),
    "a wrong number of outputs": (
        "self.fc5 = nn.Linear(16, 5,",
        "self.fc5 = nn.Linear(16, 6,",
        NAMES - {"shapes in ONNX", "traffic forward", "traffic backward", SAVED},
    ),
    "another order": (
        "        self.fc4a =",
        "        self.fc5 = nn.Linear(16, 5, device=self.gpu0)\n        self.fc4a =",
        {"state_dict", START},
    ),
    "a wrong device": (
        "self.conv2b = nn.Conv2d(8, 8, 3, bias=False, device=self.gpu1)",
        "self.conv2b = nn.Conv2d(8, 8, 3, bias=False, device=self.gpu0)",
        {SAVED, *TRAFFIC},
    ),
    "a detour": (
        "a = self.conv2a(a)",
        "a = self.conv2a(a.to(self.gpu1).to(self.gpu0))",
        {"traffic forward", "traffic backward"},
    ),
    "a copy for nothing": (
        "        a = self.conv2a(a)",
        "        a.detach().to(self.gpu1)\n        a = self.conv2a(a)",
        {"traffic forward"},
    ),
    "an image sent twice": (
        "x.to(self.gpu1)",
        "x.to(self.gpu1).to(self.gpu0).to(self.gpu1)",
        {"traffic forward"},
    ),
}


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if not check.ok}


def edited(program: Program, old: str, new: str) -> dict[str, bytes]:
    """Return the files of a program, with one place of its model changed."""
    files = render(program)
    text = files["model.py"].decode()
    assert text.count(old) == 1
    return files | {"model.py": text.replace(old, new).encode()}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults(fault: str) -> None:
    old, new, seen = FAULTS[fault]
    program = towers("two")
    assert failed(verify(program, edited(program, old, new))) == seen


def test_every_check_has_a_fault() -> None:
    program = towers("two")
    checks = verify(program)
    assert {check.name for check in checks} == NAMES
    assert failed(checks) == set()
    seen = set().union(*(names for _, _, names in FAULTS.values()))
    assert seen | {"shapes in ONNX"} == NAMES


def test_a_plan_without_the_copy_of_the_image_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def activations(placed: PlacedGraph, *, half: bool) -> Counter[cost.Edge]:
        found = counted(placed, half=half).items()
        return Counter({e: n for e, n in found if e[0] != "conv1"})

    counted = cost.traffic
    monkeypatch.setattr(cost, "traffic", activations)
    (wrong,) = (check for check in verify(towers("two")) if not check.ok)
    assert wrong.name == "traffic forward"
    copied = wrong.measured["conv1: gpu0 -> gpu1"]
    assert copied == FLOAT32 * 3 * 12 * 12


def onnx_faults() -> dict[str, bytes]:
    """ONNX graphs that are not that of the network, each with a fault of its own."""
    edits = {
        "a norm across its groups": (", groups: 4}\n  pool1", "}\n  pool1"),
        "a wrong alpha": ("alpha: 0.1", "alpha: 0.11"),
        "a wrong side padded": ("{bottom: 1, right: 1}", "{top: 1, left: 1}"),
        "average for maximum": ("max_pool2d", "avg_pool2d"),
    }
    return {
        fault: render(compile_text(TOWERS.replace(*edit)))["model.onnx"]
        for fault, edit in edits.items()
    }


@pytest.mark.parametrize("fault", onnx_faults())
def test_planted_faults_of_onnx(fault: str) -> None:
    program = towers("two")
    files = render(program)
    assert onnx_faults()[fault] != files["model.onnx"]
    found = verify(program, files | {"model.onnx": onnx_faults()[fault]})
    assert failed(found) == {VALUES}


def test_layers_with_each_others_names_in_onnx() -> None:
    program = towers("two")
    files = render(program)
    swapped = onnx.load_model_from_string(files["model.onnx"])
    other = {"relu1": "pool1", "pool1": "relu1"}
    for node in swapped.graph.node:
        for names in (node.input, node.output):
            names[:] = [other.get(name, name) for name in names]
    for value in swapped.graph.value_info:
        value.name = other.get(value.name, value.name)
    found = verify(program, files | {"model.onnx": swapped.SerializeToString()})
    assert failed(found) == {"shapes in ONNX"}


def test_a_missing_relu_is_noticed_on_one_device_too() -> None:
    program = towers("one")
    found = verify(program, edited(program, "F.relu(self.fc4(x))", "self.fc4(x)"))
    assert failed(found) == {VALUES, SAVED}
    assert {check.name for check in found} == NAMES - {START, LOGITS, GRADIENTS}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"raise ValueError('no\\nluck')", "ValueError: no luck"),
        (b"class Towers", "SyntaxError: expected ':' (model.py, line 1)"),
        (b"import specgen_of_another_name", "ModuleNotFoundError: No module named"),
        (b"pass", "AttributeError: module 'specgen_model' has no attribute 'Towers'"),
    ],
)
def test_broken_code_is_a_failed_check(content: bytes, reason: str) -> None:
    program = towers("two")
    found = verify(program, render(program) | {"model.py": content})
    assert failed(found) == NAMES - {"shapes in ONNX"}
    assert all(check.measured.startswith(reason) for check in found if not check.ok)
    assert "Traceback" not in table(found)


def test_a_broken_graph_is_a_failed_check() -> None:
    program = towers("two")
    found = verify(program, render(program) | {"model.onnx": b"nonsense"})
    assert failed(found) == {"shapes in ONNX", VALUES}


@settings(max_examples=25)
@given(placed_networks(), sampled_from(["float32", "bfloat16"]))
def test_any_network_in_any_placement(data: Data, precision: str) -> None:
    recipe = data.get("training", {}) | {"precision": precision}
    checks = verify(compile_data(data | {"training": recipe}))
    assert not failed(checks), table(checks)


@pytest.mark.parametrize(
    "stem", sorted(path.stem for path in ROOT.glob("specs/*.yaml"))
)
def test_every_spec(stem: str) -> None:
    checks = verify(compile_file(ROOT / "specs" / f"{stem}.yaml"))
    assert not failed(checks), table(checks)


HALF = "training: {precision: bfloat16}\n"


def test_traffic_is_measured_as_autocast_computes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images are sent in float32; of the rest, what came of a product has half."""
    program = compile_text(f"{TOWERS}placement: {PLACEMENTS['two']}\n{HALF}")
    checks = {check.name: check for check in verify(program)}
    assert not failed(list(checks.values()))
    full = {check.name: check for check in verify(towers("two"))}
    for name in ("traffic forward", "traffic backward"):
        for edge, count in full[name].measured.items():
            ways = 1 if edge.startswith("conv1") else 2
            assert checks[name].measured[edge] * ways == count, edge
    counted = cost.traffic
    monkeypatch.setattr(cost, "traffic", lambda placed, *, half: counted(placed))
    assert failed(verify(program)) == {"traffic forward"}


def test_json() -> None:
    program = towers("two")
    nan = edited(program, "x = self.fc5(x)", 'x = self.fc5(x) * float("nan")')
    content = json.loads(json.dumps(as_data(verify(program, nan)), allow_nan=False))
    assert list(content) == ["ok", "checks"]
    assert content["ok"] is False
    assert all(
        list(check) == ["name", "expected", "measured", "ok"]
        for check in content["checks"]
    )
    found = {check["name"]: check for check in content["checks"]}
    assert found["parameters"]["measured"] == found["parameters"]["expected"] == 1901
    assert found["shapes in PyTorch"]["measured"]["conv2"] == [16, 3, 3]
    assert found[VALUES]["measured"] == {"logits": "nan", "prob": "nan"}
    assert found[VALUES]["expected"] == 1e-4
    assert as_data(verify(program))["ok"] is True


def test_table() -> None:
    program = towers("two")
    lines = table(verify(program)).splitlines()
    assert lines[-1] == "all 14 checks passed"
    assert max(map(len, lines)) <= 88
    twice = edited(
        program, "b = self.conv2b(b)", "b = (self.conv2b(b), self.conv2b(b))[0]"
    )
    found = table(verify(program, twice))
    assert "FAILED  FLOPs by layer" in found
    assert "  conv2: 31,104 instead of 20,736" in found
    assert found.endswith("3 of 14 checks failed")


@pytest.mark.parametrize(("count", "shown"), [(1, "1 figure "), (2, "2 figures ")])
def test_figures_are_counted(count: int, shown: str) -> None:
    figures = {f"conv{n}": n for n in range(count)}
    assert shown in table([Check("MACs", figures, figures, ok=True)])


def test_the_first_layer_that_differs_is_named() -> None:
    program = towers("two")
    layers = list(program.spec.layers)
    # Seen at conv2 by its module's output, which comes out of a relu that was changed.
    wrong = edited(
        program, "self.norm1(F.relu(self.conv1a(a)))", "self.norm1(self.conv1a(a))"
    )
    checks = verify(program, wrong)
    assert first_difference(checks, layers) == "norm1"
    (values,) = (check for check in checks if check.name == VALUES)
    assert list(values.measured) == [
        "conv1",
        "norm1",
        "pool1",
        "conv2",
        "conv3",
        "fc4",
        "drop4",
        "fc5",
        "logits",
        "prob",
    ]
    assert table(checks, layers).endswith("the first layer that differs is norm1")
    assert first_difference(verify(program), layers) is None


def test_table_escapes_what_generated_code_says() -> None:
    program = towers("two")
    files = render(program) | {"model.py": b"raise ValueError('\\x1b[31mred')"}
    assert "\x1b" not in table(verify(program, files))


def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(sys.modules)
    verify(towers("two"))
    assert list(tmp_path.iterdir()) == []
    assert not [name for name in set(sys.modules) - before if "specgen_" in name]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"onnxruntime"}, "onnxruntime is not installed"),
        ({"torch", "onnxruntime"}, "torch and onnxruntime are not installed"),
    ],
)
def test_missing_packages(
    missing: set[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        package, "find_spec", lambda name: None if name in missing else find_spec(name)
    )
    with pytest.raises(SpecError) as caught:
        verify(towers("two"))
    (problem,) = caught.value.diagnostics
    assert problem.message == f"verify runs the generated code, but {message}"
    assert problem.help == "pip install 'specgen[verify]'"


def test_importing_it_imports_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys, specgen.verify; print({'torch', 'onnxruntime'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
