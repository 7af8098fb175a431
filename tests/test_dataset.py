"""From a tree of images to batches of pixels."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import SIZE, make_tree, picture

from specgen.runtime import dataset, images
from specgen.runtime.console import shown
from specgen.runtime.errors import DataError
from specgen.runtime.loading import Loader


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def sentences(root: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        dataset.open_data(root, SIZE)
    text = str(caught.value)
    return text.replace(f"{root}/", "").replace(str(root), "ROOT").split("\n")


def test_finds_the_images(tree: Path) -> None:
    (tree / "train/.cache").mkdir()
    (tree / "train/README").touch()
    (tree / "train/cat/.DS_Store").touch()
    (tree / "train/wolf").symlink_to(tree / "train/dog")
    (tree / "val/wolf").symlink_to(tree / "val/dog")
    train, val = dataset.open_data(tree, SIZE)
    assert train.classes == val.classes == ["cat", "dog", "owl", "wolf"]
    assert (len(train), len(val)) == (20, 8)
    assert train.samples[:6] == [
        *((f"train/cat/{i}.{('png', 'jpg', 'bmp')[i % 3]}", 0) for i in range(5)),
        ("train/dog/0.png", 1),
    ]
    assert dataset.open_split(tree, "val", SIZE).samples == val.samples


def test_names_do_not_have_to_be_text(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.png")
    picture(6).save(tree / "train/cat" / name)
    (tree / "val/cat" / name).touch()
    train, val = dataset.open_data(tree, SIZE)
    (batch,) = Loader(train, [[5]], 0)
    assert train.samples[5][0] == f"train/cat/{name}"
    assert len(batch.images) == 1
    (batch,) = Loader(val, [[2]], 1)
    (sentence,) = images.explain(batch.bad)
    assert sentence.startswith(
        r"cannot read 'val/cat/caf\udce9\n.png': it is not one of"
    )
    sentence.encode()  # can be printed


def test_all_problems_of_a_tree_are_reported_at_once(tree: Path) -> None:
    (tree / "train/elk").mkdir()
    (tree / "val/fox").mkdir()
    assert sentences(tree) == [
        "there are no images in train/elk",
        "there are no images in val/fox",
        "class 'elk' is in 'train' but not in 'val'",
        "class 'fox' is in 'val' but not in 'train'",
    ]


def test_missing_folders(tmp_path: Path) -> None:
    each = "which should have a folder of images for each class"
    assert sentences(tmp_path) == [
        f"there is no folder train, {each}",
        f"there is no folder val, {each}",
    ]
    (tmp_path / "train").mkdir()
    assert sentences(tmp_path) == [
        "there are no class folders in train",
        f"there is no folder val, {each}",
    ]
    for root in (tmp_path / "none", tmp_path / "file"):
        tmp_path.joinpath("file").touch()
        with pytest.raises(DataError) as error:
            dataset.open_data(root, SIZE)
        assert error.value.args == (f"there is no folder {root}",)
    with pytest.raises(DataError, match="there is no folder"):
        dataset.open_split(tmp_path, "test", SIZE)


def rename(root: Path, old: str, new: str) -> None:
    (root / old).rename(root / new)


def test_a_class_has_one_name_in_both_unicode_forms(tree: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rename(tree, "train/cat", f"train/{decomposed}")
    rename(tree, "val/cat", f"val/{composed}")
    rename(tree, "val/dog/0.png", f"val/dog/{decomposed}.png")
    train, val = dataset.open_data(tree, SIZE)
    assert train.classes == val.classes == [composed, "dog", "owl"]
    assert train.samples[0] == (f"train/{composed}/0.png", 0)
    assert (f"val/dog/{composed}.png", 1) in val.samples
    for images_, workers in ((train, 0), (val, 1)):
        (batch,) = Loader(images_, [list(range(len(images_)))], workers)
        assert batch.bad == {}


def test_names_that_differ_only_in_unicode_form_are_refused(tree: Path) -> None:
    for name in ("\u00e9.png", "e\u0301.png"):
        picture(1).save(tree / "train/cat" / name)
    (tree / "val/caf\u00e9").mkdir()
    rename(tree, "val/cat", "val/cafe\u0301")
    form = "differ only in their Unicode form: rename one"
    assert sentences(tree)[:2] == [
        f"'\\xe9.png' and 'e\\u0301.png' in train/cat {form}",
        f"'caf\\xe9' and 'cafe\\u0301' in val {form}",
    ]


def test_a_folder_that_cannot_be_read_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, listdir = tree / "val" / "dog", os.listdir

    def list_others(folder: Path) -> list[str]:
        if folder == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", list_others)
    with pytest.raises(DataError) as error:
        dataset.open_data(tree, SIZE)
    assert f"cannot read {shown(closed)}: Permission denied" in error.value.args


def test_one_class_leaves_nothing_to_learn(tree: Path) -> None:
    for name in ("cat", "dog"):
        for split in ("train", "val"):
            shutil.rmtree(tree / split / name)
    sentence = "'train' has only one class, 'owl': there is nothing to classify"
    assert sentences(tree) == [sentence]
    with pytest.raises(DataError, match=r"^'val' has only one class, 'owl'"):
        dataset.open_split(tree, "val", SIZE)


def test_an_unreadable_image_is_left_out_of_its_batch(tree: Path) -> None:
    (tree / "train/cat/1.jpg").write_bytes(b"")
    (tree / "train/dog/sub").mkdir()
    train, _ = dataset.open_data(tree, SIZE)
    (batch,) = Loader(train, [[0, 1, 2, 10, 6]], 0)
    assert batch.bad == {
        "train/cat/1.jpg": "it is not one of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM",
        "train/dog/sub": images.IN_A_CLASS,
    }
    assert batch.labels.tolist() == [0, 0, 1]
    assert batch.rows.tolist() == [0, 2, 4]
    for image, index in zip(batch.images, (0, 2, 6), strict=True):
        assert torch.equal(
            image, torch.from_numpy(images.decode(tree / train.samples[index][0], SIZE))
        )
    (empty,) = Loader(train, [[1]], 0)
    assert empty.images.shape == (0, 3, SIZE, SIZE)
    assert len(empty.labels) == len(empty.rows) == 0


def test_a_class_without_a_readable_image_is_an_error(tree: Path) -> None:
    _, val = dataset.open_data(tree, SIZE)
    cats = [name for name, label in val.samples if label == 0]
    assert len(val.without(cats[:1])) == len(val.without([*cats[:1], "other"])) == 5
    with pytest.raises(DataError) as caught:
        val.without(cats)
    assert str(caught.value) == "none of the images of class 'cat' in 'val' can be read"


@given(
    count=st.integers(0, 200),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 100),
)
def test_an_epoch_has_every_image_once(
    count: int, batch_size: int, seed: int, epoch: int
) -> None:
    cut = dataset.batches(count, batch_size, seed, epoch)
    assert sorted(index for batch in cut for index in batch) == list(range(count))
    assert all(len(batch) == batch_size for batch in cut[:-1])
    assert cut == dataset.batches(count, batch_size, seed, epoch)


def test_each_epoch_and_seed_has_its_own_order() -> None:
    orders = [
        dataset.batches(50, 50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert dataset.batches(5, 2) == [[0, 1], [2, 3], [4]]
