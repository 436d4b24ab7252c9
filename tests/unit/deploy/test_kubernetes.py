"""The Kubernetes manifests are rendered, well-formed, and agree with the program and with one another."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from asset_worker import __version__, policies
from asset_worker.domain.run_plan import RunPlan
from asset_worker.settings.loading import load
from asset_worker.settings.tree import Settings
from tests.programs import BIN, checked
from tests.unit import command_lines
from tests.unit.deploy.manifests import (
    IMAGE,
    KUBERNETES,
    OVERLAYS,
    PODMONITOR,
    container,
    containers,
    environment,
    only,
    pod,
    rendered,
    settings_file,
    workload,
)
from tests.unit.deploy.rendering import committed, render

HEAD = """\
# Rendered from overlays/{overlay}, where the comments are: change it there, and render it again with
# RENEW_MANIFESTS=1 pytest tests/unit/deploy
"""

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def settings(overlay: str, folder: Path) -> Settings:
    """The settings that the worker of an overlay has, by ConfigMap and environment, which `doctor` sees, too."""
    worker, file = container(overlay, "asset-worker"), None
    assert set(worker["args"][1::2]) <= {"--config"}
    if (text := settings_file(overlay)) is not None:
        file = folder / "worker.toml"
        file.write_text(text)
    return load(config=file, environ=environment(worker), overrides={})


def mount_of(container: dict[str, Any], path: object) -> dict[str, Any]:
    """The mount in which a path is."""
    within: list[dict[str, Any]] = [
        each for each in container["volumeMounts"] if PurePosixPath(str(path)).is_relative_to(each["mountPath"])
    ]
    [found] = within
    return found


@each_overlay
def test_the_committed_file_is_what_the_overlay_renders(overlay):
    """So that `kubectl apply -f` needs no kustomize."""
    head = HEAD.format(overlay=overlay)
    made = head + render(KUBERNETES / "overlays" / overlay)
    found = committed(KUBERNETES / f"{overlay}.yaml", made)
    assert found.startswith(head)
    assert list(yaml.safe_load_all(found)) == list(yaml.safe_load_all(made)), "whatever the renderer's style"


def test_the_manifests_pass_the_schemas_of_kubernetes():
    checked(BIN / "kubernetes-validate", "--strict", *(KUBERNETES / f"{overlay}.yaml" for overlay in OVERLAYS))


@each_overlay
def test_the_worker_runs_a_command_that_the_program_has_with_settings_that_are_good(overlay, tmp_path):
    worker = container(overlay, "asset-worker")
    command_lines.check(worker["args"])
    assert settings(overlay, tmp_path).admin.port == worker["ports"][0]["containerPort"]


@each_overlay
def test_every_path_in_the_settings_is_on_a_volume_with_the_rights_that_it_takes(overlay, tmp_path):
    worker, its = container(overlay, "asset-worker"), settings(overlay, tmp_path)
    written = [its.state.dir, *its.events.local_targets]
    read = [its.api.key_file, its.events.secret_file, its.postgres.url_file]
    read.append(its.queue.file and its.queue.file.parent)
    if "--config" in worker["args"]:
        read.append(Path(worker["args"][worker["args"].index("--config") + 1]))
    assert [mount_of(worker, path).get("readOnly", False) for path in written] == [False] * len(written)
    assert {mount_of(worker, path)["readOnly"] for path in read if path is not None} == {True}


@each_overlay
def test_the_state_directory_is_one_that_the_worker_creates_in_its_volume(overlay, tmp_path):
    """A volume may be writable by everybody, and such a state directory is refused."""
    state = settings(overlay, tmp_path).state.directory
    assert mount_of(container(overlay, "asset-worker"), state)["mountPath"] == str(state.parent)


@each_overlay
def test_every_volume_is_mounted_and_every_mount_has_its_volume(overlay):
    volumes = {each["name"] for each in pod(overlay).get("volumes", [])}
    volumes |= {each["metadata"]["name"] for each in workload(overlay)["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for each in containers(overlay) for mount in each["volumeMounts"]} == volumes


def test_the_volumes_of_the_account_overlay_are_those_that_it_makes_and_the_secret():
    documents = rendered("account")
    volumes = {each["name"]: each for each in pod("account")["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == only(documents, "ConfigMap")["metadata"]["name"]
    claim = only(documents, "PersistentVolumeClaim")["metadata"]["name"]
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim


@each_overlay
def test_the_secret_is_one_that_the_comment_says_how_to_make(overlay, tmp_path):
    """The key, the webhooks' secret and the database's URL are files of it, under the names that the settings use."""
    [source] = [
        p.read_text() for p in (KUBERNETES / "overlays" / overlay).glob("*.yaml") if "secretName" in p.read_text()
    ]
    [command] = [line.split() for line in source.splitlines() if "kubectl create secret generic" in line]
    [secret] = [each["secret"] for each in pod(overlay)["volumes"] if "secret" in each]
    assert command[command.index("generic") + 1] == secret["secretName"]
    its = settings(overlay, tmp_path)
    files = (its.api.key_file, its.events.secret_file, its.postgres.url_file)
    used = {path.name for path in files if path is not None}
    assert {word.removeprefix("--from-file=") for word in command if word.startswith("--from-file=")} == used


@each_overlay
def test_the_pod_has_longer_to_stop_than_the_worker_takes(overlay, tmp_path):
    assert pod(overlay)["terminationGracePeriodSeconds"] > settings(overlay, tmp_path).shutdown.grace


@each_overlay
def test_every_image_has_a_version_and_ours_is_the_present_one(overlay):
    images = {each["name"]: each["image"].rpartition(":") for each in containers(overlay)}
    assert all(name and tag != "latest" for name, _, tag in images.values())
    assert {tag for name, _, tag in images.values() if name == IMAGE} == {__version__}


@each_overlay
def test_no_container_has_rights_that_it_does_not_need(overlay):
    spec = pod(overlay)
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    rights = spec["securityContext"]
    assert (rights["runAsNonRoot"], rights["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    numbers = {rights[name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert numbers == {10001}, "those of the image"
    for each in containers(overlay):
        its = each["securityContext"]
        assert (its["readOnlyRootFilesystem"], its["allowPrivilegeEscalation"]) == (True, False)
        assert its["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(each["resources"]["requests"])


@each_overlay
def test_a_worker_is_restarted_only_if_it_hangs(overlay):
    """A restart mends nothing that /readyz reports."""
    worker = container(overlay, "asset-worker")
    for probe in ("startupProbe", "livenessProbe"):
        assert worker[probe]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_readiness_is_shown_where_it_takes_no_service_away():
    assert "readinessProbe" not in container("sidecar", "asset-worker")
    for overlay in ("account", "fleet"):
        assert container(overlay, "asset-worker")["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
        assert [each["kind"] for each in rendered(overlay) if each["kind"] == "Service"] == []


def test_there_is_one_worker_for_an_account_and_the_old_one_ends_before_a_new_one_starts():
    spec = workload("account")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_fleet_has_two_workers_on_different_nodes_of_which_one_at_a_time_is_replaced_or_moved():
    spec, labels = workload("fleet")["spec"], {"app.kubernetes.io/name": "asset-worker-fleet"}
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    [spread] = pod("fleet")["topologySpreadConstraints"]
    budget = only(rendered("fleet"), "PodDisruptionBudget")["spec"]
    assert (spread["topologyKey"], budget["maxUnavailable"]) == ("kubernetes.io/hostname", 1)
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "no drain waits for a key"
    assert [each["selector"]["matchLabels"] for each in (spec, budget)] == [labels, labels]
    assert spread["labelSelector"]["matchLabels"] == labels
    assert [each["kind"] for each in rendered("fleet") if "Autoscaler" in each["kind"]] == []


def test_the_workers_of_a_fleet_have_the_names_of_their_pods_and_keep_nothing_else_to_themselves(tmp_path):
    worker = container("fleet", "asset-worker")
    assert environment(worker, pod="asset-worker-fleet-x")["ASSET_WORKER_FLEET__NAME"] == "asset-worker-fleet-x"
    assert policies.shares_queue(settings("fleet", tmp_path), RunPlan())
    volumes = {each["name"]: each for each in pod("fleet")["volumes"]}
    assert volumes["state"] == {"name": "state", "emptyDir": {}}
    name = only(rendered("fleet"), "ConfigMap")["metadata"]["name"]
    assert volumes["settings"]["configMap"]["name"] == name


def test_the_sidecar_starts_before_the_uploader_and_shares_what_it_should_and_no_more():
    spec = pod("sidecar")
    assert {each["restartPolicy"] for each in spec["initContainers"]} == {"Always"}
    [uploader] = spec["containers"]
    mounts = {each["name"]: each.get("readOnly", False) for each in uploader["volumeMounts"]}
    assert mounts == {"spool": False, "events": True}, "it writes the queue file, and only reads events"
    assert uploader["securityContext"]["runAsUser"] != spec["securityContext"]["runAsUser"]
    worker = {each["name"]: each["mountPath"] for each in container("sidecar", "asset-worker")["volumeMounts"]}
    assert {each["name"]: each["mountPath"] for each in uploader["volumeMounts"]}.items() <= worker.items()


@each_overlay
def test_policy_monitor_and_service_select_the_pods_and_name_ports_that_these_have(overlay):
    documents = rendered(overlay)
    labels = workload(overlay)["spec"]["template"]["metadata"]["labels"]
    numbers = {p["name"]: p["containerPort"] for each in containers(overlay) for p in each.get("ports", [])}
    ports = set(numbers)
    policy = only(documents, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    admitted = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert admitted == {numbers["admin"], *ports - {"admin"}}, "plugins may not know named ports of init containers"
    [endpoint] = PODMONITOR["spec"]["podMetricsEndpoints"]
    [expression] = PODMONITOR["spec"]["selector"]["matchExpressions"]
    assert (expression["operator"], expression["key"] in labels, endpoint["port"] in ports) == ("Exists", True, True)
    for service in (each["spec"] for each in documents if each["kind"] == "Service"):
        assert service["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["ports"]} <= ports


@each_overlay
def test_only_prometheus_may_ask_the_worker(overlay):
    policy = only(rendered(overlay), "NetworkPolicy")["spec"]
    assert "Ingress" in policy["policyTypes"]
    [admin] = [rule for rule in policy["ingress"] if rule["ports"] == [{"port": 9090}]]
    assert admin["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_whom_an_uploader_may_ask_is_left_to_its_owner():
    policy = only(rendered("sidecar"), "NetworkPolicy")["spec"]
    assert (policy["policyTypes"], "egress" in policy) == (["Ingress"], False)


def test_a_policy_that_no_overlay_narrows_is_for_pods_with_a_worker_alone():
    policy = yaml.safe_load((KUBERNETES / "base" / "network-policy.yaml").read_text())["spec"]
    assert policy["podSelector"] == PODMONITOR["spec"]["selector"]


@pytest.mark.parametrize("overlay", ["account", "fleet"])
def test_a_worker_of_its_own_may_ask_for_names_and_public_addresses_alone_and_a_fleet_its_database(overlay):
    policy = only(rendered(overlay), "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    names, web, *others = policy["egress"]
    database = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "database"}}}
    assert others == ([{"to": [database], "ports": [{"port": 5432}]}] if overlay == "fleet" else [])
    assert {(each["port"], each["protocol"]) for each in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert web["ports"] == [{"port": 443}]
    closed = {network for each in web["to"] for network in each["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7"} <= closed
