"""Variants of specs side by side: which there are, what they cost, how it is shown."""

from specgen.variants.variant import Variant, compare

__all__ = ["Variant", "compare"]
