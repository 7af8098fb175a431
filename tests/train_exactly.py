"""Run a generated train.py in float64, with accidents: FOLDER ARGUMENTS...

In the environment, SIGNAL="rank step number" sends that process a signal at the end of
that step, SPOILED="name ..." makes images unreadable after the survey,
and SECOND_FLAGS are for the second process only.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]


def main() -> None:
    sys.path.insert(0, sys.argv.pop(1))
    torch.set_default_dtype(torch.float64)
    # All of torch.compile but its last part, which takes half a minute here.
    compiler: Any = torch
    compiler.compile = functools.partial(torch.compile, backend="aot_eager")
    train: Any = importlib.import_module("train")
    # On CPUs, train.py leaves the network as it is.
    train.compile_network = importlib.import_module("runtime.devices").Compiled
    augment, center_crop = train.augment, train.center_crop
    train.augment = lambda *its: augment(*its).double()
    train.center_crop = lambda *its: (crop.double() for crop in center_crop(*its))
    train.measure = spoiling(train.measure, os.environ.get("SPOILED", "").split())
    if int(os.environ.get("RANK", 0)) == 1:
        sys.argv += os.environ.get("SECOND_FLAGS", "").split()
    rank, step, number = map(int, os.environ.get("SIGNAL", "-1 0 0").split())
    if rank == int(os.environ.get("RANK", 0)):
        train.update = signaling(train.update, step, number)
    train.parallel.run(train.main)


def spoiling(measure: Function, names: list[str]) -> Function:
    dataset: Any = importlib.import_module("runtime.dataset")
    source: Function = dataset.ImageFolder.source

    def source_of_some(self: Any, name: str) -> Any:
        return dataset.ImageFile("spoiled") if name in names else source(self, name)

    def measure_and_spoil(*arguments: Any) -> Any:
        found = measure(*arguments)
        dataset.ImageFolder.source = source_of_some
        return found

    return measure_and_spoil


def signaling(update: Function, last: int, number: int) -> Function:
    steps = 0

    def update_and_signal(*arguments: Any) -> None:
        nonlocal steps
        update(*arguments)
        steps += 1
        if steps == last:
            os.kill(os.getpid(), number)

    return update_and_signal


if __name__ == "__main__":
    main()
