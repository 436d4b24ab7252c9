"""Real processes, files, sockets and servers: the simulator runs in the test process, the worker in others."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from asset_worker.simulator.server import Options, Simulator
from tests.doubles import postgres
from tests.integration.example_receiver import ExampleReceiver
from tests.integration.fleets import Fleet
from tests.integration.forking import Forking
from tests.integration.processes import Worker

Serve = Callable[..., Awaitable[Simulator]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts simulators: `await serve(time_scale=60, …)`."""
    async with AsyncExitStack() as stack:

        async def start(**options) -> Simulator:
            return await stack.enter_async_context(Simulator(Options(**options)))

        yield start


@pytest.fixture
async def aiohttp_server_of() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Serves routes of a test, for what the simulator can't do: `base_url = await aiohttp_server_of(…)`."""
    async with AsyncExitStack() as stack:

        async def start(*routes: web.RouteDef) -> str:
            app = web.Application()
            app.add_routes(routes)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/v1.3"

        yield start


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    with closing(Forking()) as it:
        yield it


@pytest.fixture
def forks(request: pytest.FixtureRequest, forking: Forking) -> Forking | None:
    """What starts the commands of a test; None: they are started in new interpreters."""
    return None if request.node.get_closest_marker("new_interpreter") else forking


@pytest.fixture
def worker(tmp_path: Path, forks: Forking | None) -> Iterator[Worker]:
    """A worker with a state directory of its own; its processes are killed at the end."""
    it = Worker(tmp_path, forks)
    yield it
    it.kill_all()


@pytest.fixture
def worker_in(tmp_path: Path, forks: Forking | None) -> Iterator[Callable[[str], Worker]]:
    """Makes workers, each in a folder of its own."""
    workers: list[Worker] = []

    def make(name: str) -> Worker:
        folder = tmp_path / re.sub(r"\W", "-", name)
        folder.mkdir()
        workers.append(Worker(folder, forks))
        return workers[-1]

    yield make
    for each in workers:
        each.kill_all()


@pytest.fixture
def fleet_at(serve: Serve, worker_in: Callable[[str], Worker], tmp_path: Path) -> Callable[[str], Awaitable[Fleet]]:
    """Makes the tables of a fleet anew, which has no workers yet: `await fleet_at(url)`."""

    async def make(url: str) -> Fleet:
        simulator = await serve(time_scale=10)
        fleet = Fleet(url, simulator.base_url, worker_in, tmp_path)
        fleet.simulator, fleet.store = simulator, simulator.store
        await fleet.init()
        return fleet

    return make


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres.running_server() as url:
        yield url


@pytest.fixture
async def fleet(fleet_at: Callable[[str], Awaitable[Fleet]], server: str) -> Fleet:
    """A fleet without workers."""
    return await fleet_at(server)


@contextmanager
def reserved() -> Iterator[int]:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def reserved_port() -> Iterator[int]:
    """A port that no other process gets while nothing listens on it: it stays bound."""
    with reserved() as port:
        yield port


@pytest.fixture
def another_port() -> Iterator[int]:
    """A second one."""
    with reserved() as port:
        yield port


@pytest.fixture
def example(tmp_path: Path, reserved_port: int) -> Iterator[ExampleReceiver]:
    """The receiver that people copy, in a folder of its own; not started yet."""
    folder = tmp_path / "receiver"
    folder.mkdir()
    it = ExampleReceiver(folder, reserved_port)
    yield it
    it.kill()
