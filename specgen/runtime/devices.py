"""The devices of a placement, bound to real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from . import parallel
from .errors import UserError


def choose_devices(names: str | None, placed: Sequence[str]) -> list[torch.device]:
    """Return a torch device for each of a placement's devices, and print which.

    `names` is the user's choice, "a,b" or one for all; if several processes share this
    machine, those of one after those of the other. None takes CUDA devices: one each
    if there are enough, else one for each process, else the CPU. Raises UserError if
    one is unusable.
    """
    processes = parallel.LOCAL_WORLD
    wanted = len(placed) * processes
    chosen = names.split(",") if names else []
    if names is None:
        chosen = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        count = wanted if len(chosen) >= wanted else processes
        chosen = chosen[:count] if len(chosen) >= count else ["cpu"]
        if len(chosen) == processes:
            chosen = [name for name in chosen for _ in placed]
    if len(chosen) == 1:
        chosen *= wanted
    if len(chosen) != wanted:
        raise UserError(f"--devices wants {wanted} devices or one, not {names}")
    chosen = chosen[len(placed) * parallel.LOCAL_RANK :][: len(placed)]
    for name in chosen:
        try:
            torch.empty(1, device=name).item()
        except Exception as error:  # each kind of device has its own
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise UserError(f"device {name} cannot be used: {reason}") from None
    print(", ".join(f"{a} on {b}" for a, b in zip(placed, chosen, strict=True)))
    return [torch.device(name) for name in chosen]


def seed_dropout(seed: int, step: int, devices: Sequence[torch.device]) -> None:
    """Make dropout a function of the seed, the step, the process, and the device."""
    mixed = np.random.SeedSequence((seed, step, parallel.rank()))
    first, *others = mixed.generate_state(len(devices)).tolist()
    torch.manual_seed(first)  # of all devices: shares would drop the same units
    for device, own in zip(devices[1:], others, strict=True):
        if device.type == "cuda" and device != devices[0]:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(own)
