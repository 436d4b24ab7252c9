"""What is installed: the archives that are built, and the command beside an application's own modules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from asset_worker import __version__
from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import KEY, ROOT
from tests.release.archives import build, differences, make_strange, unpacked

TIME = "1790000000"  # SOURCE_DATE_EPOCH
SCRIPT = Path(sys.executable).parent / "asset-worker"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The folder in which hatchling has put a wheel and a source archive."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, time=TIME)
    return folder


@pytest.fixture(scope="module")
def wheel(archives):
    """The names in the wheel."""
    [path] = archives.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def source_archive(archives):
    """The names in the source archive, without its own folder's."""
    [path] = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_the_wheel_holds_the_package_its_types_and_its_licence_and_nothing_else(wheel):
    """No tests, and no file outside the package: it would be installed beside the user's own."""
    folder = f"asset_worker-{__version__}.dist-info"
    assert {name.split("/")[0] for name in wheel} == {"asset_worker", folder}
    assert {"asset_worker/py.typed", "asset_worker/__main__.py", f"{folder}/licenses/LICENSE"} <= wheel
    files = [path for path in (ROOT / "worker" / "asset_worker").rglob("*") if path.is_file()]
    named = {str(path.relative_to(ROOT / "worker")) for path in files if "__pycache__" not in path.parts}
    assert {name for name in wheel if name.startswith("asset_worker/")} == named
    page = "asset_worker/telemetry/page"  # what is no module: the status page's template and what it loads
    assert {f"{page}/{name}" for name in ("page.html.j2", "page.css", "page.js", "problem.svg")} <= wheel


def test_the_source_archive_holds_what_make_demo_and_make_test_need(source_archive):
    names = {
        ".github/workflows/release.yml",
        ".github/workflows/test.yml",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "config/worker.toml",
        "deploy/Dockerfile",
        "docs/operations.md",
        "pyproject.toml",
        "requirements-bench.lock",
        "requirements-build.lock",
        "requirements-dev.lock",
        "requirements-release.lock",
        "requirements.lock",
        "tests/conftest.py",
        "worker/asset_worker/py.typed",
    }
    assert names <= source_archive


def test_the_source_archive_holds_every_file_of_the_repository_that_is_tracked(source_archive):
    """A file that is added later must not be forgotten."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no clone of the repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    # .ci is the hook of one CI system.
    tracked = {name for name in listed.stdout.splitlines() if not name.startswith(".ci/") and (ROOT / name).exists()}
    assert tracked - source_archive == set()


def test_another_build_from_the_source_archive_has_the_same_hashes(tmp_path, archives):
    """Whatever umask, time zone, locale and order of hashes are, and the times and modes of the files."""
    [source] = archives.glob("*.tar.gz")
    again = build(make_strange(unpacked(source, tmp_path / "tree")), tmp_path / "dist", time=TIME, strange=True)
    assert [differences(archives / path.name, path) for path in again] == [[], []]


def test_the_image_builds_the_wheel_without_a_network_and_without_isolation(tmp_path, wheel):
    """With the flags of the Dockerfile: what is not in the lock of the build backend can't get in."""
    flags = re.findall(r"pip wheel (.*) --wheel-dir", (ROOT / "deploy" / "Dockerfile").read_text())[0].split()
    assert {"--no-index", "--no-build-isolation"} <= set(flags)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *flags, "--quiet", "--wheel-dir", tmp_path, "."],
        cwd=ROOT,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == wheel


@pytest.fixture
def application(tmp_path):
    """The folder of an application that has modules called `worker`, as a file and as a package, and no others."""
    for place, body in (("as_file/worker.py", "1 / 0\n"), ("as_package/worker/__init__.py", "1 / 0\n")):
        path = tmp_path / "application" / place
        path.parent.mkdir(parents=True)
        path.write_text(body)
    return tmp_path / "application"


def started_in(folder, *command, **environ):
    """The command, in a folder that is first on PYTHONPATH."""
    paths = [str(folder), str(ROOT / "worker"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [os.fspath(word) for word in command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("place", ["as_file", "as_package"])
@pytest.mark.parametrize("program", [(sys.executable, "-m", "asset_worker"), (SCRIPT,)], ids=["module", "script"])
def test_an_applications_own_worker_module_does_not_break_the_command(application, place, program):
    """The import package is `asset_worker`: nothing of ours is called `worker`, which many applications have."""
    version = started_in(application / place, *program, "--version")
    assert (version.returncode, version.stdout) == (0, f"asset-worker, version {__version__}\n"), version.stderr
    check = started_in(application / place, *program, "config", "--check")
    assert (check.returncode, check.stderr) == (0, "the settings are good\n")


@pytest.mark.parametrize("place", ["as_file", "as_package"])
async def test_a_run_works_beside_an_applications_own_worker_module(serve, worker, application, place):
    """All of the program is loaded then: client, queue, poller, sinks."""
    simulator = await serve(time_scale=10)
    asset_id = simulator.store.add(Lifecycle(2))
    run = worker.start(
        "wait",
        asset_id,
        base_url=simulator.base_url,
        before=f"cd '{application / place}'; export PYTHONPATH=\"$PWD:$PYTHONPATH\";",
    )
    assert await run.end() == 0, run.stderr
    assert [event["subject"] for event in run.events()] == [asset_id]
    assert KEY not in run.stderr
