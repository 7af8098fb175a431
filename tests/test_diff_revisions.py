"""Specs as git has them: which files are read, and how errors in them are shown."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT

from specgen import variants
from specgen.diagnostics import SpecError, render_text
from specgen.diff import compare
from specgen.diff.revision import compile_at


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits: the second changes the base, and an overlay in a folder below."""
    folder = tmp_path / "project"
    (folder / "nets").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    git("init", "--quiet")
    text = (ROOT / "specs/alexnet_mini.yaml").read_text()
    (folder / "nets/base.yaml").write_text(text)
    (folder / "nets/top.yaml").write_text("extends: base.yaml\ntraining: {epochs: 5}\n")
    commit("first")
    wider = text.replace("out_features: 10,", "out_features: 12,")
    assert wider != text
    (folder / "nets/base.yaml").write_text(wider)
    commit("second")
    (folder / "nets/top.yaml").write_text("extends: base.yaml\ntraining: {epochs: 6}\n")
    return folder


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def commit(message: str) -> None:
    git("add", "--all")
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    git(*who, "commit", "--quiet", "--no-gpg-sign", "-m", message)


def classes(spec: str) -> tuple[int, int]:
    program = compile_at(spec)
    return program.graph.nodes[-1].shape[0], program.spec.training.epochs


def test_bases_are_read_from_the_same_revision(repository: Path) -> None:
    assert classes("HEAD~1:nets/top.yaml") == (10, 5)
    assert classes("HEAD:nets/top.yaml") == (12, 5)
    assert classes(":nets/top.yaml") == (12, 5)
    assert classes("nets/top.yaml") == (12, 6)
    assert compile_at("HEAD:nets/top.yaml").stem == "top"


def test_paths_are_relative_as_in_git(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "nets")
    assert classes("HEAD~1:./top.yaml") == (10, 5)
    assert classes("HEAD~1:nets/top.yaml") == (10, 5)
    assert classes("HEAD~1:../nets/top.yaml") == (10, 5)


def test_a_file_with_a_colon_is_a_file(repository: Path) -> None:
    Path("HEAD:nets").mkdir()
    Path("HEAD:nets/top.yaml").write_text(
        Path("nets/base.yaml").read_text().replace("12", "13")
    )
    assert classes("HEAD:nets/top.yaml")[0] == 13


def test_places_are_named_as_git_does(repository: Path) -> None:
    old, new = compile_at("HEAD~1:nets/top.yaml"), compile_at("HEAD:nets/top.yaml")
    (change,) = compare(old, new).changes
    assert change.place.startswith("HEAD:nets/base.yaml:")
    assert {str(path) for path in old.source.files} == {
        "HEAD~1:nets/base.yaml",
        "HEAD~1:nets/top.yaml",
    }


BAD = [
    ("HEAD:nets/tip.yaml", "HEAD:nets/tip.yaml"),
    ("nosuch:nets/top.yaml", "nosuch"),
    ("HEAD:../../etc/passwd", "outside"),
    ("HEAD:/etc/passwd", "outside"),
    ("HEAD:nets", "HEAD:nets"),
    ("-x:nets/top.yaml", "git cannot have such a name"),
    ("HEAD:nets/top.yaml\nHEAD", "git cannot have such a name"),
    ("HEAD:\0", "git cannot have such a name"),
]


@pytest.mark.parametrize(("spec", "reason"), BAD)
def test_what_git_cannot_read(spec: str, reason: str, repository: Path) -> None:
    with pytest.raises(SpecError) as caught:
        compile_at(spec)
    (found,) = caught.value.diagnostics
    assert found.code == "cannot-read"
    assert reason in found.message
    assert found.message.isprintable()


def test_what_is_wrong_in_a_revision_is_located_there(repository: Path) -> None:
    Path("nets/top.yaml").write_text("extends: gone.yaml\n")
    Path("nets/base.yaml").write_text("specgen: 1\nlayers: {}\nnmae: x\n")
    Path("nets/link.yaml").symlink_to("/etc/passwd")
    commit("broken")
    for name, place in (
        ("top", "HEAD:nets/top.yaml:1"),
        ("base", "HEAD:nets/base.yaml"),
    ):
        with pytest.raises(SpecError) as caught:
            compile_at(f"HEAD:nets/{name}.yaml")
        shown = render_text(caught.value.diagnostics)
        assert place in shown
        assert "specgen-" not in shown  # the temporary folder
    with pytest.raises(SpecError):
        compile_at("HEAD:nets/link.yaml")


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SpecError, match=r"cannot read HEAD:x.yaml: .*git repository"):
        compile_at("HEAD:x.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="cannot run git"):
        compile_at("HEAD:x.yaml")


def test_variants_of_a_revision(repository: Path) -> None:
    specs = ["HEAD~1:nets/top.yaml", ":nets/top.yaml"]
    found = variants.compare(specs, sweeps=["training.batch_size=8,0"])
    assert [variant.name for variant in found] == [
        f"{spec} training.batch_size={size}" for spec in specs for size in (8, 0)
    ]
    outputs = [v.sound and v.sound.plan.output_shape for v in found]
    assert outputs == [(10,), None, (12,), None]
    with pytest.raises(SpecError, match="HEAD:nets/nosuch"):
        variants.compare(["HEAD:nets/nosuch.yaml"])


def test_recoverable_errors_are_located_in_the_revision(repository: Path) -> None:
    Path("nets/top.yaml").write_text("extends: base.yaml\nname: A\nname: B\n")
    commit("third")
    with pytest.raises(SpecError) as caught:
        compile_at("HEAD:nets/top.yaml", ["x"])
    files = {error.span.file for error in caught.value.diagnostics if error.span}
    assert files == {"HEAD:nets/top.yaml", "--set x"}
