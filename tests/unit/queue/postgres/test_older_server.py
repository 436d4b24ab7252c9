"""The engine of a fleet on the version of PostgreSQL that the system has. In CI this is the oldest supported one."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.conftest import SYSTEM
from tests.unit.queue.postgres.test_conformance import FleetQueueMachine

EXAMPLES = settings().max_examples // 6
"""Fewer than on the newest: another version of the server differs in what it understands, not in its transactions."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("server", [SYSTEM], indirect=True)
def test_conformance(server, schema):
    FleetQueueMachine.url, FleetQueueMachine.schema = server, schema
    with psycopg.connect(server, autocommit=True) as FleetQueueMachine.connection:
        run_state_machine_as_test(FleetQueueMachine, settings=settings(max_examples=EXAMPLES))
