"""Statistics of all images: their mean, their colors, and which are unreadable."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from . import parallel
from .dataset import Images, batches
from .errors import DataError
from .images import explain
from .loading import Loader


class Survey(NamedTuple):
    """What a pass over all images finds, in gray levels (0 to 255)."""

    mean: Tensor  # (channels, size, size) float64: the mean training image
    covariance: Tensor  # (channels, channels) float64: of all training pixels
    bad: dict[str, str]  # by name, why an image cannot be read


def survey(train: Images, val: Images, workers: int, *, colors: bool = False) -> Survey:
    """Read all images once. Without `colors`, the covariance is left at 0.

    Raises DataError if no training image can be read. Several processes divide up the
    batches.
    """
    count = 0
    rank, world_size = parallel.rank(), parallel.world_size()
    bad: dict[str, str] = {}
    # Sums of whole numbers, exact up to 2**53: the same for any number of workers.
    channels, height, width = train.shape
    total = torch.zeros(train.shape, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    size = (len(train) + len(val)) // world_size
    with tqdm(total=size, desc="survey", unit="img", disable=rank > 0 or None) as bar:
        for images in (train, val):
            share = batches(len(images), 8)[rank::world_size]
            for batch in Loader(images, share, workers):
                bad |= batch.bad
                bar.update(len(batch.images) + len(batch.bad))
                if images is train:
                    count += len(batch.images)
                    total += batch.images.sum(0, dtype=torch.int32)
                    if colors:
                        pixels = batch.images.movedim(1, 0).flatten(1).double()
                        products += pixels @ pixels.T
    bad = dict(sorted(parallel.all_gather(list(bad.items()))))
    count = int(parallel.all_reduce(torch.tensor(count)))
    if count == 0:
        raise DataError(*explain(bad))
    mean = parallel.all_reduce(total) / count
    products = parallel.all_reduce(products)
    if not colors:
        return Survey(mean, products, bad)
    color = mean.mean(dim=(1, 2))
    covariance = products / (count * height * width) - color.outer(color)
    return Survey(mean, covariance, bad)
