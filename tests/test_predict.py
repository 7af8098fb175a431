"""predict.py: the same answers from a checkpoint and from its export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from images_on_disk import picture
from safetensors.torch import load_file
from scripts import importing, module, read_run, run, write_checkpoint

from specgen import sample_data
from specgen.runtime import images
from specgen.runtime.checkpoint import Run, save
from specgen.runtime.errors import OTHER_CODE
from specgen.runtime.onnx_seal import seal
from specgen.runtime.prediction import Network, open_onnx, predict

ROOT = Path(__file__).parent.parent
MINI = ROOT / "generated" / "alexnet_mini"


def decode(path: Path, size: int) -> torch.Tensor:
    return torch.from_numpy(images.decode(path, size))


CLASSES = [*sorted(sample_data.FORMS)[:8], "two\nlines"]  # of ten outputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of alexnet_mini, untrained but sure of its answers."""
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    weights = module(MINI, "model").AlexNet(["cpu"] * 2, seed=0).state_dict()
    weights["fc8.weight"] *= 100
    tensors = {**weights, "data.colors": torch.eye(3)}
    tensors["data.mean"] = torch.linspace(90, 150, 3 * 112**2).view(3, 112, 112)
    for name, weight in weights.items():
        tensors[f"momentum_buffer.{name}"] = torch.zeros_like(weight)
    settings = module(MINI, "data").SETTINGS
    save(path, tensors, Run({}, settings, CLASSES, {}, 9))
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    ended = run(MINI / "export.py", checkpoint)
    assert ended.code == 0, ended.err
    return checkpoint.with_suffix(".onnx")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Drawn images, one of each class."""
    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_data, "IMAGES_PER_CLASS", {"val": 1})
        sample_data.render(folder, lambda done, total: None)
    return sorted(folder.rglob("*.jpg"))


def assert_equal_answers(checkpoint: Path, exported: Path, files: list[Path]) -> None:
    """Both forms put the same classes in the same order, with equal probabilities."""
    with importing(MINI):
        data, script = import_module("data"), import_module("predict")
        network = script.open_checkpoint(checkpoint)
    shape = data.SHAPES["mean"]
    networks = network, open_onnx(exported, data.SETTINGS, shape, outputs=10)
    answers = set()
    for path in files:
        image = decode(path, data.SIZE)
        for crops in (data.center_crop, data.ten_crops):
            one, other = (predict(net, image, crops) for net in networks)
            assert [name for name, _ in one] == [name for name, _ in other], path
            expected = [pytest.approx(p, abs=1e-5) for _, p in one]
            assert [p for _, p in other] == expected, path
            assert len(one) == 5
        answers.add(tuple(one))
    assert len(answers) > len(files) / 2  # they depend on the image


def test_answers_are_equal_on_drawn_shapes(
    checkpoint: Path, exported: Path, shapes: list[Path]
) -> None:
    assert_equal_answers(checkpoint, exported, shapes)


def test_answers_are_equal_on_photos(
    checkpoint: Path, exported: Path, odd: Path
) -> None:
    files = sorted((odd / "decodable").rglob("*.JPEG"))
    assert len(files) > 90
    assert_equal_answers(checkpoint, exported, files)


def test_answers_are_those_of_the_network(checkpoint: Path, shapes: list[Path]) -> None:
    with importing(MINI):
        script, data, model = map(import_module, ("predict", "data", "model"))
        network = script.open_checkpoint(checkpoint)
    tensors = load_file(checkpoint)
    net = model.AlexNet(["cpu"] * 2).eval()
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    batch = torch.stack([decode(path, data.SIZE) for path in shapes])
    mean = tensors["data.mean"]
    with torch.no_grad():
        (center,) = map(net.probabilities, data.center_crop(batch, mean))
        ten = sum(net.probabilities(crop) for crop in data.ten_crops(batch, mean)) / 10
    for crops, expected in ((data.center_crop, center), (data.ten_crops, ten)):
        for row, image in enumerate(batch):
            found = predict(network, image, crops)
            best = sorted(expected[row, :9].tolist(), reverse=True)[:5]
            assert [p for _, p in found] == pytest.approx(best, abs=1e-5)
            label = int(expected[row, :9].argmax())
            assert found[0][0] == CLASSES[label]


def test_it_prints_names_and_probabilities(
    checkpoint: Path, exported: Path, shapes: list[Path]
) -> None:
    flags = ("--model", checkpoint)
    ended = run(MINI / "predict.py", *shapes[:2], *flags)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) == 2 * 6
    assert (lines[0], lines[6]) == (str(shapes[0]), str(shapes[1]))
    for start in (1, 7):
        answers = [line.split() for line in lines[start : start + 5]]
        figures = [float(probability) for probability, *_ in answers]
        assert figures == sorted(figures, reverse=True)
        assert sum(figures) < 1.001
    ten = run(MINI / "predict.py", "--ten-crop", *shapes[:2], *flags)
    assert ten.out != ended.out
    again = run(MINI / "predict.py", *shapes[:2], "--model", exported)
    assert [line.split()[-1] for line in again.out.splitlines()] == [
        line.split()[-1] for line in lines
    ]


def test_names_that_are_not_text_can_be_printed(
    checkpoint: Path, shapes: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9\n.jpg")
    path.write_bytes(shapes[0].read_bytes())
    sure = tmp_path / "sure.safetensors"
    tensors = load_file(checkpoint)
    tensors["fc8.bias"][8] = 1000.0
    write_checkpoint(sure, tensors, read_run(checkpoint))
    ended = run(MINI / "predict.py", path, "--model", sure)
    first, second, *_ = ended.out.splitlines()
    assert first == repr(str(path))
    assert second == r"  1.0000  'two\nlines'"
    ended.out.encode()


def test_fewer_classes_than_five(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    network = Network(
        lambda crops: torch.tensor([[1.0, 3.0, 2.0, 9.0]]),
        ["cat", "dog", "owl"],  # the fourth output was never trained
        torch.zeros(3, 28, 28),
    )
    image = decode(tmp_path / "a.png", 28)
    found = predict(network, image, lambda images, mean: [images - mean])
    assert [name for name, _ in found] == ["dog", "owl", "cat"]


def test_unreadable_images_are_named_and_the_others_predicted(
    exported: Path, shapes: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    files = [tmp_path / "page.jpg", shapes[0], tmp_path / "none.jpg"]
    ended = run(MINI / "predict.py", *files, shapes[1], "--model", exported)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        f"error: cannot read '{tmp_path}/page.jpg': "
        "it is not one of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM",
        f"error: cannot read '{tmp_path}/none.jpg': No such file or directory",
    ]
    assert ended.out.splitlines()[::6] == [str(shapes[0]), str(shapes[1])]


def test_every_broken_photo_is_named(
    checkpoint: Path, odd: Path, shapes: list[Path]
) -> None:
    broken = sorted((odd / "broken").rglob("*.JPEG"))
    ended = run(MINI / "predict.py", *broken, shapes[0], "--model", checkpoint)
    assert ended.code == 1
    for path, error in zip(broken, ended.err.splitlines(), strict=True):
        assert error.startswith(f"error: cannot read '{path}': ")
    assert ended.out.startswith(f"{shapes[0]}\n")


def test_an_answer_that_is_not_a_number_is_refused(
    checkpoint: Path, shapes: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "damaged.safetensors"
    tensors = load_file(checkpoint)
    tensors["fc8.weight"].fill_(3e38)
    write_checkpoint(path, tensors, read_run(checkpoint))
    ended = run(MINI / "predict.py", shapes[0], "--model", path)
    expected = "error: the answer is not a number: the model is damaged\n"
    assert (ended.code, ended.err) == (1, expected)


def refusal(model: Path, image: Path) -> str:
    """Return the sentence that predict.py prints to refuse a model, without advice."""
    ended = run(MINI / "predict.py", image, "--model", model)
    assert (ended.code, ended.out) == (1, "")
    (said,) = ended.err.removesuffix(f"\n  = help: {OTHER_CODE}\n").splitlines()
    assert said.startswith(f"error: {model} "), said
    return said.removeprefix(f"error: {model} ")


def altered(exported: Path, folder: Path, key: str, value: str | None) -> Path:
    """Write a copy whose metadata has another value, or none."""
    proto = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert key in metadata
    del proto.metadata_props[:]
    changed = metadata | {key: value}
    onnx.helper.set_model_props(
        proto, {key: text for key, text in changed.items() if text is not None}
    )
    write(proto, folder / "altered.onnx")
    return folder / "altered.onnx"


def write(proto: onnx.ModelProto, path: Path) -> None:
    """Write a model as export.py does, with its checksum."""
    for entry in [each for each in proto.metadata_props if each.key == "sha256"]:
        proto.metadata_props.remove(entry)
    path.write_bytes(seal(proto.SerializeToString()))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("classes", None, "was not written by export.py"),
        ("classes", "[", "was not written by export.py"),
        ("classes", "[" * 100_000, "was not written by export.py"),
        ("classes", "[1, 2]", "was not written by export.py"),
        ("classes", "[]", "was not written by export.py"),
        ("data", None, "was not written by export.py"),
        ("data", "[]", "was not written by export.py"),
        ("mean", "AAAA", "was not written by export.py"),
        ("mean", "", "was not written by export.py"),
        ("mean", "é", "was not written by export.py"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(
    key: str,
    value: str | None,
    expected: str,
    exported: Path,
    shapes: list[Path],
    tmp_path: Path,
) -> None:
    path = altered(exported, tmp_path, key, value)
    assert refusal(path, shapes[0]) == expected


def test_an_export_from_other_data_is_refused(
    exported: Path, shapes: list[Path], tmp_path: Path
) -> None:
    path = altered(exported, tmp_path, "mean", "AAAA")  # as of another size
    settings = json.dumps(module(MINI, "data").SETTINGS | {"std": 1.0})
    said = refusal(altered(path, tmp_path, "data", settings), shapes[0])
    assert said == "is from other data: std is 1.0 there and 64.0 here"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def change(path: Path) -> None:
    onnx.save(onnx.load(path), path)
    more = onnx.ModelProto(domain="x").SerializeToString()
    path.write_bytes(path.read_bytes() + more)


def narrow(path: Path) -> None:
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    write(proto, path)


def other_input(path: Path) -> None:
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.input[:] = ["x" if name == "input" else name for name in node.input]
    proto.graph.input[0].name = "x"
    write(proto, path)


def other_output(path: Path) -> None:
    proto = onnx.load(path)
    del proto.graph.node[:]
    mean = onnx.helper.make_node("ReduceMean", ["input"], ["logits"], keepdims=0)
    proto.graph.node.append(mean)
    del proto.graph.output[1:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    write(proto, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def take_structure(path: Path) -> None:
    path.write_bytes((MINI / "model.onnx").read_bytes())


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (cut, "is not an ONNX file of export.py"),
        (damage, "is damaged: its checksum is wrong"),
        (change, "has changed since export.py wrote it"),
        (empty, "was not written by export.py"),
        (narrow, "cannot be run: "),
        (other_input, "cannot be run: "),
        (other_output, "is from another network: different: logits is "),
        (take_structure, "was not written by export.py"),
    ],
)
def test_other_onnx_files_are_refused(
    alter: Callable[[Path], None],
    expected: str,
    exported: Path,
    shapes: list[Path],
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(exported.read_bytes())
    alter(path)
    assert refusal(path, shapes[0]).startswith(expected)


def test_names_that_the_terminal_cannot_show_are_escaped(
    exported: Path, shapes: list[Path], tmp_path: Path
) -> None:
    image = tmp_path / "é.jpg"
    image.write_bytes(shapes[0].read_bytes())
    ended = subprocess.run(
        [sys.executable, MINI / "predict.py", image, "--model", exported],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{tmp_path}/\\xe9.jpg\n  ")


@pytest.mark.parametrize(
    ("name", "what"),
    [("x.onnx", "file"), ("x.ONNX", "file"), ("x.safetensors", "checkpoint")],
)
def test_a_missing_model_is_refused(
    name: str, what: str, shapes: list[Path], tmp_path: Path
) -> None:
    ended = run(MINI / "predict.py", shapes[0], "--model", tmp_path / name)
    assert ended.code == 1
    assert ended.err == f"error: there is no {what} {tmp_path / name}\n"


def test_the_checkpoint_of_a_run_is_the_default(
    shapes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(MINI / "predict.py", shapes[0])
    path = "runs/alexnet_mini/checkpoint.safetensors"
    expected = f"there is no checkpoint {path}: train first, or give another as --model"
    assert (ended.code, ended.err) == (1, f"error: {expected}\n")


def test_onnxruntime_is_needed_only_for_onnx(
    checkpoint: Path,
    exported: Path,
    shapes: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    not_installed: Any = None
    monkeypatch.setitem(sys.modules, "onnxruntime", not_installed)
    assert run(MINI / "predict.py", shapes[0], "--model", checkpoint).code == 0
    assert refusal(exported, shapes[0]) == "needs onnxruntime: install it"
