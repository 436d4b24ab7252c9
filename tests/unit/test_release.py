"""The commands before a release: what they compare and demand, and who runs them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from asset_worker import __version__
from tests.release.agreement import CheckError, heading, supported_pythons, version_of
from tests.release.archives import differences
from tests.release.check import compared, found_pythons, reported

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
NOON = (2026, 11, 27, 12, 0, 0)


def wheel(path, *, time=NOON, mode=0o644, content="1\n", also=()):
    """A wheel with a module, and with others that are empty."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in [("package/module.py", content), *((name, "") for name in also)]:
            info = zipfile.ZipInfo(name, time)
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, text)
    return path


def source_archive(path, *, owner="root", mode=0o644):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package/module.py")
        info.uname, info.mode = owner, mode
        archive.addfile(info)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": (2026, 11, 27, 12, 0, 2)}, r"module\.py: time \(.*12, 0, 0\), \(.*12, 0, 2\)"),
        ({"mode": 0o600}, r"module\.py: mode 0o100644, 0o100600"),
        ({"content": "2\n"}, r"module\.py: content sha256:\w{12}, sha256:\w{12}"),
        ({"also": ["package/more.py"]}, r"package/more\.py: only in .*/other\.whl"),
    ],
    ids=["time", "mode", "content", "member"],
)
def test_two_builds_that_differ_fail_and_the_text_says_in_what(tmp_path, change, said):
    one, other = wheel(tmp_path / "one.whl"), wheel(tmp_path / "other.whl", **change)
    [line] = differences(one, other)
    assert re.fullmatch(f".*{said}", line)
    with pytest.raises(CheckError, match="two builds differ"):
        compared([one], [other])


def test_of_many_differences_the_first_are_shown(tmp_path):
    one, other = wheel(tmp_path / "one.whl"), wheel(tmp_path / "other.whl", also=[f"{n}.py" for n in range(30)])
    with pytest.raises(CheckError, match=r"differ:\n(.*only in .*\n){20}and 10 more$"):
        compared([one], [other])


def test_two_builds_with_one_hash_are_alike(tmp_path):
    assert compared([wheel(tmp_path / "one.whl")], [wheel(tmp_path / "other.whl")]) == "the same hashes"


def test_the_owner_of_a_file_in_a_source_archive_counts(tmp_path):
    pair = [source_archive(tmp_path / f"{owner}.tar.gz", owner=owner) for owner in ("ada", "bob")]
    assert differences(*pair) == ["package/module.py: owner (0, 0, 'ada', ''), (0, 0, 'bob', '')"]


def test_archives_that_differ_outside_their_members_differ(tmp_path):
    """Such as in the time in the header of gzip."""
    one = source_archive(tmp_path / "one.tar.gz")
    content = bytearray(one.read_bytes())
    content[4] ^= 1  # RFC 1952, §2.3: MTIME
    (tmp_path / "other.tar.gz").write_bytes(content)
    [line] = differences(one, tmp_path / "other.tar.gz")
    assert "header differs" in line


@pytest.mark.parametrize(
    ("first", "release"), [("Unreleased", ""), ("1.2.0 - 2026-12-01", ""), ("1.2.0 - 2026-12-01", "v1.2.0")]
)
def test_version_changelog_and_tag_that_agree_pass(first, release):
    assert heading("1.2.0", f"# Changelog\n\n## {first}\n\n## 1.1.0 - 2026-10-01\n", release=release) == first


@pytest.mark.parametrize(
    ("first", "release", "said"),
    [
        ("Unreleased", "v1.2.0", r'write "## 1\.2\.0 - YYYY-MM-DD"'),
        ("1.1.0 - 2026-10-01", "", r'write "## Unreleased" or "## 1\.2\.0 - YYYY-MM-DD"'),
        ("1.2.0", "v1.2.0", "write"),
        ("1.2.0 - 2026-12-01", "v1.2.1", r"the tag is v1\.2\.1, but the version is 1\.2\.0"),
        ("1.2.0 - 2026-12-01", "1.2.0", "the tag is 1.2.0"),
    ],
    ids=["no section", "old section", "no date", "other tag", "tag without v"],
)
def test_version_changelog_and_tag_that_disagree_fail(first, release, said):
    with pytest.raises(CheckError, match=said):
        heading("1.2.0", f"# Changelog\n\n## {first}\n", release=release)


def test_the_changelog_and_the_version_of_this_tree_agree():
    version = version_of((ROOT / "worker" / "asset_worker" / "__init__.py").read_text())
    assert version == __version__
    heading(version, (ROOT / "CHANGELOG.md").read_text(), release="")


def fake_python(path, version):
    path.write_text(f"#!/bin/sh\necho {version}\n" if version else "#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return str(path)


def test_pythons_are_found_by_what_they_say_they_are_and_the_named_ones_first(tmp_path, monkeypatch):
    """Not by their names: a shim of pyenv is there, and fails."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()
    for name, version in {"python3.11": "3.11", "python3.12": "", "python3.13": "3.13"}.items():
        fake_python(tmp_path / "bin" / name, version)
    named = [fake_python(tmp_path / "newest", "3.13"), fake_python(tmp_path / "old", "3.9"), str(tmp_path / "absent")]
    found = found_pythons(["3.11", "3.12", "3.13"], " ".join(named))
    assert found == {"3.11": "python3.11", "3.13": named[0]}


def test_a_check_that_fails_is_shown_and_does_not_end_the_others(capsys):
    def check():
        raise CheckError("it broke")

    assert not reported("metadata", check)
    assert reported("version", lambda: "1.2.0")
    assert re.fullmatch(r"FAILED  metadata .* it broke\nok      version .* 1\.2\.0\n", capsys.readouterr().out)


def recipes(target):
    """The commands that make would run for a target, were nothing there."""
    command = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


def test_make_test_does_not_install_the_tools_of_a_release():
    assert "requirements-release.lock" not in recipes("test")
    for target in ("release-check", "sbom"):
        assert "requirements-release.lock" in recipes(target)


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_the_workflow_passes_its_schema(schema):
    done = subprocess.run(
        [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", schema, WORKFLOW],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_checks_a_tag_on_every_supported_python_and_can_publish_nothing():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` so
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["release"]["steps"]
    actions = {step["uses"]: step.get("with", {}) for step in steps if "uses" in step}
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in actions), "a tag may be moved"
    [python] = (options for action, options in actions.items() if action.startswith("actions/setup-python@"))
    assert python["python-version"].split() == supported_pythons((ROOT / "pyproject.toml").read_text())
    check, bill_of_materials, _ = (step for step in steps if "run" in step)
    assert (check["run"], check["env"]) == ("make release-check", {"RELEASE": "${{ github.ref_name }}"})
    assert bill_of_materials["run"] == "make sbom"
