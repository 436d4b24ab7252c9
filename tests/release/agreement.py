"""What must agree before a release: version, changelog, tag and supported Pythons."""

from __future__ import annotations

import re
import tomllib


class CheckError(Exception):
    """A check of the release failed; the text says what is wrong and what to do."""


def version_of(source: str) -> str:
    """Return the version that the package's `__init__.py` states."""
    [version] = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    return str(version)


def supported_pythons(pyproject: str) -> list[str]:
    """Return the Python versions that the classifiers name, such as "3.11", oldest first."""
    classifiers = tomllib.loads(pyproject)["project"]["classifiers"]
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)


def heading(version: str, changelog: str, *, release: str) -> str:
    """Return the changelog's first heading, if it goes with the version and with the tag.

    Args:
        version: the package's, such as "1.2.3".
        changelog: the text of CHANGELOG.md.
        release: the tag of the release, such as "v1.2.3", or "" between releases.

    Raises:
        CheckError: they disagree.
    """
    first = str(re.findall(r"^## (.+)$", changelog, re.MULTILINE)[0])
    is_release = re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", first) is not None
    if not is_release and first != "Unreleased":
        raise CheckError(f'CHANGELOG.md begins with "## {first}": write "## Unreleased" or "## {version} - YYYY-MM-DD"')
    if release and release != f"v{version}":
        raise CheckError(f"the tag is {release}, but the version is {version}: see worker/asset_worker/__init__.py")
    if release and not is_release:
        raise CheckError(f'CHANGELOG.md begins with "## {first}": write "## {version} - YYYY-MM-DD"')
    return first
