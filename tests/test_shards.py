"""The lists and shards of pack.py: damaged, crafted, or not files at all."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from images_on_disk import SIZE, contents, make_tree, run_pack

from specgen.runtime import dataset, pack
from specgen.runtime.console import shown
from specgen.runtime.dataset import Images
from specgen.runtime.errors import DataError
from specgen.runtime.images import explain
from specgen.runtime.loading import Loader


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
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    run_pack(make_tree(root / "tree"), root / "out")
    return root / "out"


@given(data=st.data())
@pytest.mark.parametrize("name", ["pack.json", "train-00000.json", "val-00000.json"])
def test_any_other_list_is_refused_with_a_sentence(
    packed: Path, name: str, data: st.DataObject
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
        with pytest.raises(DataError) as caught:
            dataset.open_data(packed, SIZE)
    finally:
        path.write_bytes(whole)
    problems = set(str(caught.value).split("\n"))
    assert problems == {f"cannot read {shown(path)}: run pack.py again"}


def write_crafted(path: Path, value: Any) -> None:
    text = json.dumps(value).encode()
    path.write_bytes(b"%s\n%d" % (text, zlib.crc32(text)))


@given(data=st.data())
@pytest.mark.parametrize("name", ["pack.json", "train-00000.json", "val-00000.json"])
def test_a_crafted_list_is_refused_or_harmless(
    packed: Path, name: str, data: st.DataObject
) -> None:
    path = packed / name
    whole = path.read_bytes()
    value = json.loads(whole.split(b"\n")[0])
    container, key = data.draw(st.sampled_from(places(value)))
    others = st.sampled_from([other[place] for other, place in places(value)])
    container[key] = json.loads(json.dumps(data.draw(JSON | others)))
    write_crafted(path, value)
    splits: Sequence[Images] = ()
    problems: Sequence[str] = ("",)
    try:
        splits = dataset.open_data(packed, SIZE)
    except DataError as error:
        problems = error.args
    finally:
        path.write_bytes(whole)
    assert problems
    assert all(problem.isprintable() for problem in problems)
    for images in splits:
        assert images.labels() == set(range(len(images.classes)))
        names = [name for name, _ in images.samples]
        assert len(set(names)) == len(names)
        for name, label in images.samples:
            folder, _, file = name.rpartition("/")
            assert folder == f"{images.split}/{images.classes[label]}"
            assert file
        (batch,) = Loader(images, [list(range(len(images)))], 0)
        assert all(reason.isprintable() for reason in explain(batch.bad))


def test_duplicate_images_and_missing_classes_are_refused(
    tree: Path, out: Path
) -> None:
    run_pack(tree, out)
    first, last = (out / f"val-0000{number}.json" for number in (0, 1))
    whole = first.read_bytes()
    for suffix in ("json", "pixels"):
        shutil.copy(out / f"val-00000.{suffix}", out / f"val-00001.{suffix}")
    with pytest.raises(DataError) as caught:
        dataset.open_split(out, "val", SIZE)
    assert caught.value.args == (
        f"{shown(out)} lists an image twice: run pack.py again",
        "there are no images of class 'owl' in 'val'",
    )
    assert first.read_bytes() == last.read_bytes() == whole


@pytest.mark.parametrize(
    "name", ["pack.json", "train-00000.json", "train-00000.pixels"]
)
@pytest.mark.parametrize("kind", ["pipe", "loop"])
def test_nothing_waits_for_what_is_not_a_file(
    kind: str, name: str, tree: Path, out: Path
) -> None:
    run_pack(tree, out)
    whole = contents(out)
    train, _ = dataset.open_data(out, SIZE)
    path = out / name
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(path)
    with pytest.raises(DataError):
        dataset.open_data(out, SIZE)
    (batch,) = Loader(train, [[0, 7]], 2)  # of a run that has begun before
    assert len(batch.bad) == (path.suffix == ".pixels")
    assert run_pack(tree, out) == 0
    assert contents(out) == whole


def test_a_shard_that_shrinks_during_a_run_is_named(tree: Path, out: Path) -> None:
    run_pack(tree, out)
    train, _ = dataset.open_data(out, SIZE)
    shard = out / "train-00000.pixels"
    for length in (4 * 3 * SIZE**2 - 1, 0):
        os.truncate(shard, length)
        for workers in (0, 1):
            (batch,) = Loader(train, [[3, 5]], workers)
            reason = f"it is damaged in {shown(shard)}: run pack.py again"
            assert batch.bad == {train.samples[3][0]: reason}
            assert len(batch.images) == 1
    shard.unlink()
    (batch,) = Loader(train, [[3]], 1)
    assert list(batch.bad.values()) == [f"No such file or directory: {shown(shard)}"]


def test_lists_in_place_of_others_are_refused(tree: Path, out: Path) -> None:
    run_pack(tree, out)
    shard = out / "train-00000.json"
    listing, index = shard.read_bytes(), (out / "pack.json").read_bytes()
    shard.write_bytes(index)
    with pytest.raises(DataError, match=r"train-00000\.json: run pack"):
        dataset.open_data(out, SIZE)
    (out / "pack.json").write_bytes(listing)
    with pytest.raises(DataError, match=r"pack\.json: run pack"):
        dataset.open_data(out, SIZE)
    (out / "pack.json").write_bytes(index)
    for suffix in ("json", "pixels"):
        shutil.copy(out / f"val-00000.{suffix}", shard.with_suffix(f".{suffix}"))
    with pytest.raises(DataError, match=r"00000\.pixels does not belong to 'train'"):
        dataset.open_data(out, SIZE)
    run_pack(tree, out)
    assert len(dataset.open_data(out, SIZE)[0]) == 15
