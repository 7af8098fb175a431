"""The generated data.py: from batches of pixels to what the network reads."""

from __future__ import annotations

import importlib
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
)
from placed import Copies
from pydantic import ValidationError

from specgen.spec.data import Data, check


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from imported(generate(tmp_path_factory.mktemp("all") / "net", ALL), "data")


@pytest.fixture(scope="module")
def dataset(data: Any) -> Any:
    return importlib.import_module("runtime.dataset")


@pytest.fixture(scope="module")
def loading(data: Any) -> Any:
    return importlib.import_module("runtime.loading")


@pytest.fixture(scope="module")
def plain(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The data.py of a spec that asks for nothing."""
    folder = tmp_path_factory.mktemp("plain") / "net"
    yield from imported(generate(folder, PLAIN), "data")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


# All images, read once.


def test_every_broken_file_is_named_and_none_is_trained_on(
    data: Any, dataset: Any, odd: Path, tree: Path
) -> None:
    clean, _ = data.measure(*dataset.open_data(tree, SIZE), 0)
    broken = sorted((odd / "broken").rglob("*.JPEG"))
    for path in broken:
        (tree / "train/dog" / path.name).write_bytes(path.read_bytes())
    train, val = dataset.open_data(tree, SIZE)
    statistics, bad = data.measure(train, val, 2)

    assert set(bad) == {f"train/dog/{path.name}" for path in broken}
    assert all(bad.values())
    assert all(torch.equal(*pair) for pair in zip(statistics, clean, strict=True))
    assert {name for name, _ in train.without(bad).samples} & set(bad) == set()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(
    data: Any, dataset: Any, loading: Any, tree: Path, workers: int
) -> None:
    train, val = dataset.open_data(tree, SIZE)
    todo = dataset.batches(len(train), 4, seed=1, epoch=2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = list(loading.Loader(train, todo, 0))
    many = list(loading.Loader(train, todo, workers))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one, many, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
    alone, _ = data.measure(train, val, 0)
    helped, _ = data.measure(train, val, workers)
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
    data: Any, dataset: Any, loading: Any, plain: Any, tree: Path
) -> None:
    train, val = dataset.open_data(tree, SIZE)
    (batch,) = loading.Loader(train, [list(range(len(train)))], 0)
    stack = batch.images.numpy() / 255.0
    statistics, bad = data.measure(train, val, 0)
    assert bad == {}

    assert np.abs(statistics.mean.numpy() / 255 - stack.mean(0)).max() < 1e-6
    colors = stack.transpose(1, 0, 2, 3).reshape(3, -1)
    covariance = np.cov(colors, bias=True)
    for row, value in zip(
        statistics.colors.numpy(), np.linalg.eigvalsh(covariance), strict=True
    ):
        assert np.linalg.norm(row) == pytest.approx(255 * value, abs=1e-5)
        assert covariance @ row == pytest.approx(value * row, abs=1e-5)

    alone, _ = plain.measure(train, val, 0)
    assert alone._fields == ("mean",)
    assert torch.equal(alone.mean, statistics.mean)


def slow_augment(image: Any, statistics: Any, draws: Any, row: int, std: float) -> Any:
    """One image, pixel by pixel, as Section 4.1 of the paper describes it."""
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
def test_augmentation_equals_that_of_single_images(
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


@pytest.mark.parametrize("kind", ["data", "plain"])
def test_the_draws_of_a_step_are_copied_at_once(
    request: pytest.FixtureRequest, kind: str
) -> None:
    module = request.getfixturevalue(kind)
    images = random_batch(3, 1).to("meta")
    statistics = random_statistics(module, 1).to(images.device)
    draws = module.draw(3, 1, 1)
    with Copies() as log:
        module.augment(images, statistics, draws)
    assert len(log.copies) == 1


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


def test_evaluation_reads_the_center_or_ten_crops(data: Any, plain: Any) -> None:
    for module, std in ((data, 64), (plain, 1)):
        images, statistics = random_batch(2, 3), random_statistics(module, 3)
        x = (images - statistics.mean) / std
        bottom, right = SIZE - HEIGHT, SIZE - WIDTH
        expected = []
        for top in (0, bottom):
            for left in (0, right):
                corner = x[:, :, top : top + HEIGHT, left : left + WIDTH]
                expected += [corner, corner.flip(3)]
        center = x[:, :, bottom // 2 : bottom // 2 + HEIGHT]
        center = center[..., right // 2 : right // 2 + WIDTH]
        expected += [center, center.flip(3)]

        crops = list(module.ten_crops(images, statistics.mean))
        assert len(crops) == 10
        assert all(torch.equal(*pair) for pair in zip(crops, expected, strict=True))
        (crop,) = module.center_crop(images, statistics.mean)
        assert torch.equal(crop, center)


# The section of the spec.


def test_a_file_has_only_what_its_spec_uses(tmp_path: Path) -> None:
    text = (generate(tmp_path / "plain", PLAIN) / "data.py").read_text()
    for word in ("color", "flip(3)", "STD", "linalg"):
        assert (word in text) == (word == "flip(3)"), (
            word
        )  # ten crops have mirror images
    text = (generate(tmp_path / "all", ALL) / "data.py").read_text()
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
    for count in (1, 4):
        assert list(check(Data(), count, 224, 224)) == []
    channels, size = check(Data(size=100), 2, 96, 101)
    assert (channels.path, size.path) == (("input", "channels"), ("data", "size"))
    assert channels.message == "images have 1, 3 or 4 channels, and the input has 2"
    assert size.message == "the input, 96 x 101, cannot be cut out of 100 x 100 pixels"
