"""The command lines of generated scripts: their help, and what they refuse alike."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from scripts import Ended, generate, photos, run

from specgen.runtime import console, prediction
from specgen.runtime.errors import DataError

RUNTIME = ROOT / "specgen" / "runtime"
INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name.startswith("matplotlib"):
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01}}
    return generate(tmp_path_factory.mktemp("a folder") / "tiny", training)


def command(usage: str) -> list[str]:
    """Return the command in a usage message, without its arguments."""
    words = shlex.split(usage.partition("[-h]")[0])
    assert words[0] == "usage:"
    return words[1:]


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "pack"])
def test_the_usage_of_a_script_is_how_it_was_started(name: str, code: Path) -> None:
    script = code / f"{name}.py"
    ended = run(script, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert command(ended.out) == [Path(sys.executable).name, str(script)]


def test_the_usage_of_the_curves_is_how_they_were_started() -> None:
    place = RUNTIME.relative_to(ROOT)
    started = [sys.executable, "-X", "importtime", str(place), "--help"]
    shown = subprocess.run(started, cwd=ROOT, capture_output=True, text=True)
    assert command(shown.stdout) == [Path(sys.executable).name, str(place)]
    assert "argparse\n" in shown.stderr
    assert "torch\n" not in shown.stderr  # which takes a second


def test_an_interrupt_while_the_curves_are_imported_leaves_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, RUNTIME, "run"],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("script", "arguments", "what"),
    [
        ("train.py", ("--data", ".", "--output", "-"), "--output"),
        ("export.py", ("x", "--output", "-"), "--output"),
        ("pack.py", (".", "-"), "OUT"),
    ],
)
def test_nothing_is_written_to_a_file_called_dash(
    script: str, arguments: tuple[str, ...], what: str, code: Path
) -> None:
    ended = run(code / script, *arguments)
    expected = f"error: argument {what}: - cannot be standard output here; "
    assert ended.code == 2
    assert expected in ended.err
    assert not os.path.lexists("-")


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "pack"])
def test_an_interrupt_leaves_no_traceback_from_the_first_import_on(
    name: str, code: Path
) -> None:
    for path in (code / f"{name}.py", RUNTIME / "__main__.py"):
        guard = "\nif signal.getsignal(signal.SIGINT) == "
        before, found, _ = path.read_text().partition(guard)
        assert found
        imports = [line for line in before.splitlines() if "import " in line]
        assert imports == ["import signal"]


def wide_lines(ended: Ended, columns: int) -> list[str]:
    """Return the lines that are too wide and have more than one path or word."""
    lines = (ended.out + ended.err).splitlines()
    quoted = re.compile(r"'[^']*'")
    return [
        line
        for line in lines
        if len(line) > columns and len(quoted.sub("path", line).split()) > 1
    ]


@pytest.mark.parametrize("columns", [12, 40, 80])
@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "pack"])
def test_help_and_usage_errors_fit_the_terminal(
    name: str, columns: int, code: Path
) -> None:
    for arguments, status in (("--help",), 0), ((), 2), (("--none", "x" * 30), 2):
        ended = run(code / f"{name}.py", *arguments, columns=columns)
        assert ended.code == status
        said = ended.out + ended.err
        assert said.split()[:2] == ["usage:", Path(sys.executable).name]
        if columns > 12:  # argparse cannot do with less
            assert wide_lines(ended, columns) == []


def test_what_scripts_say_fits_the_terminal(code: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "a folder of photos with a long name")
    (data / "train/class0/broken, and named at some length.jpg").write_text("<html>")
    output = tmp_path / "experiments" / ("a-long-name-" * 5)
    model = output / "checkpoint.safetensors"
    train = "train", "--data", data, "--output", output, "--workers", 1
    for status, name, *arguments in (
        (1, *train),
        (0, *train, "--bad-images", "skip", "--steps", 5),
        (1, *train),
        (0, *train, "--resume"),
        (1, *train, "--resume", "--seed", 3, "--batch-size", 4),
        (0, "evaluate", model, "--data", data, "--workers", 1),
        (1, "predict", data, "--model", model),
        (0, "export", model),
        (0, "pack", data, output / "packed", "--bad-images", "skip"),
        (0, "../runtime/__main__", output),
    ):
        ended = run(code / f"{name}.py", *arguments, columns=80)
        assert ended.code == status, ended.err
        assert ended.out + ended.err
        assert wide_lines(ended, 80) == []


def test_what_is_quoted_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert console.wrap("it's the user's own folder") == "it's the user's own\n  folder"
    for name in ("a name with spaces.jpg", "the dog's own photo.jpg", "a 'b c' \"d e"):
        assert console.wrap(f"cannot read {name!r} now") == (
            f"cannot read\n  {name!r}\n  now"
        )


def test_how_paths_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, expected in {
        "runs/net": "runs/net",
        f"{tmp_path}/runs/net": "runs/net",
        "/of/others": "/of/others",
        "../other": "../other",
        "é.jpg": "é.jpg",
        "a b.jpg": "'a b.jpg'",
        "it's.jpg": '"it\'s.jpg"',
        "a\nerror: b": r"'a\nerror: b'",
        "\udcff.jpg": r"'\udcff.jpg'",
    }.items():
        assert console.shown(Path(path)) == expected


def test_a_folder_stands_for_its_images_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", ".DS_Store", "inside/c.jpg"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    folder, single = tmp_path / "photos", tmp_path / "none.jpg"
    expected = [single, folder / "a.png", folder / "b.jpg"]
    assert prediction.list_files([single, folder]) == expected
    with pytest.raises(DataError, match=f"there are no images directly in {tmp_path}$"):
        prediction.list_files([folder, tmp_path])


@pytest.mark.parametrize("name", ["run/checkpoint.safetensors", "net.onnx", "N.ONNX"])
def test_a_model_in_the_place_of_an_image_is_refused(name: str, code: Path) -> None:
    ended = run(code / "predict.py", name, "photos")
    assert ended.code == 2
    assert f"error: {name} is not an image: give it as --model" in ended.err
