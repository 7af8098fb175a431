"""The generated pack.py, and what training reads from its shards."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from images_on_disk import (
    PLAIN,
    SIZE,
    contents,
    generate,
    make_tree,
    picture,
    run_pack,
)

from specgen.runtime import dataset, pack
from specgen.runtime.console import shown
from specgen.runtime.errors import DataError
from specgen.runtime.loading import Loader
from specgen.runtime.survey import survey

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four images: four for training, two for validation."""
    monkeypatch.setattr(pack, "SHARD", 4)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(*pair) for pair in zip(left, right, strict=True))


def test_both_forms_give_the_same(tree: Path, out: Path) -> None:
    (tree / "train/dog" / os.fsdecode(b"caf\xe9\n")).symlink_to("1.jpg")
    assert run_pack(tree, out, "--workers", "2") == 0
    folders, shards = dataset.open_data(tree, SIZE), dataset.open_data(out, SIZE)
    assert type(folders[0]) is not type(shards[0])
    for one, other in zip(folders, shards, strict=True):
        assert one.classes == other.classes
        assert one.samples == other.samples
        todo = dataset.batches(len(one), 5, seed=3, epoch=1)
        for workers in (0, 1):
            for left, right in zip(
                Loader(one, todo, 0),
                Loader(other, todo, workers),
                strict=True,
            ):
                assert same(left[:3], right[:3])
                assert left.bad == right.bad == {}
    assert same(survey(*folders, 0)[0], survey(*shards, 1)[0])


def test_packing_again_writes_nothing(
    tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pack(tree, out)
    assert "15 training and 6 validation images (0 left out, 6 shards written)" in (
        capsys.readouterr().out
    )
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-*")}
    assert len(before) == len(list(out.glob("[!.]*"))) - 1 == 12
    run_pack(tree, out)
    assert "0 shards written" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*-*")}


def test_bad_images_fail_or_are_left_out(
    tree: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tree / "train/cat/1.jpg").write_bytes(b"")
    (tree / "val/owl/x.jpg").symlink_to("nowhere")
    reasons = [
        "cannot read 'train/cat/1.jpg': it is not one of"
        " JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM",
        "cannot read 'val/owl/x.jpg': No such file or directory",
    ]
    assert run_pack(tree, out) == 1
    advice = "give --bad-images skip to leave them out"
    assert capsys.readouterr().err.splitlines() == [
        *(f"error: {reason}" for reason in reasons),
        f"  = help: {advice}",
    ]
    with pytest.raises(DataError, match="is not complete: run pack"):
        dataset.open_data(out, SIZE)

    assert run_pack(tree, out, "--bad-images", "skip") == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"left out: {reason}" for reason in reasons]
    assert "(2 left out, 0 shards written)" in printed.out
    bad = {"train/cat/1.jpg", "val/owl/x.jpg"}
    for left, right in zip(
        dataset.open_data(tree, SIZE), dataset.open_data(out, SIZE), strict=True
    ):
        assert left.without(bad).samples == right.samples

    picture(1).save(tree / "train/cat/1.jpg")
    assert run_pack(tree, out, "--bad-images", "skip") == 0
    assert "(1 left out, 1 shards written)" in capsys.readouterr().out
    assert len(dataset.open_data(out, SIZE)[0]) == 15


def test_a_class_without_a_readable_image_is_an_error(
    tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tree / "val/dog").iterdir():
        path.write_bytes(b"")
    assert run_pack(tree, out, "--bad-images", "skip") == 1
    expected = "error: none of the images of class 'dog' in 'val' can be read\n"
    assert capsys.readouterr().err == expected


def test_a_stop_costs_one_shard(
    tree: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_pack(tree, out)
    expected = contents(out)
    shutil.rmtree(out)
    capsys.readouterr()

    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Loader(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pack, "Loader", interrupted)
        assert run_pack(tree, out) == 130
    assert capsys.readouterr().err == "stopped: run it again to continue\n"
    with pytest.raises(DataError, match="is not complete"):
        dataset.open_split(out, "train", SIZE)
    assert run_pack(tree, out) == 0
    assert "4 shards written" in capsys.readouterr().out
    assert contents(out) == expected


SMALL_SHARDS = """
import runpy, sys
del sys.argv[0]
sys.path[0] = f"{sys.argv[0]}/.."
from runtime import pack
pack.SHARD = 4
sys.path[0] = sys.argv[0]
runpy.run_path(f"{sys.argv[0]}/pack.py", run_name="__main__")
"""


def test_a_killed_run_can_continue(tree: Path, out: Path, tmp_path: Path) -> None:
    folder = generate(tmp_path / "net", PLAIN)
    command = [sys.executable, "-c", SMALL_SHARDS, *map(str, (folder, tree, out))]
    running = subprocess.Popen(command, start_new_session=True)
    while running.poll() is None and not (out / "train-00001.json").exists():
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert subprocess.run(command, check=False).returncode == 0
    run_pack(tree, str(tmp_path / "whole"))
    assert contents(out) == contents(tmp_path / "whole")


def test_damage_is_found_named_and_repaired(
    tree: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_pack(tree, out)
    whole = contents(out)
    shard = out / "train-00001.pixels"
    pixels = bytearray(whole[shard.name])
    pixels[3 * SIZE**2] ^= 1  # in the second image
    shard.write_bytes(pixels)
    train, _ = dataset.open_data(out, SIZE)
    (batch,) = Loader(train, [[4, 5, 6]], 0)
    assert batch.rows.tolist() == [0, 2]
    name = train.samples[5][0]
    assert batch.bad == {name: f"it is damaged in {shown(shard)}: run pack.py again"}

    shard.write_bytes(pixels[:-1])
    with pytest.raises(DataError, match="is incomplete: run pack"):
        dataset.open_data(out, SIZE)
    (out / "val-00000.json").write_bytes(b"{")
    with pytest.raises(DataError, match=r"cannot read .*val-00000.json: run"):
        dataset.open_data(out, SIZE)
    shard.with_name(f"{shard.name}.0123abcd.partial").write_bytes(b"of a stopped run")
    capsys.readouterr()
    run_pack(tree, out)
    assert "2 shards written" in capsys.readouterr().out
    assert contents(out) == whole


def test_a_changed_tree_is_packed_again(
    tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pack(tree, out)
    picture(99).save(tree / "train/cat/0.png")
    (tree / "val/owl/9.png").write_bytes((tree / "train/cat/0.png").read_bytes())
    capsys.readouterr()
    run_pack(tree, out)
    assert (
        "7 validation images (0 left out, 2 shards written)" in capsys.readouterr().out
    )
    for left, right in zip(
        dataset.open_data(tree, SIZE), dataset.open_data(out, SIZE), strict=True
    ):
        (one,) = Loader(left, [list(range(len(left)))], 0)
        (other,) = Loader(right, [list(range(len(right)))], 0)
        assert same(one[:3], other[:3])


def test_a_pack_of_another_size_is_refused(
    tree: Path, out: Path, tmp_path: Path
) -> None:
    run_pack(tree, out)
    with pytest.raises(DataError, match="have size 24, not 48"):
        dataset.open_data(out, 2 * SIZE)


def test_a_full_disk_loses_nothing(
    tree: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tree)._replace(free=1000)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        assert run_pack(tree, out) == 1
    expected = f"error: {shown(out)} needs 36.3 kB, but only 1.0 kB is free\n"
    assert capsys.readouterr().err == expected
    assert list(out.iterdir()) == []

    calls = []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 4:  # the index, a shard and its list, a shard
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert run_pack(tree, out) == 1
    expected = f"error: cannot pack into {shown(out)}: No space left on device\n"
    assert capsys.readouterr().err == expected
    assert run_pack(tree, out) == 0
    assert "5 shards written" in capsys.readouterr().out


def test_wrong_folders(
    tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_pack(out, tree) == 1
    assert capsys.readouterr().err == (f"error: there is no folder {out}\n")
    for inside in ("train/..", "train", "train/a/packed"):
        assert run_pack(tree, f"{tree}/{inside}") == 1
        expected = "error: OUT must be a folder outside DIR\n"
        assert capsys.readouterr().err == expected
    assert not list(tree.rglob("packed"))
    run_pack(tree, out)
    capsys.readouterr()
    assert run_pack(out, tree) == 1
    assert capsys.readouterr().err == f"error: {shown(out)} is already packed\n"
    out.joinpath("file").touch()
    assert run_pack(tree, str(out / "file")) == 1
    assert capsys.readouterr().err.endswith("/file: it is not a folder\n")
