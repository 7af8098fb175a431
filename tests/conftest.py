"""Settings of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No test asserts a time. Where CI is set, Hypothesis draws the same examples each time.
settings.register_profile("specgen", parent=settings(), deadline=None)
settings.load_profile("specgen")

pytest.register_assert_rewrite("placed")
