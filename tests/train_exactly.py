"""Run a generated train.py in float64, with accidents: FOLDER ARGUMENTS...

In the environment, SIGNAL="rank step number" sends that process a signal at the end of
that step, SPOILT="name ..." makes images unreadable after the survey,
and SECOND_FLAGS are for the second process only.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

Function = Callable[..., Any]


def main() -> None:
    sys.path.insert(0, sys.argv.pop(1))
    torch.set_default_dtype(torch.float64)
    train: Any = importlib.import_module("train")
    in_double(train, "augment")
    in_double(importlib.import_module("evaluate"), "center_crop")
    train.begin = spoiling(train.begin, os.environ.get("SPOILT", "").split())
    if int(os.environ.get("RANK", 0)) == 1:
        sys.argv += os.environ.get("SECOND_FLAGS", "").split()
    rank, step, number = map(int, os.environ.get("SIGNAL", "-1 0 0").split())
    if rank == int(os.environ.get("RANK", 0)):
        train.update = signalling(train.update, step, number)
    train.parallel.run(train.main, train.DataError)


def in_double(module: ModuleType, name: str) -> None:
    function: Function = getattr(module, name)
    setattr(module, name, lambda *arguments: function(*arguments).double())


def spoiling(begin: Function, names: list[str]) -> Function:
    images: Any = importlib.import_module("images")
    read: Function = images.ImageFolder.read

    def read_some(self: Any, name: str) -> Any:
        if name in names:
            raise images.ImageError("it is spoilt")
        return read(self, name)

    def begin_and_spoil(*arguments: Any) -> Any:
        found = begin(*arguments)
        images.ImageFolder.read = read_some
        return found

    return begin_and_spoil


def signalling(update: Function, last: int, number: int) -> Function:
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
