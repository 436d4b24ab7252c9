"""The estimate of the server's clock."""

from email.utils import formatdate
from random import Random

import pytest

from asset_worker.api.limits.server_clock import ServerClock

NOW = 1_795_460_400.0


def at(instant: float) -> str:
    return formatdate(instant, usegmt=True)


@pytest.mark.parametrize("ahead", [NOW, NOW - 0.4, NOW + 5000.9])
def test_the_servers_clock_is_known_the_better_the_more_answers_came(ahead: float) -> None:
    clock, random, read = ServerClock(), Random(1), []
    assert clock.read(None, now=0.0, sent_at=0.0) is None
    for number in range(200):
        now, way = number / 7, random.uniform(0.01, 0.1)
        server_now = clock.read(at(ahead + now - way), now=now, sent_at=now - 2 * way)
        assert server_now is not None
        read.append(server_now - ahead - now)
    assert min(read) >= -1.1
    assert min(read[50:]) >= -0.2
    assert max(read) <= 0


def test_a_server_whose_clock_is_set_is_believed_at_once() -> None:
    clock = ServerClock()
    for now in range(20):
        clock.read(at(NOW + now), now=now, sent_at=now - 0.1)
    assert clock.read(at(NOW + 20 - 300), now=20, sent_at=19.9) == NOW - 280
    assert clock.read(at(NOW + 21 + 300), now=21, sent_at=20.9) == NOW + 321


def test_an_answer_that_took_long_does_not_set_the_servers_clock_back() -> None:
    clock = ServerClock()
    clock.read(at(NOW), now=0.0, sent_at=-0.1)
    assert clock.read(at(NOW), now=8.0, sent_at=-0.1) == pytest.approx(NOW + 8, abs=0.01)
    assert clock.read("yesterday", now=9.0, sent_at=8.9) == pytest.approx(NOW + 9, abs=0.01)
