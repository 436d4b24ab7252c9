"""The compositions in deploy/ as they are, without an engine: their services as processes in one network namespace."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.doubles.container_database import running_database
from tests.integration.containers import COMMAND, Containers, Mount
from tests.integration.processes import Run, eventually
from tests.programs import program
from tests.unit.deploy.compositions import COMPOSE, DEPLOY, FLEET, USER, command, services, volumes

UP = """
import fcntl, signal, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
print("up", flush=True)
signal.pause()
"""
"""Sets the loopback interface up (netdevice(7)), and holds the namespace."""
HEALTH = (COMMAND, "doctor", "--local")
"""The health check of the image."""


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    """They are in a network namespace that has a loopback interface and nothing else."""
    it = Containers(tmp_path)
    holder = subprocess.Popen([program("unshare"), "--net", sys.executable, "-S", "-c", UP], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    it.network = holder.pid
    try:
        if holder.stdout.readline() != b"up\n":
            pytest.skip("network namespaces are not permitted")
        yield it
    finally:
        it.kill_all()
        holder.kill()
        holder.wait()
        holder.stdout.close()


class Composition:
    """The services of our image, and their volumes, which are directories of root's."""

    def __init__(self, containers: Containers, folder: Path, composition: Path = COMPOSE) -> None:
        self._containers, self._folder = containers, folder
        self.services = services(composition)

    def start(self, name: str, *instead: str, **environ: str) -> Run:
        """Start a service, or another command in its container, with more variables."""
        service = self.services[name]
        user, group = map(int, service.get("user", USER).split(":"))
        return self._containers.start(
            *(instead or self.command(name)),
            user=user,
            group=group,
            environ={"ASSET_WORKER_STATE__DIR": "/var/lib/asset-worker"} | service.get("environment", {}) | environ,
            mounts=list(self._mounts(service)),
            capabilities=service.get("cap_add", ()),
        )

    def command(self, name: str) -> list[str]:
        """What a service runs."""
        return command(self.services[name], entrypoint=COMMAND)

    def _mounts(self, service: dict[str, Any]) -> Iterator[Mount]:
        for each in volumes(service):
            source = DEPLOY / each.source if each.is_of_the_repository else self._folder / each.source
            if not each.is_of_the_repository:
                source.mkdir(exist_ok=True)
            yield Mount(source, each.path, each.is_read_only)

    async def until_healthy(self, name: str) -> None:
        """Repeat its health check until that succeeds."""
        test = self.services[name].get("healthcheck", {}).get("test", ["CMD", *HEALTH])
        async with asyncio.timeout(60):
            while await self.start(name, *test[1:]).end() != 0:
                pass


async def test_uploads_become_signed_webhooks_in_the_order_and_with_the_rights_of_compose(containers, tmp_path):
    its = Composition(containers, tmp_path)
    assert await its.start("setup").end() == 0
    assert await its.start("setup").end() == 0, "a second time, with the volumes of the first"
    its.start("api")
    await its.until_healthy("api")
    receiver = its.start("receiver")
    await its.until_healthy("receiver")
    worker, uploader = its.start("worker"), its.start("uploader")
    await eventually(lambda: " -> 204" in receiver.stderr, otherwise=lambda: worker.stderr + uploader.stderr)
    await its.until_healthy("worker")
    assert "401" not in receiver.stderr
    first = uploader.stdout.split()[1].decode()
    shown = f"{first[:4]}…{first[-4:]} attempt 1 -> 204"
    await eventually(lambda: shown in receiver.stderr, otherwise=lambda: worker.stderr)


async def test_a_fleet_takes_uploads_in_sql_and_one_of_its_workers_goes_on_without_the_other(containers, tmp_path):
    """With the users and the rights of compose. The image of PostgreSQL is another server here."""
    its = Composition(containers, tmp_path, FLEET)
    [users] = [each for each in volumes(its.services["database"]) if each.is_of_the_repository]
    script = (DEPLOY / users.source).read_text()
    with running_database(script, port=5432, network=containers.network) as (url, _):
        assert await its.start("setup").end() == 0
        its.start("api", *(each.replace("scale=10", "scale=100") for each in its.command("api")))
        await its.until_healthy("api")
        init = its.start("init")
        assert await init.end() == 0, init.stderr
        receiver = its.start("receiver")
        await its.until_healthy("receiver")
        workers = {name: its.start(name, ASSET_WORKER_FLEET__LEASE="2") for name in ("worker-1", "worker-2")}
        for each in workers.values():
            await each.until("worker.started")
        uploader = its.start("uploader", EVERY="0.5")

        def delivered(run: Run) -> bool:
            return any(f"{each['asset_id'][:4]}…" in receiver.stderr for each in run.logs("asset.completed"))

        for each in workers.values():
            await eventually(lambda each=each: delivered(each), otherwise=lambda: receiver.stderr + uploader.stderr)
        await its.until_healthy("worker-1")
        status = its.start("worker-1", COMMAND, "fleet", "status")
        assert await status.end() == 0, status.stderr
        assert b"workers     2\n" in status.stdout

        workers["worker-2"].send(signal.SIGKILL)
        await workers["worker-1"].until("fleet.worker_died")
        uploader.send(signal.SIGKILL)
        with psycopg.connect(url, autocommit=True) as connection:
            left = "SELECT (SELECT count(*) FROM asset_worker.pending) + (SELECT count(*) FROM asset_worker.deliveries)"
            await eventually(lambda: connection.execute(left).fetchall() == [(0,)], 100)
        submitted = [line.split()[1] for line in uploader.stdout.decode().splitlines()]
        assert [each for each in submitted if f"{each[:4]}…{each[-4:]}" not in receiver.stderr] == []
        assert "401" not in receiver.stderr
