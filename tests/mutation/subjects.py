"""Which modules are changed, and which tests should notice: one table.

The shells around sockets, standard streams and processes are left out: integration tests hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path("worker/asset_worker")
TESTS = Path("tests/unit")


class Subject(NamedTuple):
    """A part of the package, with the tests that belong to it."""

    modules: str
    """A pattern, below the package."""
    own: str
    """A pattern of its own tests, below `tests/unit`."""
    shells: frozenset[str] = frozenset()
    """The modules, by file name, that are left out."""

    def files(self) -> Iterator[Path]:
        """Yield the modules' files."""
        for path in sorted(PACKAGE.glob(self.modules)):
            if path.name not in self.shells | {"__init__.py", "ports.py", "observing.py"}:
                yield path


SUBJECTS = (
    Subject("domain/**/*.py", "domain/test_*.py"),
    Subject("schedule/**/*.py", "schedule/test_*.py"),
    Subject("api/**/*.py", "api/test_*.py", frozenset({"session.py"})),
    Subject("poller/**/*.py", "poller/test_*.py"),
    Subject("queue/**/*.py", "queue/test_*.py"),
    Subject(
        "intake/**/*.py", "intake/**/test_*.py", frozenset({"stdin.py", "descriptor.py", "endpoints.py", "registry.py"})
    ),
    Subject("sinks/**/*.py", "sinks/**/test_*.py", frozenset({"stdout.py", "registry.py", "resolver.py"})),
    Subject("runtime/steady_time.py", "runtime/test_steady_time.py"),
    Subject("runtime/durations.py", "runtime/test_durations.py"),
    Subject("policies.py", "test_policies.py"),
)


def chosen(only: str) -> dict[Path, Subject]:
    """Return the modules' files below `only` (`api`, or `api/limits`; all, if it is empty), each with its part."""
    found = {path: subject for subject in SUBJECTS for path in subject.files()}
    return {path: part for path, part in found.items() if path.is_relative_to(PACKAGE / only) or str(path) == only}


def module_of(path: Path) -> str:
    """Return the name by which the module at `path` is imported."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_files(*patterns: str) -> set[str]:
    """Return the files of tests that match the patterns below `tests/unit`."""
    return {str(path) for pattern in patterns for path in TESTS.glob(pattern)}
