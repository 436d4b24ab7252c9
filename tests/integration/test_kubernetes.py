"""The containers of the Kubernetes manifests, with their commands, users, volumes and read-only roots as they are."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psycopg
import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.signatures import secret_text
from tests.doubles.container_database import running_database
from tests.integration.admin import status_of
from tests.integration.containers import COMMAND, GROUP, Containers, Mount, volume
from tests.integration.processes import KEY, QUICK, Run, eventually
from tests.integration.webhooks import SECRET, receiver_of, receiving
from tests.unit.deploy.manifests import container, environment, pod, settings_file


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    it = Containers(tmp_path)
    yield it
    it.kill_all()


class Pod:
    """The pod of an overlay: directories are its volumes, and the key and the secret are those of the test."""

    def __init__(
        self,
        overlay: str,
        containers: Containers,
        folder: Path,
        base_url: str,
        *,
        name: str = "pod",
        database: str = "",
    ) -> None:
        """`name` is that of the pod, and `database` the URL in its secret."""
        self._overlay, self._containers, self._name = overlay, containers, name
        folder /= name
        folder.mkdir()
        self.volumes: dict[str, Path] = {}
        for each in ("spool", "events", "state", "secret", "settings"):
            self.volumes[each] = volume(folder / each)
        files = {"secret/key": KEY, "secret/webhook-secret": secret_text(SECRET), "secret/database": database}
        files["settings/worker.toml"] = settings_file(overlay) or ""
        for file, text in files.items():
            path = folder / file
            path.write_text(text)
            path.chmod(0o440)  # the manifests' defaultMode; the group is the volume's
        quick = {f"ASSET_WORKER_{name}": value for name, value in QUICK.items()}
        self._of_the_test = {"TWELVELABS_BASE_URL": base_url, "ASSET_WORKER_ADMIN__PORT": "0", **quick}

    def start(self, name: str, *command: str, **environ: str) -> Run:
        """Start a container: its own command, or another."""
        spec = container(self._overlay, name)
        own = [*spec.get("command", [COMMAND]), *spec.get("args", [])]
        mounts = [
            Mount(self.volumes[m["name"]], m["mountPath"], m.get("readOnly", False)) for m in spec["volumeMounts"]
        ]
        user = spec["securityContext"].get("runAsUser", pod(self._overlay)["securityContext"]["runAsUser"])
        variables = environment(spec, pod=self._name) | self._of_the_test | environ
        return self._containers.start(*(command or own), user=user, environ=variables, mounts=mounts)

    async def run(self, name: str, shell: str) -> tuple[int, str]:
        """The exit code of a line of shell in a container, and what it prints."""
        run = self.start(name, "sh", "-c", shell)
        return await run.end(), run.stdout.decode()


def content(path: Path) -> str:
    """The complete lines of a file; empty: it is not there."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1]


def settled(lines: str) -> list[str]:
    """The assets of the events in these lines."""
    return [json.loads(line)["subject"] for line in lines.splitlines()]


async def test_the_uploader_submits_to_the_sidecar_and_reads_its_events_which_it_can_not_change(
    containers, serve, tmp_path
):
    simulator = await serve(time_scale=100)
    its = Pod("sidecar", containers, tmp_path, simulator.base_url)
    first, second = (simulator.store.add(Lifecycle(2)) for _ in range(2))
    worker = its.start("asset-worker")
    await worker.until("admin.serving")
    events, rotated = (its.volumes["events"] / name for name in ("events.jsonl", "events.jsonl.1"))
    assert await its.run("uploader", f"echo {first} >> /var/spool/assets/queue") == (0, "")
    await eventually(lambda: content(events), otherwise=lambda: worker.stderr)
    code, seen = await its.run("uploader", "cat /var/lib/events/events.jsonl")
    assert (code, settled(seen)) == (0, [first])
    for change in (
        "echo x >> /var/lib/events/events.jsonl",
        "rm -f /var/lib/events/events.jsonl",
        "ls /var/lib/asset-worker",
    ):
        code, _ = await its.run("uploader", change)
        assert code != 0, change

    rotating = its.start("rotate-events", LARGEST="0c", EVERY="0.1")
    await eventually(rotated.exists, otherwise=lambda: rotating.stderr)
    rotating.send(signal.SIGTERM)
    await rotating.end()
    assert rotating.stderr == ""
    assert await its.run("uploader", f"echo {second} >> /var/spool/assets/queue") == (0, "")
    await eventually(lambda: content(events), otherwise=lambda: worker.stderr)
    assert [settled(content(path)) for path in (rotated, events)] == [[first], [second]]
    found = events.stat()
    assert (oct(found.st_mode), found.st_uid, found.st_gid) == ("0o100640", 10001, GROUP)

    code, checks = await its.run("asset-worker", "asset-worker doctor")
    assert code == 0, checks
    assert "/var/spool/assets/queue" in checks
    assert "/var/lib/events" in checks

    worker.send(signal.SIGTERM)
    assert await worker.end() == 0, worker.stderr


async def test_the_worker_of_the_account_finds_an_upload_and_calls_the_webhook_with_the_settings_of_its_config_map(
    containers, serve, tmp_path
):
    simulator = await serve(time_scale=100, receiver=receiving())
    its = Pod("account", containers, tmp_path, simulator.base_url)
    quick = {"ASSET_WORKER_ACCOUNT__INTERVAL": "0.2"}
    worker = its.start("asset-worker", ASSET_WORKER_EVENTS__SINKS=simulator.hooks_url, **quick)
    address = (await worker.until("admin.serving"))["addresses"][0]
    admin = f"http://127.0.0.1:{address.rpartition(':')[2]}"
    assert await status_of(admin) == (200, [])
    async with aiohttp.ClientSession() as session, session.get(f"{admin}/metrics") as response:
        assert "asset_worker_ready 1.0" in await response.text()
    asset_id = simulator.store.add(Lifecycle(2))
    receiver = receiver_of(simulator)
    await eventually(lambda: receiver.deliveries.requests, otherwise=lambda: worker.stderr)
    report = receiver.deliveries.report(after=0, limit=10)
    assert (receiver.deliveries.bad_signatures, asset_id in json.dumps(report, default=str)) == (0, True)
    worker.send(signal.SIGTERM)
    assert await worker.end() == 0, worker.stderr


async def test_a_pod_of_a_fleet_takes_over_from_one_that_is_gone_also_when_its_own_container_was_started_again(
    containers, serve, tmp_path
):
    simulator = await serve(time_scale=10, receiver=receiving())
    receiver = receiver_of(simulator)
    quick = {"ASSET_WORKER_EVENTS__SINKS": simulator.hooks_url, "ASSET_WORKER_FLEET__LEASE": "2"}
    with running_database() as (url, address), psycopg.connect(url, autocommit=True) as connection:
        admin, worker = (f"postgresql://{user}@{address}" for user in ("postgres", "worker"))
        pods = {
            name: Pod("fleet", containers, tmp_path, simulator.base_url, name=name, database=worker) for name in "ab"
        }
        own = {"ASSET_WORKER_POSTGRES__URL": admin, "ASSET_WORKER_POSTGRES__URL_FILE": ""}
        init = pods["a"].start("asset-worker", "asset-worker", "fleet", "init", **own)
        assert await init.end() == 0, init.stderr
        connection.execute("CREATE USER worker IN ROLE asset_worker_worker")
        runs = {name: pod.start("asset-worker", **quick) for name, pod in pods.items()}
        for run in runs.values():
            await run.until("worker.started")
        names = "SELECT name FROM asset_worker.workers ORDER BY name"
        assert connection.execute(names).fetchall() == [("a",), ("b",)], "the names of the pods"

        assets = [simulator.store.add(Lifecycle(60)) for _ in range(20)]
        connection.execute("SELECT asset_worker.submit(id) FROM unnest(%s::text[]) AS id", (assets,))
        owners = "SELECT count(DISTINCT owner) FROM asset_worker.pending"
        await eventually(lambda: connection.execute(owners).fetchall() == [(2,)])
        runs["a"].send(signal.SIGKILL)
        runs["a again"] = pods["a"].start("asset-worker", **quick)
        await runs["a again"].until("worker.started")
        runs["b"].send(signal.SIGKILL)
        left = "SELECT (SELECT count(*) FROM asset_worker.pending) + (SELECT count(*) FROM asset_worker.deliveries)"
        await eventually(
            lambda: connection.execute(left).fetchall() == [(0,)], otherwise=lambda: runs["a again"].stderr
        )
        report = json.dumps(receiver.deliveries.report(after=0, limit=1000), default=str)
        assert (receiver.deliveries.bad_signatures, [each for each in assets if each not in report]) == (0, [])
        runs["a again"].send(signal.SIGTERM)
        assert await runs["a again"].end() == 0
        assert ("a",) not in connection.execute(names).fetchall(), "nobody need wait for its lease to end"
