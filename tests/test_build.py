"""`specgen build`: the committed folders, equal bytes, wrong input, what is touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from specgen import cli, lock
from specgen.compiler import compile_file, render

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def build(*arguments: str, hash_seed: str = "0", cwd: Path = ROOT) -> None:
    command = [sys.executable, "-m", "specgen", "build", *arguments]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True)


@each_spec
def test_the_committed_folder_is_what_the_spec_says(spec: Path) -> None:
    assert (
        cli.main(["build", "--check", str(spec), "--output", str(ROOT / "generated")])
        == 0
    )


def test_every_committed_folder_has_its_spec() -> None:
    folders = {path.name for path in (ROOT / "generated").iterdir() if path.is_dir()}
    assert folders == {spec.stem for spec in SPECS} | {lock.RUNTIME}


def test_equal_bytes_under_another_hash_seed_and_from_another_folder(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build("specs/alexnet.yaml", "--output", str(one), hash_seed="1")
    spec = str(ROOT / "specs/alexnet.yaml")
    build(spec, "--output", str(two), hash_seed="2", cwd=tmp_path)
    assert contents(one / "alexnet") == contents(two / "alexnet")


def test_a_second_build_touches_no_file(tmp_path: Path) -> None:
    arguments = ["build", str(ROOT / "specs/alexnet.yaml"), "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    folder = tmp_path / "alexnet"
    before = {file: file.stat().st_mtime_ns for file in [folder, *folder.iterdir()]}
    assert cli.main(arguments) == 0
    after = {file: file.stat().st_mtime_ns for file in [folder, *folder.iterdir()]}
    assert before == after


def test_the_placement_in_the_graph_is_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", str(ROOT / "specs/alexnet.yaml"), "--output", str(tmp_path)]
    option = "--onnx-devices"
    assert cli.main(arguments) == 0
    plain = contents(tmp_path / "alexnet")
    assert cli.main([*arguments, option]) == 0
    annotated = contents(tmp_path / "alexnet")
    changed = {name for name in plain if annotated[name] != plain[name]}
    assert changed == {"model.onnx", "model.onnx.txt", "specgen.lock"}
    assert annotated.keys() == plain.keys()
    capsys.readouterr()
    assert cli.main([*arguments, option]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'alexnet'} is up to date\n"
    assert cli.main([*arguments, option, "--check"]) == 0
    assert cli.main([*arguments, "--check"]) == 1
    assert "model.onnx is out of date" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert contents(tmp_path / "alexnet") == plain


def test_only_the_lock_file_has_versions_and_hashes(tmp_path: Path) -> None:
    build("specs/alexnet.yaml", "--output", str(tmp_path))
    files = contents(tmp_path / "alexnet")
    lock = json.loads(files.pop("specgen.lock"))
    assert lock["outputs"].keys() == files.keys()
    for content in files.values():
        assert lock["generator"].encode() not in content
        assert not any(
            digest.encode() in content for digest in lock["outputs"].values()
        )
        assert str(tmp_path).encode() not in content


@pytest.mark.parametrize("devices", [False, True])
def test_hooks_have_nothing_to_tidy_up(devices: bool) -> None:
    """What the hooks trailing-whitespace and end-of-file-fixer look for."""
    program = compile_file(ROOT / "specs/alexnet.yaml")
    for name, content in render(program, onnx_devices=devices).items():
        if name != "model.onnx":
            text = content.decode()
            assert not re.search(r"[ \t\r]$", text, re.MULTILINE), name
            assert re.search(r"[^\n]\n\Z", text), name


def test_a_set_option_changes_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = str(ROOT / "specs/alexnet.yaml")
    change = ["--set", "layers.fc8.out_features=10"]
    assert cli.main(["show", spec, *change, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_shape"] == [10]


WRONG = """\
specgen: 1
name: Net
sumary: typo
input: {channels: 3, height: 32, width: 32}
layers:
  conv1: {op: conv2d, out_channels: 10, kernel_size: 5, groups: 2}
  fc: {op: linear, out_features: 10}
placement:
  devices: {gpu0: {}}
  layers: {conv1..fd: gpu0}
"""


def test_every_error_at_once_each_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(WRONG)
    assert cli.main(["build", str(spec), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    for place in (":3:1", ":6:65", ":7:12", ":10:12"):
        assert f"{spec}{place}\n" in said.err, said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


def test_errors_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(WRONG)
    assert cli.main(["show", str(spec), "--errors", "json"]) == 1
    codes = [error["code"] for error in json.loads(capsys.readouterr().err)]
    assert codes[0] == "unknown-key"
    assert "shape-mismatch" in codes


def test_a_file_name_cannot_become_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / 'a"); print("b.yaml'
    spec.write_text((ROOT / "specs/alexnet.yaml").read_text())
    assert cli.main(["build", str(spec), "--output", str(tmp_path)]) == 1
    assert "error[bad-name]" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_spec_that_cannot_be_read(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(tmp_path / path)]) == 1
    assert capsys.readouterr().err.startswith("error[")


def test_an_unknown_key_in_a_section_that_is_wrong_anyway(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    text = WRONG.replace("channels: 3", "channels: 0, extra: 1")
    spec.write_text(text)
    assert cli.main(["build", str(spec)]) == 1


@pytest.mark.parametrize("name", ["alexnet", "Alex_Net", "Tensor", "int", "class"])
def test_the_class_must_have_a_class_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text((ROOT / "specs/alexnet.yaml").read_text())
    assert cli.main(["show", str(spec), "--set", f"name={name}"]) == 1
    assert "error[bad-name]" in capsys.readouterr().err


def test_the_committed_schema_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == (ROOT / "specs/specgen.schema.json").read_text()
