"""Programs that some tests drive: those that no Python package ships, and how one is run that checks a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
"""Where the programs of Python packages are."""
ELSEWHERE = ("/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))))
"""Where Debian has servers, and PostgreSQL's own programs of each version: they are not on everybody's PATH."""


def checked(*command: str | Path) -> str:
    """Run a program that checks something, and return all that it prints; it must exit with 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed.

    Without any, the test is skipped; in CI, which installs them, it fails.
    """
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *ELSEWHERE])
    for name in names:
        if (path := shutil.which(name, path=places)) is not None:
            return path
    missing = f"{' or '.join(names)} is not installed"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
