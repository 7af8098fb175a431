"""An image that kills the process that reads it. Needs neither torch nor pytest."""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

from specgen.runtime.images import Pixels


class DeadlyImage(NamedTuple):
    """An image whose decoder crashes."""

    path: str

    def read(self, out: Pixels) -> None:
        """Crash."""
        os.kill(os.getpid(), signal.SIGSEGV)
