"""What is deployed, and what runs the checks elsewhere, is well-formed and agrees with the program."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from asset_worker.domain.run_plan import Exit
from asset_worker.settings.loading import load
from asset_worker.telemetry.snapshot import DECLARATIONS
from tests.programs import BIN, checked, program
from tests.unit import command_lines

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DROP_INS = DEPLOY / "asset-worker.service.d"
ROLES = {"asset_worker_worker", "asset_worker_producer"}
"""Those of a fleet's database, which look like metrics."""
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"


def found(pattern, text):
    """What the group of a pattern matches, line by line."""
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, pattern
    return match[1]


def systemd_unit():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(DEPLOY / "asset-worker.service")
    return unit


def test_the_dockerfile_passes_its_linter():
    checked(BIN / "hadolint", DEPLOY / "Dockerfile")


def test_the_image_is_built_from_files_that_are_there_and_not_ignored():
    """Everything that the Dockerfile copies exists, and .dockerignore lets it into the build context."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = {
        source.removesuffix("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_every_base_image_is_named_by_a_digest_with_its_tag_beside_it():
    """A tag may lead to another image tomorrow. One line names the image, and may be replaced by --build-arg."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    variables = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    images = {
        re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], image)
        for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    }
    assert images
    for image in images:
        assert re.fullmatch(r"python:3\.13\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", image)
    # Another frontend would be one more image, named by a tag.
    assert "syntax=" not in dockerfile


def locked(path):
    """The packages in a lock file: name, version, hashes. Of one there may be two versions, each for some Pythons."""
    blocks = re.findall(
        r"^([\w.-]+)==(\S+).*\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)*)", path.read_text(), re.MULTILINE
    )
    return {(name, version, frozenset(hashes.split())) for name, version, hashes in blocks}


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_locked_package_has_a_version_and_hashes(path):
    packages = locked(path)
    assert packages
    assert all(hashes for _, _, hashes in packages)
    assert len(re.findall(r"^[^\s#]", path.read_text(), re.MULTILINE)) == len(packages)


def test_the_image_installs_nothing_without_a_hash():
    """Nor does the build of the wheel, which would otherwise download its backend."""
    installs = re.findall(r"/pip (?:install|wheel) ([^&\n]*)", (DEPLOY / "Dockerfile").read_text().replace("\\\n", " "))
    assert len(installs) == 4
    for flags in installs:
        assert flags.startswith(("--require-hashes -r requirements", "--no-index --no-deps "))
    [wheel] = [flags for flags in installs if "--wheel-dir" in flags]
    assert "--no-build-isolation" in wheel, "pip would look for the backend in an environment of its own"


def test_the_lock_of_the_build_backend_is_a_part_of_that_for_developers():
    """So a wheel is built with what the tests have run with."""
    build, dev = locked(ROOT / "requirements-build.lock"), locked(ROOT / "requirements-dev.lock")
    assert "hatchling" in {name for name, _, _ in build}
    assert build <= dev
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["dependency-groups"]["build"] == pyproject["build-system"]["requires"]


def test_the_audit_is_not_a_part_of_make_test():
    """It needs a network, and may fail on any day without a change here."""
    makefile = (ROOT / "Makefile").read_text()
    assert "audit" not in found(r"^test: (.*) ##", makefile)
    assert "requirements*.lock" in found(r"^audit:.*\n((?:\t.*\n)+)", makefile)


def test_the_image_runs_commands_that_the_program_has():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    entrypoint, command = (json.loads(found(rf"^{word} (\[.*\])$", dockerfile)) for word in ("ENTRYPOINT", "CMD"))
    assert entrypoint == ["asset-worker"]
    command_lines.check(command)
    *shell, line = json.loads(found(r"^HEALTHCHECK .* CMD (\[.*\])$", dockerfile))
    [health] = command_lines.command_lines(line)
    assert (shell, health) == (["sh", "-c"], ["doctor", "--local"])
    command_lines.check(health)


def test_the_image_sets_settings_and_its_state_directory_is_the_one_volume():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    variables = dict(re.findall(r"\b(ASSET_WORKER_\w+)=(\S+)", dockerfile))
    settings = load(config=None, environ=variables, overrides={})
    assert (settings.log.format, str(settings.state.dir)) == ("json", found(r"^VOLUME (\S+)$", dockerfile))


def test_the_image_says_its_name_and_licence():
    labels = found(r"^LABEL (.*)$", (DEPLOY / "Dockerfile").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = {"title": project["name"], "licenses": project["license"]}
    assert dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels)) == expected


EXAMPLE = re.compile(r"^#(?=[A-Z]\w*=)", re.MULTILINE)
"""Begins a line of the unit that is an example, to be used by removing it."""


@pytest.mark.parametrize("uncommented", ["", "the examples in it, and with its drop-ins"])
def test_the_unit_passes_systemds_check(tmp_path, uncommented):
    unit = (DEPLOY / "asset-worker.service").read_text().replace("/opt/asset-worker/bin/asset-worker", "/bin/true")
    (tmp_path / "asset-worker.service").write_text(EXAMPLE.sub("", unit) if uncommented else unit)
    if uncommented:
        shutil.copytree(DROP_INS, tmp_path / DROP_INS.name)
    # It exits 0 on an unknown key, with a line on stderr.
    assert checked(program("systemd-analyze"), "verify", tmp_path / "asset-worker.service") == ""


def test_the_unit_starts_again_after_whatever_may_pass_and_after_nothing_that_is_final():
    """After a crash and a signal, too: what is pending must not wait for an operator."""
    service = systemd_unit()["Service"]
    assert service["Restart"] == "always"
    assert set(service["RestartPreventExitStatus"].split()) == {
        str(int(code)) for code in (Exit.USAGE, Exit.KEY_REFUSED)
    }
    assert "SuccessExitStatus" not in service
    assert int(service["TimeoutStopSec"]) > 25


def test_the_unit_exposes_the_machine_little():
    checked(program("systemd-analyze"), "security", "--offline=true", "--threshold=15", DEPLOY / "asset-worker.service")


def test_the_unit_waits_until_the_worker_is_ready_and_restarts_one_that_hangs():
    service = systemd_unit()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) > 10, "a busy machine is no hang"
    assert "WatchdogSignal" not in service, "SIGABRT, at which the log shows where it hung"


def unit_environment(credentials, *drop_ins):
    """The variables of the unit, the last of each name, as systemd sets them."""
    files = [DEPLOY / "asset-worker.service", *(DROP_INS / f"{name}.conf" for name in drop_ins)]
    text = "\n".join(file.read_text() for file in files)
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    given = set(re.findall(r"^LoadCredential=([\w-]+):/etc/asset-worker/", text, re.MULTILINE))
    assert given == {value.removeprefix("%d/") for value in variables.values() if value.startswith("%d/")}
    return {name: value.replace("%d", str(credentials)) for name, value in variables.items()}


def test_the_variables_of_the_unit_are_settings_and_events_go_to_the_log_directory(tmp_path):
    settings = load(config=None, environ=unit_environment(tmp_path), overrides={})
    assert settings.api.key_file == tmp_path / "key"
    [events] = settings.events.local_targets
    assert Path(events).parent == Path("/var/log") / systemd_unit()["Service"]["LogsDirectory"]
    assert found(r"^(\S+) \{$", (DEPLOY / "asset-worker.logrotate").read_text()) == events


def test_with_its_drop_ins_the_unit_takes_the_targets_of_the_settings_file_and_secrets_as_credentials(tmp_path):
    """Root's own paths in that file are for `doctor` and `config --check`, outside of the unit."""
    file = DEPLOY / "worker.toml"
    settings = load(config=file, environ=unit_environment(tmp_path, "webhook", "tokens"), overrides={})
    as_root = load(config=file, environ={}, overrides={})
    assert settings.events.sinks == as_root.events.sinks
    assert settings.events.local_targets == ()
    secrets = settings.api.key_file, settings.events.secret_file, settings.admin.token_file
    assert secrets == (tmp_path / "key", tmp_path / "webhook-secret", tmp_path / "tokens")
    roots = {str(as_root.api.key_file), str(as_root.events.secret_file)}
    text = "".join(each.read_text() for each in (DEPLOY / "asset-worker.service", DROP_INS / "webhook.conf"))
    assert set(re.findall(r"^LoadCredential=[\w-]+:(.+)$", text, re.MULTILINE)) == roots


def test_the_settings_of_the_unit_may_follow_a_spool_and_take_tokens(tmp_path):
    file = tmp_path / "worker.toml"
    file.write_text(re.sub(r"^#(?=[a-z_]+ =|\[)", "", (DEPLOY / "worker.toml").read_text(), flags=re.MULTILINE))
    settings = load(config=file, environ={}, overrides={})
    assert str(settings.queue.file) in (ROOT / "docs" / "operations.md").read_text()
    token_file = found(r"^LoadCredential=tokens:(.+)$", (DROP_INS / "tokens.conf").read_text())
    assert str(settings.admin.token_file) == token_file


def test_the_spool_belongs_to_a_group_of_the_unit():
    group = systemd_unit()["Service"]["SupplementaryGroups"]
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert found(r"^    create 0640 \w+ (\w+)$", operations) == group
    assert found(r"install -d -o \w+ -g (\w+)", operations) == group
    assert found(r"install -d -o \w+ -g (\w+)", (DEPLOY / "README.md").read_text()) == group


def test_the_unit_reloads_by_the_signal_that_reloads():
    assert systemd_unit()["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_unit_allows_no_core_dump_which_would_hold_the_key():
    assert systemd_unit()["Service"]["LimitCORE"] == "0"


def test_the_unit_runs_a_command_that_the_program_has():
    program, *arguments = systemd_unit()["Service"]["ExecStart"].split()
    assert Path(program).name == "asset-worker"
    command_lines.check(arguments)


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_the_workflow_passes_its_schema(schema):
    checked(BIN / "check-jsonschema", "--builtin-schema", schema, WORKFLOW)


def test_the_workflow_runs_make_test_on_the_oldest_and_the_newest_supported_python():
    """CI installs the programs that tests drive, then runs the same command as a developer."""
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in actions), "a tag may be moved"
    [install, test] = [step["run"] for step in job["steps"] if "run" in step]
    assert ("apt-get install" in install, test) == (True, "make test")
    pyproject = (ROOT / "pyproject.toml").read_text()
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pyproject)
    assert job["strategy"]["matrix"]["python"] == [supported[0], supported[-1]]


def test_the_pre_commit_hooks_are_local_and_run_what_make_check_runs():
    """They download nothing: each is a tool from .venv that `make check` runs, too."""
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    check = found(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())
    targets = [line.replace("$(BIN)", ".venv/bin").strip().removesuffix(" .") for line in check.splitlines()]
    assert sorted(hook["entry"] for hook in hooks) == sorted(targets)


@pytest.mark.parametrize(
    "path", [DEPLOY / "alerts.yaml", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_metric_that_is_named_exists(path):
    known = {each.metric_name for each in DECLARATIONS.values()} | ROLES
    named = re.findall(r"\basset_worker_[a-z_]+", path.read_text())
    assert [name for name in named if name not in known and re.sub("_(bucket|sum|count)$", "", name) not in known] == []
