"""Batch norms in training: the statistics they use, and those that they measure."""

from __future__ import annotations

from torch import distributed, nn

from . import parallel


def use_batch_statistics(net: nn.Module, images: int, total: int, least: int) -> None:
    """Let batch norms use the mean and variance of the batch, if it is large enough.

    With fewer than `least` images there is no variance. They then use the running
    statistics, as in evaluation, and leave them as they are. A batch norm that is
    synchronized uses the `total` of all processes, others the `images` of this one.
    """
    for norm in _norms(net):
        synchronized = type(norm) is not nn.BatchNorm2d
        norm.train((total if synchronized else images) >= least)


def share_statistics(net: nn.Module) -> None:
    """Give all processes the running statistics of the first.

    Each process measures its own share of the batches. Evaluation reads what the last
    step measured; DistributedDataParallel would share that only before the next.
    """
    if parallel.world_size() > 1:
        for norm in _norms(net):
            for statistic in norm.buffers():
                distributed.broadcast(statistic, 0)


def _norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
