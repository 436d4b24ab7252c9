"""The commands of deploy/README.md fit the files; what all documents promise is checked in tests/unit/test_docs.py."""

from __future__ import annotations

import re

from asset_worker import __version__
from tests.unit import command_lines
from tests.unit.deploy.manifests import IMAGE, KUBERNETES, ROOT

DEPLOY = ROOT / "deploy"
COMMANDS = re.findall(r"^\$ (.+)$", (DEPLOY / "README.md").read_text().replace("\\\n", ""), re.MULTILINE)


def only(word):
    """The one command with this word in it."""
    [found] = [command for command in COMMANDS if word in command]
    return found


def test_what_is_run_in_containers_is_a_command_of_the_program():
    inner = [line.partition(" -- ")[2] for line in COMMANDS if " -- asset-worker" in line]
    inner.append("asset-worker " + only("docker run").partition(f" {IMAGE}:{__version__} ")[2])
    assert len(inner) == 3
    for line in inner:
        [arguments] = command_lines.command_lines(line)
        command_lines.check(arguments)


def test_the_image_has_the_present_version():
    assert set(re.findall(rf"{IMAGE}:(\d[\w.]*)", "\n".join(COMMANDS))) == {__version__}


def test_the_line_that_sets_image_and_receiver_finds_both():
    replaced = re.findall(r"s#([^#]+)#([^#]+)#", only("sed 's#image"))
    assert len(replaced) == 2
    for old, new in replaced:
        assert (KUBERNETES / "account.yaml").read_text().count(old) == 1
        assert new.startswith(old.partition("asset-worker")[0][:7])


def test_every_file_and_folder_is_in_the_table():
    table = (DEPLOY / "README.md").read_text().partition("## The files")[2].partition("\n## ")[0]
    named = {name.split("/")[0] for name in re.findall(r"`([\w./-]+)`", table)}
    there = {path.name for path in DEPLOY.iterdir() if path.name not in {"README.md", "__pycache__"}}
    assert there <= named
