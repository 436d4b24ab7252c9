"""The commands of deploy/README.md fit the files; what all documents promise is checked in tests/unit/test_docs.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest

from asset_worker import __version__
from tests.unit import command_lines
from tests.unit.deploy.manifests import IMAGE, KUBERNETES, ROOT, rendered
from tests.unit.deploy.rendering import documents_of, render

DEPLOY = ROOT / "deploy"
README = (DEPLOY / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README.replace("\\\n", ""), re.MULTILINE)


def only(word):
    """The one command with this word in it."""
    [found] = [command for command in COMMANDS if word in command]
    return found


def test_what_is_run_in_containers_is_a_command_of_the_program():
    inner = [line.partition(" -- ")[2] for line in COMMANDS if " -- asset-worker" in line]
    inner.append("asset-worker " + only("docker run").partition(f" {IMAGE}:{__version__} ")[2])
    assert len(inner) == 5
    for line in inner:
        [arguments] = command_lines.command_lines(line)
        command_lines.check(arguments)


def test_the_image_has_the_present_version():
    assert set(re.findall(rf"{IMAGE}:(\d[\w.]*)", "\n".join(COMMANDS))) == {__version__}


@pytest.mark.parametrize("manifest", ["account.yaml", "fleet.yaml"])
def test_the_line_that_sets_image_and_receiver_finds_both(manifest):
    replaced = re.findall(r"s#([^#]+)#([^#]+)#", only(f"kubernetes/{manifest}"))
    assert len(replaced) == 2
    for old, new in replaced:
        assert (KUBERNETES / manifest).read_text().count(old) == 1
        assert new.startswith(old.partition("asset-worker")[0][:7])


def copied(folder):
    """The manifests where the example expects them, beside a folder of one's own, which is returned."""
    shutil.copytree(KUBERNETES, folder / "asset-worker" / "deploy" / "kubernetes")
    own = folder / "own"
    own.mkdir()
    return own


def test_the_kustomization_for_a_repository_of_ones_own_renders(tmp_path):
    own = copied(tmp_path)
    [text] = [each for each in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "kind: Kustomization" in each]
    (own / "kustomization.yaml").write_text(text)
    (own / "worker.toml").write_text("[account]\nfollow = true\n")
    documents = documents_of(own)
    assert {each["metadata"]["namespace"] for each in documents} == {"media"}
    kinds = Counter(each["kind"] for each in documents)
    assert kinds == Counter(each["kind"] for each in rendered("account")) + Counter(PodMonitor=1, PrometheusRule=2)
    assert [each["data"] for each in documents if each["kind"] == "ConfigMap"] == [
        {"worker.toml": (own / "worker.toml").read_text()}
    ]
    [worker] = [each for each in documents if each["kind"] == "Deployment"]
    [container] = worker["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example/asset-worker@sha256:")


def test_the_lines_that_rename_the_uploader_leave_no_other_name(tmp_path):
    copied(tmp_path)
    for word in ("cp -r", "sed -i"):
        subprocess.run(["sh", "-ec", only(word)], cwd=tmp_path / "asset-worker", check=True, timeout=60)
    made = render(tmp_path / "asset-worker" / "deploy" / "kubernetes" / "overlays" / "media-upload")
    assert "uploader" not in made
    assert made.count("media-upload") == (KUBERNETES / "sidecar.yaml").read_text().count("uploader")


def test_every_file_and_folder_is_in_the_table():
    table = (DEPLOY / "README.md").read_text().partition("## The files")[2].partition("\n## ")[0]
    named = {name.split("/")[0] for name in re.findall(r"`([\w./-]+)`", table)}
    there = {path.name for path in DEPLOY.iterdir() if path.name not in {"README.md", "__pycache__"}}
    assert there <= named
