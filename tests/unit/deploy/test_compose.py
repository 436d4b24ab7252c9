"""The compositions in deploy/ are well-formed, and their parts agree with one another and with the program."""

from __future__ import annotations

import re
import shutil
from urllib.parse import urlsplit

import pytest
import yaml

from asset_worker import __version__
from asset_worker.settings.loading import load
from tests.programs import BIN, checked, program
from tests.unit import command_lines
from tests.unit.deploy.compositions import (
    COMPOSITIONS,
    DEPLOY,
    FLEET,
    NAMESPACE,
    command,
    is_ours,
    services,
    volumes,
)
from tests.unit.deploy.manifests import IMAGE

FOLDER = DEPLOY / "compose"
USERS = FOLDER / "fleet.sql"
SERVICES, OF_FLEET = services(), services(FLEET)
WORKER = SERVICES["worker"]
WORKERS_OF_FLEET = {name: each for name, each in OF_FLEET.items() if name.startswith("worker-")}
NAMED = [(path, name, each) for path in COMPOSITIONS for name, each in services(path).items()]

each_composition = pytest.mark.parametrize("composition", COMPOSITIONS, ids=lambda path: path.stem)
each_service = pytest.mark.parametrize(
    ("name", "service"), [pytest.param(name, each, id=f"{path.stem}-{name}") for path, name, each in NAMED]
)
each_of_ours = pytest.mark.parametrize(
    "service", [pytest.param(each, id=f"{path.stem}-{name}") for path, name, each in NAMED if is_ours(each)]
)
each_worker = pytest.mark.parametrize(
    ("service", "receiver"),
    [
        pytest.param(WORKER, SERVICES["receiver"], id="worker"),
        *(pytest.param(each, OF_FLEET["receiver"], id=name) for name, each in WORKERS_OF_FLEET.items()),
    ],
)


def option(service, name):
    """The value of an option in a service's command."""
    [value] = [each.removeprefix(f"--{name}=") for each in service["command"] if each.startswith(f"--{name}=")]
    return value


def test_they_pass_the_schema_of_compose():
    checked(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSITIONS)


@each_of_ours
def test_our_image_has_the_present_version_and_runs_commands_that_the_program_has(service):
    assert service["image"] == f"{IMAGE}:{__version__}"
    if "entrypoint" not in service:
        command_lines.check(service["command"])


@each_composition
def test_one_service_builds_our_image_and_no_other_builds_or_pulls_it(composition):
    """So it is built once, and an image of that name in a registry is not taken for it."""
    ours = {name: each for name, each in services(composition).items() if is_ours(each)}
    policies = {name: (each["pull_policy"], "build" in each) for name, each in ours.items()}
    assert policies.pop("setup") == ("build", True)
    assert set(policies.values()) == {("never", False)}
    build = ours["setup"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


@each_composition
def test_who_shares_the_network_namespace_is_restarted_with_its_owner(composition):
    its = services(composition)
    sharing = {name for name, each in its.items() if each.get("network_mode") == f"service:{NAMESPACE}"}
    assert sharing == its.keys() - {NAMESPACE, "setup"}
    assert all(its[name]["depends_on"][NAMESPACE]["restart"] for name in sharing)


@each_service
def test_another_image_is_named_by_a_digest_with_its_tag_beside_it(name, service):
    image = service["image"]
    assert is_ours(service) or re.fullmatch(r"[\w/]+:v?\d+(\.\d+)+@sha256:[0-9a-f]{64}", image), name


@each_service
def test_no_service_has_rights_that_it_does_not_need(name, service):
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert name == "setup" or not {"cap_add", "privileged"} & set(service)


@each_service
def test_all_is_in_one_network_namespace_and_published_on_this_machine_alone(name, service):
    modes = {NAMESPACE: None, "setup": "none"}
    assert service.get("network_mode") == modes.get(name, f"service:{NAMESPACE}")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@each_composition
def test_what_a_service_waits_for_exists_and_can_become_what_it_waits_for(composition):
    its = services(composition)
    for other, wait in (each for service in its.values() for each in service.get("depends_on", {}).items()):
        assert wait["condition"] != "service_healthy" or "test" in its[other]["healthcheck"]
        assert wait["condition"] != "service_completed_successfully" or its[other]["restart"] == "no"


@each_composition
def test_volumes_are_declared_and_files_of_the_repository_are_there_and_read_only(composition):
    mounted = {volume for service in services(composition).values() for volume in volumes(service)}
    declared = set(yaml.safe_load(composition.read_text())["volumes"])
    assert {volume.source for volume in mounted if not volume.is_of_the_repository} == declared
    for volume in (each for each in mounted if each.is_of_the_repository):
        assert (volume.is_read_only, (DEPLOY / volume.source).exists()) == (True, True), volume


@each_worker
def test_a_worker_has_settings_and_longer_to_stop_than_it_takes(service, receiver):
    its = load(config=None, environ=service["environment"], overrides={})
    assert float(service["stop_grace_period"].removesuffix("s")) > its.shutdown.grace
    assert its.events.secret_file is not None
    [secret] = [each for each in volumes(service) if each.path == str(its.events.secret_file.parent)]
    assert secret in volumes(receiver), "both sign with one secret"


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
        shutil.copy(DEPLOY / volume.source, tmp_path / volume.path.removeprefix(folder))
    assert "1 rule files found" in checked(program("promtool"), "check", "config", tmp_path / "prometheus.yml")


def test_grafana_finds_the_dashboard_where_it_is_mounted():
    grafana = SERVICES["grafana"]
    [provider] = yaml.safe_load((FOLDER / "grafana" / "dashboards" / "asset-worker.yaml").read_text())["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/dashboard.json"
    assert {home, "/etc/grafana/provisioning"} == {each.path for each in volumes(grafana)}


@each_composition
def test_the_script_that_prepares_the_volumes_makes_them_all(composition):
    setup = services(composition)["setup"]
    assert {each.path for each in volumes(setup)} <= set(command(setup, entrypoint="")[-1].split())


def test_the_workers_of_a_fleet_differ_in_their_names_ports_and_state_alone():
    environments = [dict(each["environment"]) for each in WORKERS_OF_FLEET.values()]
    assert [each.pop("ASSET_WORKER_FLEET__NAME") for each in environments] == list(WORKERS_OF_FLEET)
    assert environments[0] == environments[1]
    assert len({option(each, "admin-port") for each in WORKERS_OF_FLEET.values()}) == 2
    state = [{each.source for each in volumes(service)} for service in WORKERS_OF_FLEET.values()]
    assert state == [{"state-1", "secret"}, {"state-2", "secret"}]


def test_a_fleet_asks_its_api_its_receiver_and_its_database_where_they_are():
    worker = load(config=None, environ=OF_FLEET["worker-1"]["environment"], overrides={})
    api, receiver = (f"http://127.0.0.1:{option(OF_FLEET[name], 'port')}" for name in ("api", "receiver"))
    assert (worker.queue.engine, worker.api.base_url) == ("postgres", f"{api}/v1.3")
    assert OF_FLEET["worker-1"]["environment"]["ASSET_WORKER_EVENTS__SINKS"] == f"{receiver}/hooks"
    assert OF_FLEET["uploader"]["environment"]["TWELVELABS_BASE_URL"] == worker.api.base_url
    named = [
        urlsplit(value)
        for service in OF_FLEET.values()
        for value in map(str, service.get("environment", {}).values())
        if value.startswith("postgresql:")
    ]
    database = OF_FLEET["database"]
    assert {(each.hostname, each.port, each.path) for each in named} == {
        ("127.0.0.1", 5432, f"/{database['environment']['POSTGRES_DB']}")
    }
    made = re.findall(r"^CREATE USER (\w+) IN ROLE asset_worker_(?:worker|producer);$", USERS.read_text(), re.MULTILINE)
    assert {each.username for each in named} == {"postgres", *made}
    assert [each.path for each in volumes(database) if DEPLOY / each.source == USERS] == [
        "/docker-entrypoint-initdb.d/fleet.sql"
    ]
