"""What is measured of a fleet in real time, on one server, one after the other."""

from __future__ import annotations

from typing import Any

from tests.bench.fleet import idle, price, rates
from tests.bench.fleet.server import fresh, serving


def measure() -> dict[str, Any]:
    """All figures, by what they are about."""
    with serving() as url:
        found: dict[str, Any] = {"rates": rates.measure(url), "price": price.measure(url)}
        fresh(url)
        return found | {"idle": idle.measure(url)}
