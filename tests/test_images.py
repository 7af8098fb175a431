"""From image files to batches of pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import SIZE, make_tree, picture
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from specgen.runtime import dataset, images
from specgen.runtime.errors import DataError, ImageError
from specgen.runtime.loading import Loader


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def decode(path: Path) -> torch.Tensor:
    return torch.from_numpy(images.decode(path, SIZE))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def sentences(root: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        dataset.open_data(root, SIZE)
    text = str(caught.value)
    return text.replace(f"{root}/", "").replace(str(root), "ROOT").split("\n")


# One file to pixels.


@pytest.mark.parametrize("size", [(SIZE + 10, SIZE), (SIZE, SIZE + 6), (SIZE, SIZE)])
def test_the_center_is_cut_out_unchanged(tmp_path: Path, size: tuple[int, int]) -> None:
    picture(1, *size).save(tmp_path / "a.png")
    left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    expected = pixels(picture(1, *size))[:, top : top + SIZE, left : left + SIZE]
    assert torch.equal(decode(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = picture(2, 57, 31)
    inverse = {5: 5, 6: 8, 8: 6}.get(orientation, orientation)
    turn = images.UPRIGHT.get(inverse)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, quality=100, lossless=True)

    upright.save(tmp_path / "b.png")
    expected = decode(tmp_path / "b.png").int()
    assert (decode(path).int() - expected).abs().max() <= 4


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8040, (128, 128, 128)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (10, 0), (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, color: Any, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "named.JPEG"
    Image.new(mode, (30, 40), color).save(path, format="PNG")
    found = decode(path)
    assert found.dtype == torch.uint8
    assert torch.equal(
        found, torch.tensor(expected).byte().view(3, 1, 1).expand_as(found)
    )


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (30, 40), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = decode(tmp_path / "a.jpg").float().mean(dim=(1, 2))
    assert red > 240
    assert max(green, blue) < 15


def test_a_transparent_color_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (30, 30), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.save(tmp_path / "a.gif", transparency=1)
    assert decode(tmp_path / "a.gif").min() == 255


def test_scaled_decoding_is_exact_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    class Spied(JpegImageFile):
        def load(self) -> Any:
            decoded.append(self.size)
            return super().load()

    monkeypatch.setitem(Image.OPEN, "JPEG", (Spied, Image.OPEN["JPEG"][1]))
    image = picture(3, 800, 600)
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    scaled, full = (decode(tmp_path / f"a.{kind}") for kind in ("jpg", "png"))
    assert (scaled.float() - full.float()).abs().mean() < 1
    assert decoded[0] == (100, 75)  # an eighth: the least that is twice SIZE


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 30), 7).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=f"no known range \\(mode {mode}\\)"):
        decode(tmp_path / "a.tiff")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html><body>404 Not Found</body></html>")
    (tmp_path / "empty").touch()
    (tmp_path / "program").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    reasons = {}
    for path in (*tmp_path.iterdir(), tmp_path / ("x" * 300)):
        with pytest.raises(ImageError) as caught:
            decode(path)
        reasons[path.name] = str(caught.value)
    unknown = "it is none of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM"
    assert reasons == {
        **dict.fromkeys(("page", "empty", "program"), unknown),
        "pipe": "it is not a file",
        "folder": "it is a folder",
        "loop": "Too many levels of symbolic links",
        "dangling": "No such file or directory",
        "x" * 300: "File name too long",
    }


def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(4, 30, 30).save(tmp_path / "a.png")
    for limit in (600, 400):  # Pillow only warns up to twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImageError, match="decompression bomb"):
            decode(tmp_path / "a.png")


@given(cut=st.integers(1, 1000))
def test_no_truncated_file_passes(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    picture(5, 90, 80).save(path, quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: -(cut % len(data)) or None])
    with pytest.raises(ImageError):
        decode(path)


def test_every_odd_file_loads_upright(odd: Path, tmp_path: Path) -> None:
    files = sorted((odd / "decodable").rglob("*.JPEG"))
    assert len(files) > 90
    turned = 0
    for path in files:
        image = decode(path)
        assert (image.dtype, image.shape) == (torch.uint8, (3, SIZE, SIZE)), path
        if "orientation" in path.name:
            with Image.open(path) as stored:
                ImageOps.exif_transpose(stored).save(tmp_path / "upright.png")
            upright = decode(tmp_path / "upright.png")
            assert (image.float() - upright.float()).abs().mean() < 3, path
            turned += 1
    assert turned > 15


# A tree to batches.


def test_finds_what_there_is(tree: Path) -> None:
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


def test_names_need_not_be_text(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.png")
    picture(6).save(tree / "train/cat" / name)
    (tree / "val/cat" / name).touch()
    train, val = dataset.open_data(tree, SIZE)
    (batch,) = Loader(train, [[5]], 0)
    assert train.samples[5][0] == f"train/cat/{name}"
    assert len(batch.images) == 1
    (batch,) = Loader(val, [[2]], 1)
    (sentence,) = images.explain(batch.bad)
    assert sentence.startswith(r"cannot read 'val/cat/caf\udce9\n.png': it is none of")
    sentence.encode()  # can be printed


def test_all_problems_of_a_tree_are_told_at_once(tree: Path) -> None:
    (tree / "train/elk").mkdir()
    (tree / "val/fox").mkdir()
    assert sentences(tree) == [
        "there is no image in 'train/elk'",
        "there is no image in 'val/fox'",
        "class 'elk' is in 'train' but not in 'val'",
        "class 'fox' is in 'val' but not in 'train'",
    ]


def test_missing_folders(tmp_path: Path) -> None:
    assert sentences(tmp_path) == [
        "there is no folder 'train'",
        "there is no folder 'val'",
    ]
    (tmp_path / "train").mkdir()
    assert sentences(tmp_path) == [
        "there is no class folder in 'train'",
        "there is no folder 'val'",
    ]
    with pytest.raises(DataError, match="there is no folder"):
        dataset.open_split(tmp_path, "test", SIZE)


def test_an_unreadable_image_is_left_out_of_its_batch(tree: Path) -> None:
    (tree / "train/cat/1.jpg").write_bytes(b"")
    (tree / "train/dog/sub").mkdir()
    train, _ = dataset.open_data(tree, SIZE)
    (batch,) = Loader(train, [[0, 1, 2, 10, 6]], 0)
    assert batch.bad == {
        "train/cat/1.jpg": "it is none of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM",
        "train/dog/sub": "it is a folder",
    }
    assert batch.labels.tolist() == [0, 0, 1]
    assert batch.rows.tolist() == [0, 2, 4]
    for image, index in zip(batch.images, (0, 2, 6), strict=True):
        assert torch.equal(image, decode(tree / train.samples[index][0]))
    (empty,) = Loader(train, [[1]], 0)
    assert empty.images.shape == (0, 3, SIZE, SIZE)
    assert len(empty.labels) == len(empty.rows) == 0


def test_a_class_without_a_readable_image_is_an_error(tree: Path) -> None:
    _, val = dataset.open_data(tree, SIZE)
    cats = [name for name, label in val.samples if label == 0]
    assert len(val.without(cats[:1])) == len(val.without([*cats[:1], "other"])) == 5
    with pytest.raises(DataError) as caught:
        val.without(cats)
    assert str(caught.value) == "no image of class 'cat' in 'val' can be read"


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
