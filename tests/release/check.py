"""Whether the last commit can be released: `make release-check`.

Builds its wheel and source archive twice and compares them, then installs the wheel with the locked dependencies on
each supported Python and tries it. If all is well, the archives are put into dist/. Two variables are optional:

- `RELEASE=v1.2.3` is the tag of the release. The changelog must then have a section for this version, nothing may be
  uncommitted, and no supported Python may be missing.
- `PYTHONS="/opt/python*/bin/python3"` names interpreters that are not on PATH as `python3.X`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.release.agreement import CheckError, heading, supported_pythons, version_of
from tests.release.archives import (
    DIST,
    build,
    commit_time,
    committed_tree,
    differences,
    make_strange,
    run,
    sha256,
    unpacked,
)

SHOWN = 20
"""So many differences between two builds are shown."""


def takes_commit(tree: Path, *, release: str) -> str:
    """Put the files of the last commit into a folder, and say that what is not committed is left out."""
    changes = run("git", "status", "--porcelain")
    if changes and release:
        raise CheckError(f"commit these, or remove them:\n{changes}")
    committed_tree(tree)
    commit = run("git", "log", "-1", "--format=%h %s").strip()
    return f"{commit} (without what is not committed: {len(changes.splitlines())} files)" if changes else commit


def builds_alike(tree: Path, folder: Path) -> str:
    """Build, and build again under other circumstances, and compare the hashes."""
    archives = build(tree, folder / "archives", time=commit_time())
    time.sleep(3)  # the time of the build would show: archives count in steps of up to two seconds
    strange = make_strange(committed_tree(folder / "elsewhere" / "tree"))
    return compared(archives, build(strange, folder / "again", time=commit_time(), strange=True))


def builds_from_source_archive(archives: Sequence[Path], folder: Path) -> str:
    """Build from the source archive, and compare the hashes."""
    tree = unpacked(archives[1], folder / "unpacked")
    return compared(archives, build(tree, folder / "from-source", time=commit_time()))


def compared(ours: Sequence[Path], theirs: Sequence[Path]) -> str:
    """Say that each archive has one hash.

    Raises:
        CheckError: they differ; the text says in what.
    """
    lines = [line for one, other in zip(ours, theirs, strict=True) for line in differences(one, other)]
    if lines:
        more = f"\nand {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise CheckError("\n".join(["two builds differ:", *lines[:SHOWN]]) + more)
    return "the same hashes"


def twine_takes(archives: Sequence[Path]) -> str:
    """Let twine check the metadata of the archives."""
    run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *archives)
    return "twine check --strict"


def found_pythons(supported: Sequence[str], named: str) -> dict[str, str]:
    """Return an interpreter for each supported version that is found: among those that are named, then on PATH."""
    found: dict[str, str] = {}
    for candidate in [*named.split(), *(f"python{version}" for version in supported)]:
        try:
            version = run(candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        except CheckError:  # not there, or such as a shim of pyenv for a version that is not active
            continue
        found.setdefault(version, candidate)
    return {version: found[version] for version in supported if version in found}


def works(python: str, tree: Path, wheel: Path, folder: Path) -> str:
    """Install the wheel with the locked dependencies in a clean environment, and try it in an empty folder."""
    ours = ("PYTHON", "ASSET_WORKER_", "TWELVE_LABS_", "OTEL_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    run(python, "-m", "venv", folder / "venv", environ=environ)
    pip = partial(run, folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", environ=environ)
    pip("install", "--quiet", "--require-hashes", "-r", tree / "requirements.lock")
    pip("install", "--quiet", "--no-deps", wheel)
    pip("check")

    empty = folder / "empty"
    empty.mkdir()
    bare = {"PATH": os.environ["PATH"], "HOME": str(empty), "LANG": "C.UTF-8"}
    installed = partial(run, cwd=empty, environ=bare)
    worker = folder / "venv/bin/asset-worker"
    installed(folder / "venv/bin/python", "-c", "import asset_worker")
    version = installed(worker, "--version").split()[-1]
    if not wheel.name.startswith(f"asset_worker-{version}-"):
        raise CheckError(f"asset-worker --version says {version}, but the wheel is {wheel.name}")
    installed(worker, "config", "--check")
    if installed(worker, "config", "--schema") != (tree / "config/schema.json").read_text():
        raise CheckError("asset-worker config --schema is not config/schema.json: run `make reference`")
    installed(worker, "demo")
    release = installed(folder / "venv/bin/python", "--version").split()[-1]
    return f"{release}: pip check, import, --version, config --check, --schema, demo"


def reported(what: str, check: Callable[[], str]) -> bool:
    """Make a check, print a line about it, and return whether it passed."""
    began = time.monotonic()
    try:
        verdict, says = "ok", check()
    except CheckError as error:
        verdict, says = "FAILED", str(error)
    print(f"{verdict:8}{what:18}{time.monotonic() - began:5.1f} s  {says}", flush=True)
    return verdict == "ok"


def all_pass(tree: Path, folder: Path, *, release: str) -> bool:
    """Make every check of the last commit, and return whether all passed; `folder`/archives has what was built."""
    if not reported("commit", lambda: takes_commit(tree, release=release)):
        return False
    version = version_of((tree / "worker/asset_worker/__init__.py").read_text())
    changelog = (tree / "CHANGELOG.md").read_text()
    passed = [
        reported("version", lambda: f"{version}; changelog: {heading(version, changelog, release=release)}"),
        reported("two builds", lambda: builds_alike(tree, folder)),
    ]
    archives = sorted((folder / "archives").glob("*"))
    if not archives:
        return False
    passed += [
        reported("build from sdist", lambda: builds_from_source_archive(archives, folder)),
        reported("metadata", lambda: twine_takes(archives)),
    ]
    supported = supported_pythons((tree / "pyproject.toml").read_text())
    pythons = found_pythons(supported, os.environ.get("PYTHONS", ""))
    for each, python in pythons.items():
        passed.append(reported(f"Python {each}", partial(works, python, tree, archives[0], folder / each)))
    if missing := [each for each in supported if each not in pythons]:
        print(f"not found: Python {', '.join(missing)} (PYTHONS=… names interpreters that are not on PATH)")
    return all(passed) and bool(pythons) and not (missing and release)


def main() -> int:
    """Check the last commit, fill dist/ when all is well, and return the exit code."""
    for stale in DIST.glob("asset[-_]worker-*"):
        stale.unlink()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if not all_pass(folder / "tree", folder, release=os.environ.get("RELEASE", "")):
            print("nothing was put into dist/: a check failed, or a Python is missing")
            return 1
        DIST.mkdir(exist_ok=True)
        for archive in sorted((folder / "archives").iterdir()):
            shutil.copy(archive, DIST)
            print(f"{sha256(archive)}  dist/{archive.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
