"""Writes a bill of materials of the last commit into dist/: `make sbom`.

It names what `pip install -r requirements.lock` and the wheel put on a machine, both extras included: versions,
licences, who depends on whom, and the SHA-256 hashes of the lock file. Made again from the same commit, with the same
Python and on the same kind of system, it is the same file.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.release.agreement import CheckError, version_of
from tests.release.archives import DIST, build, commit_time, committed_tree, run, sha256
from tests.release.bill import completed, without_licence


def bill_of(tree: Path, folder: Path) -> str:
    """Return the bill of materials of a tree, as JSON text."""
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)  # pip is not needed to run, and is not in the lock
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin" / "python", "install",
        "--quiet", "--require-hashes", "-r", tree / "requirements.lock")  # fmt: skip
    made_at = {**os.environ, "SOURCE_DATE_EPOCH": commit_time()}
    options = ("--sv", "1.6", "--output-reproducible", "--pyproject", tree / "pyproject.toml", "-o", "-")
    cyclonedx = (sys.executable, "-m", "cyclonedx_py")
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    bill = completed(
        json.loads(run(*cyclonedx, "environment", *options, venv / "bin" / "python", environ=made_at)),
        json.loads(run(*cyclonedx, "requirements", *options, tree / "requirements.lock", environ=made_at)),
        version=version_of((tree / "worker" / "asset_worker" / "__init__.py").read_text()),
        wheel=sha256(build(tree, folder / "archives", time=commit_time())[0]),
        required=re.findall(r"^[\w-]+", "\n".join(project["dependencies"]), re.MULTILINE),
        properties={
            "extras": ", ".join(project["optional-dependencies"]),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "system": f"{sys.platform} {platform.machine()}",
        },
    )
    text = json.dumps(bill, indent=2, ensure_ascii=False) + "\n"
    if invalid := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise CheckError(f"the bill of materials is not valid: {invalid}")
    if str(folder) in text:
        raise CheckError(f"the bill of materials names a folder of this machine, {folder}")
    return text


def main() -> int:
    """Write the file, say what it holds, and return the exit code."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            text = bill_of(committed_tree(folder / "tree"), folder)
        except CheckError as error:
            print(error)
            return 1
    bill = json.loads(text)
    package = bill["metadata"]["component"]
    path = DIST / f"{package['name']}-{package['version']}.cdx.json"
    DIST.mkdir(exist_ok=True)
    path.write_text(text)
    print(
        f"{len(bill['components'])} components; no licence is declared by: {', '.join(without_licence(bill)) or 'none'}"
    )
    print(f"{sha256(path)}  dist/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
