"""Settings of all tests, and the real images of several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def odd() -> Path:
    """The files that break image loaders."""
    folder = os.environ.get("SPECGEN_TEST_DATA")
    if not folder:
        pytest.skip("SPECGEN_TEST_DATA is not a folder with real images")
    return Path(folder) / "oddjpeg"


# No test asserts a time. If CI is set, Hypothesis draws the same examples each time.
settings.register_profile("specgen", parent=settings(), deadline=None)
settings.load_profile("specgen")

pytest.register_assert_rewrite("placed", "scripts", "written")
