"""`specgen compare --build`: a folder for each variant, and one of its runs."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path

import pytest
from helpers import ROOT

from specgen import build, cli, lock
from specgen.compiler import compile_file
from specgen.frontend.overlay import change, load, read
from specgen.names import variant_name
from specgen.transaction import swap
from specgen.variants import compare
from specgen.writer import write

MINI = ROOT / "specs/alexnet_mini.yaml"
SWEEP = "training.epochs=3,4,0"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs are copied to where they may be changed."""
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_bytes(MINI.read_bytes())


def folders(root: str = "out") -> list[str]:
    return sorted(path.name for path in Path(root).iterdir())


def test_each_variant_is_what_build_writes_with_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["compare", "net.yaml", "--sweep", SWEEP, "--build", "out"]) == 0
    names = ["net-training.epochs=3", "net-training.epochs=4"]
    assert folders() == [*names, lock.RUNTIME]
    said = capsys.readouterr().out
    for name in names:
        assert f"wrote out/{name}\n" in said
        option = name.removeprefix("net-")
        programs = {Path("net.yaml"): compile_file(Path("net.yaml"), [option])}
        files = build.outputs(programs, [option], onnx_devices=False)["net"]
        folder = Path("out", name)
        assert {path.name for path in folder.iterdir()} == files.keys()
        for file, content in files.items():
            assert (folder / file).read_bytes() == content
        assert f'"runs/{name}"' in (folder / "train.py").read_text()
        record = json.loads((folder / lock.NAME).read_text())
        assert (record["spec"], record["set"]) == ("net.yaml", [option])


def test_equal_files_stay_and_edited_ones_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["compare", "net.yaml", "--sweep", SWEEP, "--build", "out"]
    assert cli.main(command) == 0
    capsys.readouterr()
    edited = Path("out/net-training.epochs=3/model.py")
    edited.write_text("mine")
    assert cli.main(command) == 1
    out, said = capsys.readouterr()
    assert "out/net-training.epochs=4 is up to date\n" in out
    assert "epochs=3 is up to date" not in out
    assert "error[edited-file]" in said
    assert edited.read_text() == "mine"
    assert cli.main([*command, "--force", "--format", "json"]) == 0
    out, said = capsys.readouterr()
    assert len(json.loads(out)) == 3  # nothing else is printed there
    assert "saved the edited file as out/net-training.epochs=3/model.py.orig" in said
    assert edited.read_text() != "mine"


def test_nothing_is_written_where_every_variant_is_refused() -> None:
    sweep = ["--sweep", "training.epochs=0,-1", "--build", "out"]
    assert cli.main(["compare", "net.yaml", *sweep]) == 1
    assert not Path("out").exists()


def test_folders_of_other_specs_are_left(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other").mkdir()
    text = Path("net.yaml").read_text()
    Path("other/net.yaml").write_text(text.replace("summary:", "reference:"))
    command = ["compare", "--sweep", "training.epochs=3", "--build", "out"]
    assert cli.main([*command, "net.yaml"]) == 0
    before = Path("out/net-training.epochs=3/specgen.lock").read_bytes()
    assert cli.main([*command, "other/net.yaml"]) == 1
    assert "belongs to another spec, net.yaml" in capsys.readouterr().err
    assert cli.main([*command, "net.yaml", "other/net.yaml"]) == 1
    assert (
        "would go into the same folder, net-training.epochs=3"
        in capsys.readouterr().err
    )
    assert Path("out/net-training.epochs=3/specgen.lock").read_bytes() == before


def test_the_command_says_what_a_hash_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    option = "layers.conv1.padding={top: 1}"
    sweep = ["--sweep", option, "--build", "out"]
    assert cli.main(["compare", "net.yaml", *sweep]) == 0
    (name, _) = folders()
    assert re.fullmatch(r"net-conv1\.padding=_top_1_-[0-9a-f]{8}", name)
    assert f"wrote out/{name}  ({option})\n" in capsys.readouterr().out


# --- names


def test_names_are_valid_and_different_on_every_disk() -> None:
    values = [
        "1",
        "1.",
        "1. ",
        "a",
        "A",
        "-1",
        "../x",
        "a b",
        "a-c",
        "é",
        "x" * 50,
        "'",
    ]
    values += ["a-training.epochs=3", "CON", "nul.txt", "x=y", "[1, 2]", "[1,2]", ""]
    options = [f"{key}={v}" for key in ("summary", "training.epochs") for v in values]
    sets = [
        (),
        *itertools.permutations(options, 1),
        *itertools.permutations(options, 2),
    ]
    stems = ["net", "net-x", "n" * 40, "n" * 39 + "m"]
    names = {variant_name(stem, each).casefold() for stem in stems for each in sets}
    assert len(names) == len(stems) * len(sets)
    for name in names:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._=-]*[a-z0-9_]", name)
        assert len(name) <= 40
        assert lock.PLAIN.fullmatch(name)  # or a build that is killed is not undone


def test_a_killed_build_of_variants_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next command undoes what a kill left half done."""
    (variant,) = compare(["net.yaml"], sweeps=["training.epochs=3"])
    assert variant.sound
    made = build.variants([variant.sound.program], Path("out"))
    Path("out").mkdir()
    new = {
        f"{name}/{file}": b for name, files in made.items() for file, b in files.items()
    }
    if not (child := os.fork()):  # killed when all files but the last are in place
        unlink = Path.unlink

        def last(path: Path, missing_ok: bool = False) -> None:
            if path.name == "journal":
                os._exit(9)
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", last)
        swap(Path("out"), new)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert "net-training.epochs=3" in folders()
    write(Path("out"), {})
    assert folders() == []


# --- read once, changed often


@pytest.mark.parametrize(
    "sets",
    [
        ["training.epochs=3", "layers.norm1=null"],
        ["layers.new={op: relu, after: pool1}", "layers.new.after=conv1"],
        ["summary=mine", "layers.conv1.stride=4"],
        ["nosuch=1", "x", "layers.cnv1.groups=2", "layers.relu1=null"],
    ],
)
def test_changing_a_read_spec_equals_reading_a_changed_one(sets: list[str]) -> None:
    Path("top.yaml").write_text("extends: net.yaml\ndata: {size: 130}\nnosuch: 2\n")
    source = read(Path("top.yaml"))
    before = json.dumps(source.data)
    first = change(source, sets)
    assert change(source, sets) == first == load(Path("top.yaml"), sets)
    assert json.dumps(source.data) == before
