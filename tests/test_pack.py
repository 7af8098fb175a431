"""The generated pack.py, and what training reads of its shards."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from images_on_disk import PLAIN, SIZE, generate, imported, make_tree, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("generated"), PLAIN)


@pytest.fixture(scope="module")
def images(folder: Path) -> Iterator[Any]:
    yield from imported(folder, "images")


@pytest.fixture(scope="module")
def parallel(folder: Path) -> Iterator[Any]:
    yield from imported(folder, "parallel")


@pytest.fixture(scope="module")
def data(images: Any, parallel: Any, folder: Path) -> Iterator[Any]:
    yield from imported(folder, "data")


@pytest.fixture
def pack(images: Any, folder: Path) -> Iterator[Any]:
    """The module, with shards of four images: four to train, two to validate."""
    for module in imported(folder, "pack"):
        module.SHARD = 4
        yield module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(*pair) for pair in zip(left, right, strict=True))


def test_both_forms_give_the_same(
    data: Any, images: Any, pack: Any, tree: Path, out: Path
) -> None:
    (tree / "train/dog" / os.fsdecode(b"caf\xe9\n")).symlink_to("1.jpg")
    assert pack.main([str(tree), str(out), "--workers", "2"]) == 0
    folders, shards = images.open_data(tree), images.open_data(out)
    assert type(folders[0]) is not type(shards[0])
    for one, other in zip(folders, shards, strict=True):
        assert one.classes == other.classes
        assert one.samples == other.samples
        todo = images.batches(len(one), 5, seed=3, epoch=1)
        for workers in (0, 1):
            for left, right in zip(
                images.load(one, todo, 0),
                images.load(other, todo, workers),
                strict=True,
            ):
                assert same(left[:3], right[:3])
                assert left.bad == right.bad == {}
    assert same(data.survey(*folders, 0)[0], data.survey(*shards, 1)[0])


def test_packing_again_writes_nothing(
    pack: Any, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.main([str(tree), str(out)])
    assert "15 images to train and 6 to validate (0 left out, 6 shards written)" in (
        capsys.readouterr().out
    )
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-*")}
    assert len(before) == len(list(out.glob("[!.]*"))) - 1 == 12
    pack.main([str(tree), str(out)])
    assert "0 shards written" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*-*")}


def test_bad_images_fail_or_are_left_out(
    images: Any,
    pack: Any,
    tree: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tree / "train/cat/1.jpg").write_bytes(b"")
    (tree / "val/owl/x.jpg").symlink_to("nowhere")
    reasons = [
        "cannot read 'train/cat/1.jpg': it is none of JPEG, PNG, GIF, BMP, WEBP, TIFF",
        "cannot read 'val/owl/x.jpg': No such file or directory",
    ]
    assert pack.main([str(tree), str(out)]) == 1
    advice = "give --bad-images skip to go on without them"
    assert capsys.readouterr().err.splitlines() == [
        f"error: {sentence}" for sentence in (*reasons, advice)
    ]
    with pytest.raises(images.DataError, match="is not complete: run pack"):
        images.open_data(out)

    assert pack.main([str(tree), str(out), "--bad-images", "skip"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"left out {reason}" for reason in reasons]
    assert "(2 left out, 0 shards written)" in printed.out
    bad = {"train/cat/1.jpg", "val/owl/x.jpg"}
    for left, right in zip(images.open_data(tree), images.open_data(out), strict=True):
        assert left.without(bad).samples == right.samples

    picture(1).save(tree / "train/cat/1.jpg")
    assert pack.main([str(tree), str(out), "--bad-images", "skip"]) == 0
    assert "(1 left out, 1 shards written)" in capsys.readouterr().out
    assert len(images.open_data(out)[0]) == 15


def test_a_class_without_a_readable_image_is_an_error(
    pack: Any, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tree / "val/dog").iterdir():
        path.write_bytes(b"")
    assert pack.main([str(tree), str(out), "--bad-images", "skip"]) == 1
    expected = "error: no image of class 'dog' in 'val' can be read\n"
    assert capsys.readouterr().err == expected


def test_a_stop_costs_one_shard(
    pack: Any,
    images: Any,
    tree: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pack.main([str(tree), str(out)])
    expected = contents(out)
    shutil.rmtree(out)
    capsys.readouterr()

    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return images.load(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pack, "load", interrupted)
        assert pack.main([str(tree), str(out)]) == 130
    assert capsys.readouterr().err == "stopped: run it again to go on\n"
    with pytest.raises(images.DataError, match="is not complete"):
        images.open_split(out, "train")
    assert pack.main([str(tree), str(out)]) == 0
    assert "4 shards written" in capsys.readouterr().out
    assert contents(out) == expected


def test_a_killed_run_goes_on(
    pack: Any, folder: Path, tree: Path, out: Path, tmp_path: Path
) -> None:
    code = "import sys, pack; pack.SHARD = 4; sys.exit(pack.main())"
    command = [sys.executable, "-c", code, str(tree), str(out)]
    running = subprocess.Popen(command, cwd=folder, start_new_session=True)
    while running.poll() is None and not (out / "train-00001.json").exists():
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    pack.main([str(tree), str(tmp_path / "whole")])
    assert contents(out) == contents(tmp_path / "whole")


def test_damage_is_found_named_and_repaired(
    images: Any,
    pack: Any,
    tree: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pack.main([str(tree), str(out)])
    whole = contents(out)
    shard = out / "train-00001.pixels"
    pixels = bytearray(whole[shard.name])
    pixels[3 * SIZE**2] ^= 1  # in the second image
    shard.write_bytes(pixels)
    train, _ = images.open_data(out)
    (batch,) = images.load(train, [[4, 5, 6]], 0)
    assert batch.rows.tolist() == [0, 2]
    name = train.samples[5][0]
    assert batch.bad == {name: f"it is damaged in {str(shard)!r}: run pack.py again"}

    shard.write_bytes(pixels[:-1])
    with pytest.raises(images.DataError, match="is not whole: run pack"):
        images.open_data(out)
    (out / "val-00000.json").write_bytes(b"{")
    with pytest.raises(images.DataError, match=r"cannot read .*val-00000.json': run"):
        images.open_data(out)
    shard.with_name(f"{shard.name}.partial").write_bytes(b"of a stopped run")
    capsys.readouterr()
    pack.main([str(tree), str(out)])
    assert "2 shards written" in capsys.readouterr().out
    assert contents(out) == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts)
    ),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container in JSON, with each of its keys."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    inner = [place for key in keys for place in places(value[key])]
    return [(value, key) for key in keys] + inner


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    for module in imported(folder, "pack"):
        module.main([str(make_tree(root / "tree")), str(root / "out")])
    return root / "out"


@given(data=st.data())
@pytest.mark.parametrize("name", ["pack.json", "train-00000.json", "val-00000.json"])
def test_any_other_list_is_refused_in_a_sentence(
    images: Any, packed: Path, name: str, data: st.DataObject
) -> None:
    path = packed / name
    whole = path.read_bytes()
    text, checksum = whole.split(b"\n")
    value = json.loads(text)
    container, key = data.draw(st.sampled_from(places(value)))
    container[key] = data.draw(JSON)
    damaged = json.dumps(value).encode() + b"\n" + checksum
    cut = data.draw(st.integers(1, len(damaged)))
    damaged = data.draw(st.sampled_from([damaged, damaged[:cut], damaged[cut:]]))
    assume(damaged != whole)
    path.write_bytes(damaged)
    try:
        with pytest.raises(images.DataError) as caught:
            images.open_data(packed)
    finally:
        path.write_bytes(whole)
    problems = set(str(caught.value).split("\n"))
    assert problems == {f"cannot read {str(path)!r}: run pack.py again"}


def test_a_changed_tree_is_packed_anew(
    images: Any, pack: Any, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.main([str(tree), str(out)])
    picture(99).save(tree / "train/cat/0.png")
    (tree / "val/owl/9.png").write_bytes((tree / "train/cat/0.png").read_bytes())
    capsys.readouterr()
    pack.main([str(tree), str(out)])
    assert "7 to validate (0 left out, 2 shards written)" in capsys.readouterr().out
    for left, right in zip(images.open_data(tree), images.open_data(out), strict=True):
        (one,) = images.load(left, [range(len(left))], 0)
        (other,) = images.load(right, [range(len(right))], 0)
        assert same(one[:3], other[:3])


def test_a_pack_of_another_size_is_refused(
    pack: Any, tree: Path, out: Path, tmp_path: Path
) -> None:
    pack.main([str(tree), str(out)])
    for other in imported(generate(tmp_path, {"size": 2 * SIZE}), "images"):
        with pytest.raises(other.DataError, match="have size 24, not 48"):
            other.open_data(out)


def test_a_full_disk_loses_nothing(
    pack: Any,
    tree: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tree)._replace(free=1000)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        assert pack.main([str(tree), str(out)]) == 1
    expected = f"error: {str(out)!r} needs 0.0 GB, where 0.0 are free\n"
    assert capsys.readouterr().err == expected
    assert list(out.iterdir()) == []

    calls = []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 4:  # the index, a shard and its list, a shard
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert pack.main([str(tree), str(out)]) == 1
    expected = f"error: cannot pack into {str(out)!r}: No space left on device\n"
    assert capsys.readouterr().err == expected
    assert pack.main([str(tree), str(out)]) == 0
    assert "5 shards written" in capsys.readouterr().out


def test_wrong_folders(
    pack: Any, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main([str(out), str(tree)]) == 1
    assert capsys.readouterr().err == (
        f"error: there is no folder '{out}/train'\n"
        f"error: there is no folder '{out}/val'\n"
    )
    for inside in ("train/..", "train", "train/a/packed"):
        assert pack.main([str(tree), f"{tree}/{inside}"]) == 1
        expected = "error: OUT has to be another folder than DIR, and not inside it\n"
        assert capsys.readouterr().err == expected
    assert not list(tree.rglob("packed"))
    pack.main([str(tree), str(out)])
    capsys.readouterr()
    assert pack.main([str(out), str(tree)]) == 1
    assert capsys.readouterr().err == f"error: {str(out)!r} is packed already\n"
    out.joinpath("file").touch()
    assert pack.main([str(tree), str(out / "file")]) == 1
    assert capsys.readouterr().err.endswith(": File exists\n")


def test_lists_in_the_place_of_others_are_refused(
    pack: Any, images: Any, tree: Path, out: Path
) -> None:
    pack.main([str(tree), str(out)])
    shard = out / "train-00000.json"
    listing, index = shard.read_bytes(), (out / "pack.json").read_bytes()
    shard.write_bytes(index)
    with pytest.raises(images.DataError, match=r"train-00000\.json': run pack"):
        images.open_data(out)
    (out / "pack.json").write_bytes(listing)
    with pytest.raises(images.DataError, match=r"pack\.json': run pack"):
        images.open_data(out)
    (out / "pack.json").write_bytes(index)
    for suffix in ("json", "pixels"):
        shutil.copy(out / f"val-00000.{suffix}", shard.with_suffix(f".{suffix}"))
    with pytest.raises(images.DataError, match=r"00000\.pixels' is not of 'train'"):
        images.open_data(out)
    pack.main([str(tree), str(out)])
    assert len(images.open_data(out)[0]) == 15
