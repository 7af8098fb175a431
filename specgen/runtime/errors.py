"""What a script ends with, in a sentence and without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that its user can mend. The arguments are sentences, one a problem."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class DataError(UserError):
    """Data that cannot be used."""


class CheckpointError(UserError):
    """A file of a run that cannot be written or used."""


class ExportError(UserError):
    """A checkpoint that cannot be exported."""


class ImageError(Exception):
    """Why an image cannot be read."""
