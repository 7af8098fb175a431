"""Images of 1, 3 and 4 channels, from their files to what a network says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers import compile_text, refused, spec_text, write
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import ALL, SIZE, imported, make_tree, picture, run_pack
from images_on_disk import generate as generate_data
from judges import ruff
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from scripts import generate, read_run, rows, run

from specgen.runtime import images
from specgen.runtime.dataset import open_data
from specgen.runtime.errors import DataError
from specgen.runtime.loading import Loader
from specgen.runtime.survey import survey

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Modes of image files, with how many numbers a pixel has in the file.
OPAQUE = {"1": 1, "L": 1, "P": 1, "RGB": 3, "CMYK": 4}
RECIPE = {"epochs": 1, "batch_size": 9, "optimizer": {"lr": 0.01}}


def decode(image: Image.Image, channels: int, size: int = SIZE) -> NDArray[np.int64]:
    """Save an image without loss, and decode that: (channels, size, size)."""
    kind = "tiff" if image.mode == "CMYK" else "png"
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a.{kind}")
        image.save(path)
        return images.decode(path, size, channels).astype(np.int64)


def converted(image: Image.Image, channels: int) -> NDArray[np.int64]:
    """Return the pixels as Pillow converts them, (channels, height, width)."""
    pixels = np.asarray(image.convert(MODES[channels])).astype(np.int64)
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)


def noise(seed: int, mode: str, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    rng = np.random.default_rng(seed)
    count = size[0] * size[1] * len(Image.new(mode, (1, 1)).getbands())
    if mode in ("1", "P"):
        gray = Image.frombytes("L", size, rng.bytes(count))
        if mode == "1":
            return gray.point(lambda level: 255 * (level > 128)).convert("1")
        gray.putpalette(rng.bytes(768))
        return gray
    return Image.frombytes(mode, size, rng.bytes(count))


# Decoding.


@given(st.sampled_from(sorted(OPAQUE)), st.sampled_from(sorted(MODES)), st.integers(0))
def test_an_opaque_image_becomes_what_pillow_converts_it_to(
    mode: str, channels: int, seed: int
) -> None:
    image = noise(seed, mode)
    assert image.mode == mode
    assert np.array_equal(decode(image, channels), converted(image, channels))


@given(st.sampled_from(sorted(MODES)), st.integers(0))
def test_the_upper_half_of_16_bits_is_read(channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 2**16, (SIZE, SIZE), np.uint16)
    image = Image.fromarray(wide)
    assert image.mode == "I;16"
    upper = Image.fromarray((wide // 256).astype(np.uint8))
    assert np.array_equal(decode(image, channels), converted(upper, channels))


def translucent(seed: int, mode: str) -> Image.Image:
    if mode != "P":
        return noise(seed, mode)
    image = noise(seed, "P")
    image.info["transparency"] = np.random.default_rng(seed).bytes(256)
    return image


@given(st.sampled_from(["LA", "RGBA", "P"]), st.integers(0))
def test_without_alpha_an_image_is_seen_on_white(mode: str, seed: int) -> None:
    image = translucent(seed, mode)
    *colors, alpha = converted(image, 4)
    seen = (np.stack(colors) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(decode(image, 3) - seen).max() <= 1
    red, green, blue = seen
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(decode(image, 1) - gray).max() <= 1.5


@given(st.sampled_from(["LA", "RGBA", "P"]), st.integers(0))
def test_alpha_is_kept_and_hidden_colors_are_black(mode: str, seed: int) -> None:
    image = translucent(seed, mode)
    found, expected = decode(image, 4), converted(image, 4)
    alpha = expected[3]
    assert np.array_equal(found[3], alpha)
    colors, its = found[:3], expected[:3]
    assert np.array_equal(colors[:, alpha == 255], its[:, alpha == 255])
    assert not colors[:, alpha == 0].any()
    seen = np.abs(colors - its) * alpha / 255  # half a level each way
    assert seen.max() <= 1


def test_hidden_colors_do_not_bleed() -> None:
    """Scaling mixes pixels, and those that nobody sees are left out."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, ::2] = (10, 200, 30, 255)
    pixels[:, 1::2] = (255, 0, 255, 0)
    colors = decode(Image.fromarray(pixels), 4, 16)
    assert np.abs(colors[:3].transpose(1, 2, 0) - (10, 200, 30)).max() <= 1
    assert 100 < colors[3].mean() < 155


@given(
    st.sampled_from(["1", "L", "LA"]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0),
)
def test_a_gray_image_stays_gray(mode: str, width: int, height: int, seed: int) -> None:
    """At any size, it is the same in gray and as RGB."""
    image = noise(seed, mode, (width, height))
    (gray,) = decode(image, 1)
    assert all(np.array_equal(plane, gray) for plane in decode(image, 3))
    if mode != "LA":
        *planes, alpha = decode(image, 4)
        assert all(np.array_equal(plane, gray) for plane in planes)
        assert (alpha == 255).all()


def test_a_color_photo_becomes_its_luminance(tmp_path: Path) -> None:
    picture(5, 300, 200).save(tmp_path / "a.jpg", quality=95)
    (gray,) = images.decode(tmp_path / "a.jpg", SIZE, 1).astype(float)
    red, green, blue = images.decode(tmp_path / "a.jpg", SIZE).astype(float)
    # Each is rounded to whole levels up to three times.
    assert np.abs(gray - 0.299 * red - 0.587 * green - 0.114 * blue).max() <= 2


# Data sets, statistics, and batches.


def test_a_pack_of_other_channels_is_refused(tmp_path: Path) -> None:
    tree, out = make_tree(tmp_path / "tree"), tmp_path / "out"
    assert run_pack(tree, out) == 0
    with pytest.raises(DataError, match="have 3 channels, not 1: pack them with"):
        open_data(out, SIZE, 1)
    with pytest.raises(DataError, match=r"have size 24, not 8\n.*3 channels, not 4"):
        open_data(out, 8, 4)
    # Packed again for another network, no shard is kept.
    assert run_pack(tree, out, channels=4) == 0
    read = (survey(*open_data(root, SIZE, 4), 0)[0] for root in (tree, out))
    assert torch.equal(*read)


@pytest.fixture(params=[1, 4])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "code" / "net"
    yield from imported(generate_data(folder, ALL, request.param), "data")


def test_color_noise_follows_the_principal_components(
    data: Any, tmp_path: Path
) -> None:
    """Those of one channel are its variance: images become brighter or darker."""
    channels = data.CHANNELS
    train, val = open_data(make_tree(tmp_path / "tree"), SIZE, channels)
    (batch,) = Loader(train, [list(range(len(train)))], 0)
    statistics, bad = data.measure(train, val, 0)
    assert bad == {}
    assert {name: x.shape for name, x in statistics._asdict().items()} == data.SHAPES
    pixels = batch.images.numpy().transpose(1, 0, 2, 3).reshape(channels, -1) / 255.0
    assert np.abs(
        statistics.mean.numpy() - batch.images.numpy().mean(0)
    ).max() == pytest.approx(0, abs=1e-4)
    covariance = np.cov(pixels, bias=True).reshape(channels, channels)
    found = statistics.colors.double().numpy() / 255  # rows: eigenvalue times vector
    expected = covariance @ covariance  # the sum of squared eigenvalues times v v'
    assert found.T @ found == pytest.approx(expected, abs=1e-6)

    draws = data.draw(len(batch.images), 0, 0)
    still = draws._replace(color=torch.zeros_like(draws.color))
    added = data.augment(batch.images, statistics, draws) - data.augment(
        batch.images, statistics, still
    )
    assert added.shape[1] == channels
    shift = draws.color @ statistics.colors / data.STD
    assert torch.allclose(added, shift[:, :, None, None].expand_as(added), atol=1e-5)
    assert shift.abs().max() > 0


# Whole networks.


def paintings(root: Path, mode: str) -> Path:
    """Three classes of images of a mode, which differ only in their last channel."""
    rng = np.random.default_rng(0)
    channels = len(mode)
    for split, count in (("train", 9), ("val", 4)):
        for label in range(3):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (32, 40, channels), np.uint8)
                pixels[..., -1] = pixels[..., -1] // 4 + 70 * label + 20
                image = Image.frombytes(mode, (40, 32), pixels.tobytes())
                image.save(folder / f"{index}.png")
    return root


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_a_network_from_packing_to_prediction(
    channels: int, mode: str, tmp_path: Path
) -> None:
    shape = {"channels": channels, "height": 24, "width": 24}
    code = generate(tmp_path / "code" / "tiny", RECIPE, input=shape)
    ruff("format --check", code)
    ruff("check", code)
    tree, packed = paintings(tmp_path / "tree", mode), tmp_path / "packed"
    assert run(code / "pack.py", tree, packed, "--workers", 1).code == 0
    checkpoints, scores = [], set()
    for form in (tree, packed):
        output = tmp_path / f"run-{form.name}"
        checkpoints.append(output / "checkpoint.safetensors")
        flags = ["--data", form, "--workers", 1]
        ended = run(code / "train.py", *flags, "--output", output)
        assert ended.code == 0, ended.err
        ended = run(code / "evaluate.py", checkpoints[0], *flags, "--ten-crop")
        assert ended.code == 0, ended.err
        scores.add(ended.out)
    assert len(scores) == 1
    one, other = map(load_file, checkpoints)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["conv1.weight"].shape[1] == channels
    assert one["data.mean"].shape == (channels, 28, 28)
    assert read_run(checkpoints[0])["data"]["channels"] == channels

    exported = tmp_path / "net.onnx"
    ended = run(code / "export.py", checkpoints[0], "--output", exported)
    assert ended.code == 0, ended.err
    size = onnx.load(exported).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in size][1:] == [channels, 24, 24]
    files = sorted(tree.glob("val/*/0.png"))
    answers = [
        run(code / "predict.py", *files, "--model", model)
        for model in (checkpoints[0], exported)
    ]
    assert all(ended.code == 0 for ended in answers), answers
    assert answers[0].out == answers[1].out
    assert answers[0].out.count("class1") == len(files) + 1

    # What is for another number of channels is refused.
    normal = generate(tmp_path / "normal" / "tiny", RECIPE)
    for flags in (["--data", packed], ["--data", tree]):
        ended = run(normal / "evaluate.py", checkpoints[0], *flags)
        assert ended.code == 1
        assert f"channels is {channels} there and missing here" in ended.err
    ended = run(normal / "train.py", "--data", packed, "--output", tmp_path / "no")
    assert ended.code == 1
    assert f"have {channels} channels, not 3" in ended.err


LENET = spec_text("zoo/lenet")


def strokes(root: Path) -> Path:
    """Four classes of gray images: a stroke, in four directions, on noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-18:18, -18:18]
    for split, count in (("train", 40), ("val", 10)):
        for label, name in enumerate(("down", "fall", "level", "rise")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                angle = np.pi / 4 * (label + rng.uniform(-0.2, 0.2))
                away = x * np.cos(angle) - y * np.sin(angle) + rng.uniform(-6, 6)
                ink = 150 * (abs(away) < 2.5) + rng.uniform(0, 60, x.shape)
                Image.fromarray(ink.astype(np.uint8)).save(folder / f"{index}.png")
    return root


def test_lenet_learns_gray_images(tmp_path: Path) -> None:
    code = write(compile_text(LENET, "lenet"), tmp_path / "code/lenet")
    tree, output = strokes(tmp_path / "tree"), tmp_path / "run"
    flags = ["--epochs", 4, "--batch-size", 16, "--workers", 0]
    ended = run(code / "train.py", "--data", tree, "--output", output, *flags)
    assert ended.code == 0, ended.err
    accuracy = [float(r["top1"]) for r in rows(output) if r["split"] == "val"]
    assert accuracy[-1] >= 0.9, accuracy


@pytest.mark.parametrize("channels", [2, 5, 64])
def test_other_numbers_of_channels_are_refused_at_their_line(channels: int) -> None:
    (found,) = refused(LENET.replace("channels: 1,", f"channels: {channels},"))
    assert found.code == "data-mismatch"
    assert found.message == (
        f"images have 1, 3 or 4 channels, and the input has {channels}"
    )
    assert found.help == "give 1 for gray images, 3 for RGB, or 4 for RGB and alpha"
    line = LENET[: LENET.index("channels: 1,")].count("\n") + 1
    assert found.span
    assert (found.span.line, found.span.column) == (line, 19)
