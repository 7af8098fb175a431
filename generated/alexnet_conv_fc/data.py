"""Turns batches of pixels into the network's input.

Everything works on whole batches, on their device. Random choices are drawn on the CPU,
for all images of a step, as a function of (seed, step): no random state is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from runtime.dataset import Images
from runtime.devices import send
from runtime.survey import survey

# Section 2: the shorter side scaled to 256, the center cut out.
SIZE = 256  # the shorter side of an image is scaled to this
HEIGHT, WIDTH = 224, 224  # the crop of SIZE x SIZE
# Section 4.1.
COLOR_NOISE = 0.1  # standard deviation, as a share of each eigenvalue

# A run is resumed, evaluated and exported with the settings it began with.
SETTINGS = {
    "size": SIZE,
    "height": HEIGHT,
    "width": WIDTH,
    # Section 4.1: crops at random places, and their mirror images.
    "flip": True,
    "color_noise": COLOR_NOISE,
}
# The shapes of the tensors in Statistics.
SHAPES = {"mean": (3, SIZE, SIZE), "colors": (3, 3)}


class Statistics(NamedTuple):
    """Statistics of the training images, in gray levels (0 to 255)."""

    mean: Tensor  # (3, SIZE, SIZE) float32: the mean image
    colors: Tensor  # (3, 3) float32: in rows, eigenvectors times eigenvalues

    def to(self, device: torch.device) -> Statistics:
        """Copy to a device."""
        return Statistics(*(tensor.to(device) for tensor in self))


def measure(
    train: Images, val: Images, workers: int
) -> tuple[Statistics, dict[str, str]]:
    """Return the statistics of `train`, and why images of both cannot be read.

    Reads all images once. The reasons are by name. DataError if no training image can
    be read.
    """
    mean, covariance, bad = survey(train, val, workers, colors=True)
    # The principal components of all pixels' colors: Krizhevsky, Sutskever & Hinton
    # (NIPS 2012), Section 4.1. It does not give the unit of a pixel, and the noise
    # grows with its square: in [0, 1], as in fb.resnet.torch, it is a few gray levels;
    # in [0, 255], 1,000.
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance / 255**2)
    colors = 255 * eigenvalues[:, None] * eigenvectors.T
    return Statistics(mean.float(), colors.float()), bad


class Draws(NamedTuple):
    """The random choices for each of N images."""

    top: Tensor  # (N,) int64: where the crop begins
    left: Tensor  # (N,) int64
    flip: Tensor  # (N,) bool: whether it is mirrored
    color: Tensor  # (N, 3) float32: the share of each principal component to add

    def take(self, rows: Tensor | slice) -> Draws:
        """Return the draws of some of the images."""
        return Draws(*(draws[rows] for draws in self))


def draw(count: int, seed: int, step: int) -> Draws:
    """Draw for `count` images: a function of (seed, step)."""
    rng = np.random.default_rng((seed, step))
    return Draws(
        top=torch.from_numpy(rng.integers(SIZE - HEIGHT + 1, size=count)),
        left=torch.from_numpy(rng.integers(SIZE - WIDTH + 1, size=count)),
        flip=torch.from_numpy(rng.random(count) < 0.5),
        color=torch.from_numpy(rng.normal(0, COLOR_NOISE, (count, 3))).float(),
    )


def augment(images: Tensor, statistics: Statistics, draws: Draws) -> Tensor:
    """Crop at random, subtract the mean image, mirror, add a color.

    (N, 3, SIZE, SIZE) uint8 -> (N, 3, HEIGHT, WIDTH) float32, in gray levels.
    """
    # Found on the CPU; otherwise this would wait for the device.
    flip = draws.flip.nonzero()[:, 0]
    device = images.device
    top, left, flip, color = send(device, draws.top, draws.left, flip, draws.color)
    x = _crops(statistics.mean.expand_as(images), top, left)
    torch.sub(_crops(images, top, left), x, out=x)  # on a CPU, new memory is the cost
    x[flip] = x[flip].flip(3)
    x += (color @ statistics.colors)[:, :, None, None]
    return x


def _crops(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Crop each image at its own place: (N, 3, SIZE, SIZE) -> (N, 3, HEIGHT, WIDTH)."""
    windows = images.unfold(2, HEIGHT, 1).unfold(3, WIDTH, 1)  # all of them, as a view
    return windows[torch.arange(len(top), device=top.device), :, top, left]


def center_crop(images: Tensor, mean: Tensor) -> Iterator[Tensor]:
    """Yield the centers of images: (N, 3, HEIGHT, WIDTH) as from `augment`."""
    yield _crop(images, mean, (SIZE - HEIGHT) // 2, (SIZE - WIDTH) // 2)


def ten_crops(images: Tensor, mean: Tensor) -> Iterator[Tensor]:
    """Yield the corners and the center, each followed by its mirror image.

    Each is like that of `center_crop`. Average the softmax over the ten.
    """
    bottom, right = SIZE - HEIGHT, SIZE - WIDTH
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    for top, left in [*corners, (bottom // 2, right // 2)]:
        x = _crop(images, mean, top, left)
        yield x
        yield x.flip(3)


def _crop(images: Tensor, mean: Tensor, top: int, left: int) -> Tensor:
    area = (..., slice(top, top + HEIGHT), slice(left, left + WIDTH))
    return images[area] - mean[area]
