"""Programs that some tests drive, and that no Python package ships."""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed.

    Without any, the test is skipped; in CI, which installs them, it fails.
    """
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    missing = f"{' or '.join(names)} is not installed"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
