"""deploy/compose.yaml is well-formed, and its parts agree with one another and with the program."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml

from asset_worker import __version__
from asset_worker.settings.loading import load
from tests.programs import BIN, checked, program
from tests.unit import command_lines
from tests.unit.deploy.compositions import COMPOSE, NAMESPACE, command, ours, services, volumes
from tests.unit.deploy.manifests import IMAGE

FOLDER = COMPOSE.parent / "compose"
SERVICES = services()
WORKER = SERVICES["worker"]

each_service = pytest.mark.parametrize("name", SERVICES)


def option(service, name):
    """The value of an option in a service's command."""
    [value] = [each.removeprefix(f"--{name}=") for each in service["command"] if each.startswith(f"--{name}=")]
    return value


def test_it_passes_the_schema_of_compose():
    checked(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


@pytest.mark.parametrize("name", ours())
def test_our_image_has_the_present_version_and_runs_commands_that_the_program_has(name):
    service = SERVICES[name]
    assert service["image"] == f"{IMAGE}:{__version__}"
    if "entrypoint" not in service:
        command_lines.check(service["command"])


def test_one_service_builds_our_image_and_no_other_builds_or_pulls_it():
    """So it is built once, and an image of that name in a registry is not taken for it."""
    policies = {name: (each["pull_policy"], "build" in each) for name, each in ours().items()}
    assert policies.pop("setup") == ("build", True)
    assert set(policies.values()) == {("never", False)}
    build = SERVICES["setup"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()


def test_who_shares_the_network_namespace_is_restarted_with_its_owner():
    sharing = {name for name, each in SERVICES.items() if each.get("network_mode") == f"service:{NAMESPACE}"}
    assert sharing == SERVICES.keys() - {NAMESPACE, "setup"}
    assert all(SERVICES[name]["depends_on"][NAMESPACE]["restart"] for name in sharing)


@each_service
def test_another_image_is_named_by_a_digest_with_its_tag_beside_it(name):
    image = SERVICES[name]["image"]
    assert name in ours() or re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", image), image


@each_service
def test_no_service_has_rights_that_it_does_not_need(name):
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert name == "setup" or not {"cap_add", "privileged"} & set(service)


@each_service
def test_all_is_in_one_network_namespace_and_published_on_this_machine_alone(name):
    service = SERVICES[name]
    modes = {NAMESPACE: None, "setup": "none"}
    assert service.get("network_mode") == modes.get(name, f"service:{NAMESPACE}")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@each_service
def test_what_it_waits_for_exists_and_can_become_what_it_waits_for(name):
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert wait["condition"] != "service_healthy" or "test" in SERVICES[other]["healthcheck"]
        assert wait["condition"] != "service_completed_successfully" or SERVICES[other]["restart"] == "no"


def test_volumes_are_declared_and_files_of_the_repository_are_there_and_read_only():
    mounted = {volume for service in SERVICES.values() for volume in volumes(service)}
    declared = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    assert {volume.source for volume in mounted if not volume.is_of_the_repository} == declared
    for volume in (each for each in mounted if each.is_of_the_repository):
        assert (volume.is_read_only, (COMPOSE.parent / volume.source).exists()) == (True, True), volume


def test_the_worker_has_settings_and_longer_to_stop_than_it_takes():
    its = load(config=None, environ=WORKER["environment"], overrides={})
    assert float(WORKER["stop_grace_period"].removesuffix("s")) > its.shutdown.grace
    assert its.events.secret_file is not None
    [secret] = [each for each in volumes(WORKER) if each.path == str(its.events.secret_file.parent)]
    assert secret in volumes(SERVICES["receiver"]), "both sign with one secret"


def test_each_asks_another_at_the_port_where_it_listens():
    api = f"http://127.0.0.1:{option(SERVICES['api'], 'port')}/v1.3"
    assert {SERVICES[name]["environment"]["TWELVELABS_BASE_URL"] for name in ("worker", "uploader")} == {api}
    assert option(WORKER, "events") == f"http://127.0.0.1:{option(SERVICES['receiver'], 'port')}/hooks"
    [job] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{option(WORKER, 'admin-port')}"]}]
    [source] = yaml.safe_load((FOLDER / "grafana" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    for name, port in (("prometheus", 9090), ("grafana", 3000)):
        assert f"127.0.0.1:{port}:{port}" in SERVICES[NAMESPACE]["ports"]
        assert f"http://127.0.0.1:{port}/" in " ".join(SERVICES[name]["healthcheck"]["test"])


def test_the_uploader_writes_the_queue_file_that_the_worker_reads():
    path = SERVICES["uploader"]["environment"]["QUEUE_FILE"]
    assert option(WORKER, "queue-file") == path
    mounts = {name: [each for each in volumes(SERVICES[name]) if each.source == "spool"] for name in SERVICES}
    [written], [read] = mounts["uploader"], mounts["worker"]
    assert (written.path, read.path, written.is_read_only, read.is_read_only) == (read.path, read.path, False, True)
    assert path.startswith(f"{read.path}/")


def test_prometheus_takes_its_configuration_with_the_alerts_beside_it(tmp_path):
    folder = "/etc/prometheus/"
    for volume in volumes(SERVICES["prometheus"]):
        shutil.copy(COMPOSE.parent / volume.source, tmp_path / volume.path.removeprefix(folder))
    assert "1 rule files found" in checked(program("promtool"), "check", "config", tmp_path / "prometheus.yml")


def test_grafana_finds_the_dashboard_where_it_is_mounted():
    grafana = SERVICES["grafana"]
    [provider] = yaml.safe_load((FOLDER / "grafana" / "dashboards" / "asset-worker.yaml").read_text())["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/dashboard.json"
    assert {home, "/etc/grafana/provisioning"} == {each.path for each in volumes(grafana)}


def test_the_script_that_prepares_the_volumes_makes_them_all():
    script = command(SERVICES["setup"], entrypoint="")[-1]
    assert {each.path for each in volumes(SERVICES["setup"])} <= set(script.split())
