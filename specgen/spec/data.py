"""Placeholder until the data section lands."""

from specgen.schema import Strict


class Data(Strict):
    """Data."""
