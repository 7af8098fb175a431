"""Placeholder until the training section lands."""

from specgen.schema import Strict


class Training(Strict):
    """Training."""
