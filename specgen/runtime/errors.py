"""What a script ends with: sentences, not a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that its user can mend. The arguments are sentences, one a problem."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class DataError(UserError):
    """Data that cannot be used."""


class CheckpointError(UserError):
    """A file of a run that cannot be written or used."""


class DivergedError(UserError):
    """Training that has led to numbers without meaning."""


ADVICE = (
    "try, in this order: train.py --resume with a lower --lr, say a tenth; a new run "
    "with it; in the spec, warmup_epochs, clip_grad_norm, or a std for the pixels"
)


class ExportError(UserError):
    """A checkpoint that cannot be exported."""


class ImageError(Exception):
    """Why an image cannot be read."""
