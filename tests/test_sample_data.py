from __future__ import annotations

import errno
import sys
from math import dist
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageChops, ImageStat

from specgen import cli, sample_data
from specgen.diagnostics import SpecError


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "IMAGES_PER_CLASS", {"train": 2, "val": 1})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_renders_an_image_folder_of_jpegs(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    sample_data.render(tmp_path / "a" / "b", lambda *step: steps.append(step))

    images = contents(tmp_path / "a" / "b")
    classes = sorted(sample_data.FORMS)
    assert len(classes) == 10
    assert set(images) == {
        *(f"train/{name}/00{index}.jpg" for name in classes for index in range(2)),
        *(f"val/{name}/000.jpg" for name in classes),
    }
    assert steps == [(done, 30) for done in range(1, 31)]
    assert len(set(images.values())) == 30
    for name in images:
        with Image.open(tmp_path / "a" / "b" / name) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert min(image.size) >= 112
            assert max(image.size) <= 192
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"]


def test_renders_the_same_bytes_again(tmp_path: Path) -> None:
    sample_data.render(tmp_path / "a")
    (tmp_path / "b").mkdir()  # an empty folder is filled
    sample_data.render(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_color_does_not_give_the_class_away() -> None:
    """The nearest other image by mean color has the same class only by chance."""
    means = []
    for form in sample_data.FORMS:
        for index in range(20):
            image = sample_data.draw(form, Random(f"{form} {index}"))
            means.append((ImageStat.Stat(image).mean, form))

    def nearest(mean: list[float]) -> str:
        others = [other for other in means if other[0] is not mean]
        return min(others, key=lambda other: dist(mean, other[0]))[1]

    hits = sum(nearest(mean) == form for mean, form in means)
    assert hits / len(means) < 0.2  # 0.1 is chance


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_touches_nothing_that_exists(tmp_path: Path, taken: str) -> None:
    target = tmp_path / "data"
    kept = target if taken == "file" else target / "mine.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(SpecError, match="data is not an empty folder"):
        sample_data.render(target)
    assert contents(tmp_path) == {kept.relative_to(tmp_path).as_posix(): b"mine"}


def test_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save
    saved: list[Path] = []

    def full_disk(image: Image.Image, path: Path, quality: int) -> None:
        if len(saved) == 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(path)
        save(image, path, quality=quality)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(
        SpecError, match=r"cannot write .*data: No space left on device"
    ):
        sample_data.render(tmp_path / "data")
    assert len(saved) == 15
    assert not any(tmp_path.iterdir())


def test_says_that_pillow_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(SpecError, match="Pillow is not installed") as caught:
        sample_data.render(tmp_path / "data")
    assert caught.value.diagnostics[0].help == "pip install 'specgen[train]'"
    assert not any(tmp_path.iterdir())


def test_the_same_images_in_gray(tmp_path: Path) -> None:
    assert cli.main(["sample-data", str(tmp_path / "gray"), "--gray", "--quiet"]) == 0
    sample_data.render(tmp_path / "color")
    files = sorted((tmp_path / "gray").rglob("*.jpg"))
    assert len(files) == 30
    for path in files:
        with Image.open(path) as image:
            assert image.mode == "L"
            with Image.open(
                tmp_path / "color" / path.relative_to(tmp_path / "gray")
            ) as its:
                difference = ImageChops.difference(image, its.convert("L"))
        assert ImageStat.Stat(difference).mean[0] < 3  # of 255: both are JPEGs
