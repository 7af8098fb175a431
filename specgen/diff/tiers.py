"""How far a change reaches, judged on the network from tensor to tensor."""

from __future__ import annotations

from enum import IntEnum


class Tier(IntEnum):
    """Each tier changes what those before it leave alone; `str` gives its word."""

    SAME = 0  # comments, summary, names that are in no checkpoint
    PLACEMENT = 1  # where it runs
    RECIPE = 2  # data, training, init, and layers that act only in training
    FUNCTION = 3  # the same tensors, a different result in evaluation
    CHECKPOINT = 4  # tensors added, removed, reshaped, renamed
    INTERFACE = (
        5  # shape of the input, number of classes, whether probabilities come out
    )

    def __str__(self) -> str:
        return self.name.lower()


MEANING = {
    Tier.SAME: "the network, its recipe and its placement are the same",
    Tier.PLACEMENT: "the same network and recipe, placed differently",
    Tier.RECIPE: "the same network, trained differently",
    Tier.FUNCTION: "an old checkpoint loads, but may give different results",
    Tier.CHECKPOINT: "an old checkpoint does not load as is",
    Tier.INTERFACE: "the form of the input or output changes",
}
