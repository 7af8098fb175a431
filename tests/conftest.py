"""Settings of all tests, and what several of them share."""

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


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which every sentence of a script fits into one line."""
    monkeypatch.setenv("COLUMNS", "9999")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set."""
    from scripts import photos  # imports torch, which many tests do not need

    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of the module's `code`."""
    from scripts import finished

    return finished(code, data, tmp_path_factory.mktemp("whole"))


# No test asserts a time. If CI is set, Hypothesis draws the same examples each time.
settings.register_profile("specgen", parent=settings(), deadline=None)
settings.load_profile("specgen")

pytest.register_assert_rewrite("placed", "scripts", "written")
