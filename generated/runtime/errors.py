"""Errors that end a script with sentences instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can fix.

    The arguments are sentences, one per problem; `help` says what to do about them.
    """

    status = 1  # the exit status of a script that it ends

    def __init__(self, *problems: str, help: str = "") -> None:
        super().__init__(*problems)
        self.help = help

    def __str__(self) -> str:
        return "\n".join(self.args)


class DataError(UserError):
    """Data that cannot be used."""


class CheckpointError(UserError):
    """A file of a run that cannot be written or used."""


class DivergedError(UserError):
    """Training that produced meaningless numbers."""


IN_THE_SPEC = "in the spec, warmup_epochs, clip_grad_norm, or a std for the pixels"

ADVICE = (
    "try, in this order: train.py --resume with a lower --lr, such as a tenth; a new "
    f"run with that; {IN_THE_SPEC}"
)

FROM_THE_START = (
    "train from the start with a lower --lr, such as a tenth, and --resume or another "
    f"--output; or try, {IN_THE_SPEC}"
)

OTHER_CODE = (
    "use the code that it was trained with, or train this network from the start"
)


class ExportError(UserError):
    """A checkpoint that cannot be exported."""


class ImageError(Exception):
    """Why an image cannot be read."""
