"""`specgen new`: specs that are right and train as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from helpers import ROOT, write
from PIL import Image
from scripts import rows, run

from specgen import cli, new
from specgen.compiler import compile_file
from specgen.frontend.resolved import resolved
from specgen.sample_data import draw


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the first line of the error; nothing is written."""
    before = {path: path.read_bytes() for path in Path().glob("*.y*ml")}
    assert cli.main(["new", *arguments]) == 1
    assert {path: path.read_bytes() for path in Path().glob("*.y*ml")} == before
    return capsys.readouterr().err.splitlines()[0]


def test_a_spec_for_drawn_shapes_learns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for split, count in (("train", 12), ("val", 2)):
        for form in ("disc", "stripes", "checkerboard"):
            folder = Path("shapes") / split / form
            folder.mkdir(parents=True)
            for index in range(count):
                image = draw(form, Random(f"{split}{form}{index}"))
                image.resize((36, 36)).save(folder / f"{index}.png")
    assert cli.main(["new", "my_net.yaml", "--data", "shapes"]) == 0
    out = capsys.readouterr().out
    assert "wrote my_net.yaml: 3 classes, reads 24 x 24 pixels" in out
    assert "python generated/my_net/train.py --data shapes" in out
    program = compile_file(Path("my_net.yaml"))
    assert (program.spec.name, program.warnings) == ("MyNet", ())
    code = write(program, tmp_path / "generated/my_net")
    options = ["--epochs", 5, "--batch-size", 12, "--workers", 0, "--output", "out"]
    ended = run(code / "train.py", "--data", "shapes", *options)
    assert ended.code == 0, ended.err
    table = [row for row in rows(Path("out")) if row["split"] == "train"]
    losses = [float(row["loss"]) for row in table]
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize("size", [1, 4, 8, 32, 33, 71, 96, 224, 512])
def test_from_nothing_for_any_size(size: int) -> None:
    assert cli.main(["new", "a.yaml", "--size", str(size), "--classes", "7"]) == 0
    program = compile_file(Path("a.yaml"))
    assert program.warnings == ()
    assert program.graph.input_shape == (3, size, size)
    assert program.graph.nodes[-1].shape == (7,)
    assert max(map(len, Path("a.yaml").read_text().splitlines())) <= 88


@pytest.mark.parametrize("stem", ["null", "NULL", "true", "none", "1e5", "nan"])
def test_any_name_of_a_file_gives_a_class(stem: str) -> None:
    assert cli.main(["new", f"{stem}.yaml"]) == 0
    assert compile_file(Path(f"{stem}.yaml")).spec.name.isidentifier()


@pytest.mark.parametrize("name", new.shipped())
def test_a_copy_is_the_same_network_by_itself(name: str) -> None:
    original = new.shipped()[name]
    assert cli.main(["new", "copy.yaml", "--from", name]) == 0
    copy, its = compile_file(Path("copy.yaml")), compile_file(original)
    texts = [resolved(p.spec, p.source).splitlines() for p in (copy, its)]
    # A copy of an overlay has its defaults written out, and no copy has a schema.
    assert texts[0] == [line for line in texts[1] if not line.startswith(new.SCHEMA)]
    assert copy.placed == its.placed
    assert list(copy.source.files) == [Path("copy.yaml")]
    said = {*Path("copy.yaml").read_text().splitlines()}
    comments = its.source.comments.get(("layers", "pool1"), ())
    assert {f"  # {line}" for line in comments} <= said


def test_a_copy_for_other_classes_keeps_the_rest() -> None:
    command = ["new", "copy.yaml", "--from", "alexnet_mini", "--classes", "7"]
    assert cli.main([*command, "--size", "112"]) == 0
    text = (ROOT / "specs/alexnet_mini.yaml").read_text().partition("\n")[2]
    text = text.replace("out_features: 10", "out_features: 7").replace(
        "96, w", "112, w"
    )
    text = text.replace("width: 96", "width: 112").replace("size: 112", "size: 128")
    assert Path("copy.yaml").read_text() == text


def test_an_overlay_of_a_file() -> None:
    assert cli.main(["new", "base.yaml"]) == 0
    assert cli.main(["new", "top.yaml", "--from", "base.yaml", "--classes", "3"]) == 0
    assert Path("top.yaml").read_text().startswith("# Only the differences from the")
    top, base = compile_file(Path("top.yaml")), compile_file(Path("base.yaml"))
    assert top.graph.nodes[-1].shape == (3,)
    assert top.graph.nodes[:-2] == base.graph.nodes[:-2]
    # The example in its comments is right, too.
    text = Path("top.yaml").read_text().partition("\nlayers:")[0]
    example = Path("top.yaml").read_text().partition("places a new one:\n")[2]
    Path("top.yaml").write_text(text + "\n" + re.sub("^# ", "", example, flags=re.M))
    assert compile_file(Path("top.yaml")).graph.nodes[0].name == "new1"


@pytest.mark.parametrize("name", ["my nets", "a: b", "#1", 'é"x'])
def test_an_overlay_of_a_file_in_any_folder(name: str) -> None:
    assert cli.main(["new", "net.yaml"]) == 0
    Path(name).mkdir()
    Path("net.yaml").rename(Path(name, "net.yaml"))
    assert cli.main(["new", "top.yaml", "--from", f"{name}/net.yaml"]) == 0
    assert Path(name, "net.yaml") in compile_file(Path("top.yaml")).source.files


def test_an_overlay_of_a_file_outside_of_its_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("sub").mkdir()
    assert cli.main(["new", "net.yaml"]) == 0
    command = ["sub/top.yaml", "--from", "net.yaml"]
    assert refused(capsys, *command).startswith("error[extends-outside]")
    assert cli.main(["new", *command, "--root", "."]) == 0
    steps = capsys.readouterr().out.splitlines()
    assert "  specgen build sub/top.yaml --root ." in steps
    assert cli.main(["build", "sub/top.yaml", "--root", "."]) == 0


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text("mine")
    assert refused(capsys, "a.yaml") == "error[file-exists]: a.yaml already exists"
    Path("b.yaml").symlink_to("nowhere")
    assert cli.main(["new", "b.yaml"]) == 1
    assert not Path("nowhere").exists()


def test_two_specs_never_get_the_same_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["new", "net.yaml"]) == 0
    for name in ("net.yml", "NET.yaml"):
        assert refused(capsys, name) == (
            "error[file-exists]: net.yaml would be built into the same folder as"
            f" {name}"
        )
    assert cli.main(["build", "net.yaml"]) == 0
    Path("sub").mkdir()
    capsys.readouterr()
    assert cli.main(["new", "sub/net.yaml", "--size", "64"]) == 0
    steps = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert steps[-2:] == [
        "specgen build sub/net.yaml --output generated2",
        "python generated2/net/train.py --data DIR",
    ]
    assert cli.main(steps[-2].split()[1:]) == 0
    assert Path("generated2/net/train.py").exists()


def test_what_cannot_be_made_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "a.yaml", "--from", "alexnet", "--size", "20")
    assert said.startswith("error[shape-mismatch]: pool2: ")
    assert refused(capsys, "no/a.yaml") == (
        "error[cannot-write]: there is no folder no"
    )
    assert refused(capsys, "con.yaml").startswith("error[bad-name]")
    assert refused(capsys, "a.yaml", "--data", "no").startswith("error[no-images]")
    Path("one/train/cat").mkdir(parents=True)
    assert refused(capsys, "a.yaml", "--data", "one").endswith(
        "needs at least two folders of images, one per class"
    )


def test_folders_of_images_are_read_without_torch_and_despite_bad_ones() -> None:
    for name, size in (("a", (64, 90)), ("b", (120, 70))):
        folder = Path("data/train") / name
        folder.mkdir(parents=True)
        Image.new("L", size).save(folder / "1.png")
        (folder / "2.png").write_text("no image")
        (folder / ".hidden").write_text("")
    Path("data/train/.cache").mkdir()
    code = (
        "import sys; from specgen.new import *;"
        " print(look_at(Path('data'), Wanted()), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "Wanted(classes=2, size=56, image=64, channels=1) False\n", (
        done.stderr
    )


def test_only_a_folder_of_gray_images_gets_a_gray_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index, mode in enumerate(("1", "L", "LA", "I;16")):
        folder = Path("data/train") / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (40, 40)).save(folder / f"{mode[0]}{index}.png")
    for name, options in (("a", ()), ("b", ("--size", "24"))):
        assert cli.main(["new", f"{name}.yaml", "--data", "data", *options]) == 0
        assert "gray pixels" in capsys.readouterr().out
        assert compile_file(Path(f"{name}.yaml")).spec.input.channels == 1
    Image.new("RGB", (40, 40)).save("data/train/a/9.png")
    assert cli.main(["new", "c.yaml", "--data", "data"]) == 0
    assert "gray" not in capsys.readouterr().out
    assert compile_file(Path("c.yaml")).spec.input.channels == 3


def test_without_pillow_the_size_must_be_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (Path("data/train") / name).mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "PIL", None)
    said = refused(capsys, "a.yaml", "--data", "data")
    assert said.startswith("error[missing-package]: Pillow")
    assert cli.main(["new", "a.yaml", "--data", "data", "--size", "32"]) == 0


def test_the_list_describes_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, path in new.shipped().items():
        summary = compile_file(path).spec.summary
        assert any(
            line.split() == [name, *summary.split()][: len(line.split())]
            for line in lines
        )
