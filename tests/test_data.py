"""The generated images.py and data.py: from files to what the network reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import (
    ALL,
    HEIGHT,
    PLAIN,
    SIZE,
    WIDTH,
    generate,
    imported,
    make_tree,
    picture,
)
from PIL import Image, ImageOps
from pydantic import ValidationError

from specgen.spec.data import Data, check


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("all"), ALL)


@pytest.fixture(scope="module")
def images(folder: Path) -> Iterator[Any]:
    yield from imported(folder, "images")


@pytest.fixture(scope="module")
def parallel(folder: Path) -> Iterator[Any]:
    yield from imported(folder, "parallel")


@pytest.fixture(scope="module")
def data(images: Any, parallel: Any, folder: Path) -> Iterator[Any]:
    yield from imported(folder, "data")


@pytest.fixture(scope="module")
def plain(
    images: Any, parallel: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The data.py of a spec that asks for nothing; its other files are the same."""
    yield from imported(generate(tmp_path_factory.mktemp("plain"), PLAIN), "data")


@pytest.fixture(scope="module")
def odd() -> Path:
    """The files that break image loaders."""
    folder = os.environ.get("SPECGEN_TEST_DATA")
    if not folder:
        pytest.skip("SPECGEN_TEST_DATA names no folder with real images")
    return Path(folder) / "oddjpeg"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def sentences(images: Any, root: Path) -> list[str]:
    with pytest.raises(images.DataError) as caught:
        images.open_data(root)
    text = str(caught.value)
    return text.replace(f"{root}/", "").replace(str(root), "ROOT").split("\n")


# One file to pixels.


@pytest.mark.parametrize("size", [(SIZE + 10, SIZE), (SIZE, SIZE + 6), (SIZE, SIZE)])
def test_the_centre_is_cut_out_unchanged(
    images: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    picture(1, *size).save(tmp_path / "a.png")
    left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    expected = pixels(picture(1, *size))[:, top : top + SIZE, left : left + SIZE]
    assert torch.equal(images.decode(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(
    images: Any, tmp_path: Path, suffix: str, orientation: int
) -> None:
    upright = picture(2, 57, 31)
    inverse = {5: 5, 6: 8, 8: 6}.get(orientation, orientation)
    turn = images.UPRIGHT.get(inverse)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, quality=100, lossless=True)

    upright.save(tmp_path / "b.png")
    expected = images.decode(tmp_path / "b.png").int()
    assert (images.decode(path).int() - expected).abs().max() <= 4


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
    images: Any, tmp_path: Path, mode: str, color: Any, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "named.JPEG"
    Image.new(mode, (30, 40), color).save(path, format="PNG")
    found = images.decode(path)
    assert found.dtype == torch.uint8
    assert torch.equal(
        found, torch.tensor(expected).byte().view(3, 1, 1).expand_as(found)
    )


def test_a_cmyk_jpeg_is_not_inverted(images: Any, tmp_path: Path) -> None:
    Image.new("CMYK", (30, 40), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = images.decode(tmp_path / "a.jpg").float().mean(dim=(1, 2))
    assert red > 240
    assert max(green, blue) < 15


def test_a_transparent_colour_of_a_palette_is_white(
    images: Any, tmp_path: Path
) -> None:
    image = Image.new("P", (30, 30), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.save(tmp_path / "a.gif", transparency=1)
    assert images.decode(tmp_path / "a.gif").min() == 255


def test_scaled_decoding_is_exact_enough(images: Any, tmp_path: Path) -> None:
    image = picture(3, 800, 600)
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    scaled, full = (images.decode(tmp_path / f"a.{kind}") for kind in ("jpg", "png"))
    assert (scaled.float() - full.float()).abs().mean() < 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(
    images: Any, tmp_path: Path, mode: str
) -> None:
    Image.new(mode, (30, 30), 7).save(tmp_path / "a.tiff")
    with pytest.raises(images.ImageError, match=f"no known range \\(mode {mode}\\)"):
        images.decode(tmp_path / "a.tiff")


def test_what_is_no_image_is_refused(images: Any, tmp_path: Path) -> None:
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
        with pytest.raises(images.ImageError) as caught:
            images.decode(path)
        reasons[path.name] = str(caught.value)
    unknown = "it is none of JPEG, PNG, GIF, BMP, WEBP, TIFF"
    assert reasons == {
        **dict.fromkeys(("page", "empty", "program"), unknown),
        "pipe": "it is no file",
        "folder": "it is a folder",
        "loop": "Too many levels of symbolic links",
        "dangling": "No such file or directory",
        "x" * 300: "File name too long",
    }


def test_a_decompression_bomb_is_refused(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(4, 30, 30).save(tmp_path / "a.png")
    for limit in (600, 400):  # Pillow only warns up to twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(images.ImageError, match="decompression bomb"):
            images.decode(tmp_path / "a.png")


@given(cut=st.integers(1, 1000))
def test_no_truncated_file_passes(
    images: Any, tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    picture(5, 90, 80).save(path, quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: -(cut % len(data)) or None])
    with pytest.raises(images.ImageError):
        images.decode(path)


def test_every_odd_file_loads_upright(images: Any, odd: Path, tmp_path: Path) -> None:
    files = sorted((odd / "decodable").rglob("*.JPEG"))
    assert len(files) > 90
    turned = 0
    for path in files:
        image = images.decode(path)
        assert (image.dtype, image.shape) == (torch.uint8, (3, SIZE, SIZE)), path
        if "orientation" in path.name:
            with Image.open(path) as stored:
                ImageOps.exif_transpose(stored).save(tmp_path / "upright.png")
            upright = images.decode(tmp_path / "upright.png")
            assert (image.float() - upright.float()).abs().mean() < 3, path
            turned += 1
    assert turned > 15


def test_every_broken_file_is_named_and_none_is_trained_on(
    data: Any, images: Any, odd: Path, tree: Path
) -> None:
    clean, _ = data.survey(*images.open_data(tree), 0)
    broken = sorted((odd / "broken").rglob("*.JPEG"))
    for path in broken:
        (tree / "train/dog" / path.name).write_bytes(path.read_bytes())
    train, val = images.open_data(tree)
    statistics, bad = data.survey(train, val, 2)

    assert set(bad) == {f"train/dog/{path.name}" for path in broken}
    assert all(bad.values())
    assert all(torch.equal(*pair) for pair in zip(statistics, clean, strict=True))
    assert {name for name, _ in train.without(bad).samples} & set(bad) == set()


# A tree to batches.


def test_finds_what_there_is(images: Any, tree: Path) -> None:
    (tree / "train/.cache").mkdir()
    (tree / "train/README").touch()
    (tree / "train/cat/.DS_Store").touch()
    (tree / "train/wolf").symlink_to(tree / "train/dog")
    (tree / "val/wolf").symlink_to(tree / "val/dog")
    train, val = images.open_data(tree)
    assert train.classes == val.classes == ["cat", "dog", "owl", "wolf"]
    assert (len(train), len(val)) == (20, 8)
    assert train.samples[:6] == [
        *((f"train/cat/{i}.{('png', 'jpg', 'bmp')[i % 3]}", 0) for i in range(5)),
        ("train/dog/0.png", 1),
    ]
    assert images.open_split(tree, "val").samples == val.samples


def test_names_need_not_be_text(images: Any, tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.png")
    picture(6).save(tree / "train/cat" / name)
    (tree / "val/cat" / name).touch()
    train, val = images.open_data(tree)
    (batch,) = images.load(train, [[5]], 0)
    assert train.samples[5][0] == f"train/cat/{name}"
    assert len(batch.images) == 1
    (batch,) = images.load(val, [[2]], 1)
    (sentence,) = images.explain(batch.bad)
    assert sentence.startswith(r"cannot read 'val/cat/caf\udce9\n.png': it is none of")
    sentence.encode()  # can be printed


def test_all_problems_of_a_tree_are_told_at_once(images: Any, tree: Path) -> None:
    (tree / "train/elk").mkdir()
    (tree / "val/fox").mkdir()
    assert sentences(images, tree) == [
        "there is no image in 'train/elk'",
        "there is no image in 'val/fox'",
        "class 'elk' is in 'train' but not in 'val'",
        "class 'fox' is in 'val' but not in 'train'",
    ]


def test_missing_folders(images: Any, tmp_path: Path) -> None:
    assert sentences(images, tmp_path) == [
        "there is no folder 'train'",
        "there is no folder 'val'",
    ]
    (tmp_path / "train").mkdir()
    assert sentences(images, tmp_path) == [
        "there is no class folder in 'train'",
        "there is no folder 'val'",
    ]
    with pytest.raises(images.DataError, match="there is no folder"):
        images.open_split(tmp_path, "test")


def test_an_unreadable_image_is_left_out_of_its_batch(images: Any, tree: Path) -> None:
    (tree / "train/cat/1.jpg").write_bytes(b"")
    (tree / "train/dog/sub").mkdir()
    train, _ = images.open_data(tree)
    (batch,) = images.load(train, [[0, 1, 2, 10, 6]], 0)
    assert batch.bad == {
        "train/cat/1.jpg": "it is none of JPEG, PNG, GIF, BMP, WEBP, TIFF",
        "train/dog/sub": "it is a folder",
    }
    assert batch.labels.tolist() == [0, 0, 1]
    assert batch.rows.tolist() == [0, 2, 4]
    for image, index in zip(batch.images, (0, 2, 6), strict=True):
        assert torch.equal(image, images.decode(tree / train.samples[index][0]))
    (empty,) = images.load(train, [[1]], 0)
    assert empty.images.shape == (0, 3, SIZE, SIZE)
    assert len(empty.labels) == len(empty.rows) == 0


def test_a_class_without_a_readable_image_is_an_error(images: Any, tree: Path) -> None:
    _, val = images.open_data(tree)
    cats = [name for name, label in val.samples if label == 0]
    assert len(val.without(cats[:1])) == len(val.without([*cats[:1], "other"])) == 5
    with pytest.raises(images.DataError) as caught:
        val.without(cats)
    assert str(caught.value) == "no image of class 'cat' in 'val' can be read"


@given(
    count=st.integers(0, 200),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 100),
)
def test_an_epoch_has_every_image_once(
    images: Any, count: int, batch_size: int, seed: int, epoch: int
) -> None:
    cut = images.batches(count, batch_size, seed, epoch)
    assert sorted(index for batch in cut for index in batch) == list(range(count))
    assert all(len(batch) == batch_size for batch in cut[:-1])
    assert cut == images.batches(count, batch_size, seed, epoch)


def test_each_epoch_and_seed_has_its_own_order(images: Any) -> None:
    orders = [
        images.batches(50, 50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert images.batches(5, 2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(
    data: Any, images: Any, tree: Path, workers: int
) -> None:
    train, val = images.open_data(tree)
    todo = images.batches(len(train), 4, seed=1, epoch=2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = list(images.load(train, todo, 0))
    many = list(images.load(train, todo, workers))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one, many, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
    alone, _ = data.survey(train, val, 0)
    helped, _ = data.survey(train, val, workers)
    assert all(torch.equal(*pair) for pair in zip(alone, helped, strict=True))


# Batches to what the network reads.


def random_batch(count: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    shape = (count, 3, SIZE, SIZE)
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))


def random_statistics(module: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"mean": (3, SIZE, SIZE), "colors": (3, 3)}
    fields = module.Statistics._fields
    return module.Statistics(
        *(torch.rand(shapes[field], generator=generator) * 200 for field in fields)
    )


def test_statistics_are_those_of_the_training_images(
    data: Any, plain: Any, images: Any, tree: Path
) -> None:
    train, val = images.open_data(tree)
    stack = np.stack([train.read(name).numpy() for name, _ in train.samples]) / 255.0
    statistics, bad = data.survey(train, val, 0)
    assert bad == {}

    assert np.abs(statistics.mean.numpy() / 255 - stack.mean(0)).max() < 1e-6
    colors = stack.transpose(1, 0, 2, 3).reshape(3, -1)
    covariance = np.cov(colors, bias=True)
    for row, value in zip(
        statistics.colors.numpy(), np.linalg.eigvalsh(covariance), strict=True
    ):
        assert np.linalg.norm(row) == pytest.approx(255 * value, abs=1e-5)
        assert covariance @ row == pytest.approx(value * row, abs=1e-5)

    alone, _ = plain.survey(train, val, 0)
    assert alone._fields == ("mean",)
    assert torch.equal(alone.mean, statistics.mean)


def slow_augment(image: Any, statistics: Any, draws: Any, row: int, std: float) -> Any:
    """One image, one pixel after the other as Section 4.1 of the paper tells it."""
    image = image.astype(np.float64) - statistics.mean.numpy()
    top, left = int(draws.top[row]), int(draws.left[row])
    out = np.empty((3, HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            mirrored = "flip" in draws._fields and bool(draws.flip[row])
            out[:, y, x] = image[:, top + y, left + (WIDTH - 1 - x if mirrored else x)]
    if "color" in draws._fields:
        for share, component in zip(draws.color[row], statistics.colors, strict=True):
            out += (float(share) * component.numpy())[:, None, None]
    return out / std


@given(count=st.integers(0, 4), seed=st.integers(0, 2**32), step=st.integers(0, 2**40))
@pytest.mark.parametrize("kind", ["data", "plain"])
def test_augmentation_is_that_of_single_images(
    request: pytest.FixtureRequest, kind: str, count: int, seed: int, step: int
) -> None:
    module = request.getfixturevalue(kind)
    std = 64 if kind == "data" else 1
    images, statistics = random_batch(count, seed), random_statistics(module, seed)
    draws = module.draw(count, seed, step)
    out = module.augment(images, statistics, draws)
    assert (out.dtype, out.shape) == (torch.float32, (count, 3, HEIGHT, WIDTH))
    for row in range(count):
        slow = slow_augment(images[row].numpy(), statistics, draws, row, std)
        assert out[row].numpy() == pytest.approx(slow, abs=1e-4)


@given(seed=st.integers(0, 2**63), step=st.integers(0, 2**63))
def test_a_rank_can_take_its_share_of_a_batch(data: Any, seed: int, step: int) -> None:
    images, statistics = random_batch(6, 1), random_statistics(data, 1)
    draws = data.draw(6, seed, step)
    whole = data.augment(images, statistics, draws)
    for rows in (slice(2, 4), torch.tensor([5, 0, 3])):
        part = data.augment(images[rows], statistics, draws.take(rows))
        assert torch.equal(part, whole[rows])
    again = data.draw(6, seed, step)
    assert all(torch.equal(*pair) for pair in zip(draws, again, strict=True))


def test_draws_are_what_the_paper_says(data: Any) -> None:
    draws = data.draw(20_000, 0, 0)
    assert draws.top.unique().tolist() == list(range(SIZE - HEIGHT + 1))
    assert draws.left.unique().tolist() == list(range(SIZE - WIDTH + 1))
    assert draws.flip.float().mean() == pytest.approx(0.5, abs=0.02)
    assert draws.color.std() == pytest.approx(0.1, abs=0.002)
    assert draws.color.mean() == pytest.approx(0, abs=0.002)
    for other in (data.draw(20_000, 0, 1), data.draw(20_000, 1, 0)):
        assert not any(torch.equal(*pair) for pair in zip(draws, other, strict=True))


def test_evaluation_reads_the_centre_or_ten_crops(data: Any, plain: Any) -> None:
    for module, std in ((data, 64), (plain, 1)):
        images, statistics = random_batch(2, 3), random_statistics(module, 3)
        x = (images - statistics.mean) / std
        bottom, right = SIZE - HEIGHT, SIZE - WIDTH
        expected = []
        for top in (0, bottom):
            for left in (0, right):
                corner = x[:, :, top : top + HEIGHT, left : left + WIDTH]
                expected += [corner, corner.flip(3)]
        centre = x[:, :, bottom // 2 : bottom // 2 + HEIGHT]
        centre = centre[..., right // 2 : right // 2 + WIDTH]
        expected += [centre, centre.flip(3)]

        crops = list(module.ten_crops(images, statistics.mean))
        assert len(crops) == 10
        assert all(torch.equal(*pair) for pair in zip(crops, expected, strict=True))
        assert torch.equal(module.center_crop(images, statistics.mean), centre)


# The section of the spec.


def test_a_file_holds_only_what_its_spec_uses(tmp_path: Path) -> None:
    text = (generate(tmp_path, PLAIN) / "data.py").read_text()
    for word in ("color", "flip(3)", "STD", "linalg"):
        assert (word in text) == (word == "flip(3)"), (
            word
        )  # ten crops have mirror images
    text = (generate(tmp_path, ALL) / "data.py").read_text()
    assert "COLOR_NOISE = 0.1 " in text
    assert "STD = 64.0 " in text


@pytest.mark.parametrize(
    "section", [{"size": 0}, {"std": 0.0}, {"color_noise": -0.1}, {"flips": True}]
)
def test_wrong_values_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Data.model_validate(section)


def test_the_input_must_fit_the_images() -> None:
    assert list(check(Data(size=224), 3, 224, 224)) == []
    channels, size = check(Data(size=100), 1, 96, 101)
    assert (channels.path, size.path) == (("input", "channels"), ("data", "size"))
    assert channels.message == "images have 3 channels, and the input has 1"
    assert size.message == "the input, 96 x 101, cannot be cut out of 100 x 100 pixels"
