"""What a change to a spec means for the network, its checkpoints and its figures."""

from specgen.diff.compare import compare
from specgen.diff.difference import Change, CheckpointChange, Difference
from specgen.diff.tiers import Tier

__all__ = ["Change", "CheckpointChange", "Difference", "Tier", "compare"]
