"""The promises about requests: no more of them than the limits allow, and hardly any while the key is refused."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from asset_worker.api.limits.limiter import BURST_SECONDS, LARGEST_BURST
from tests.simulation.faults import KEY_CODES, Failing

if TYPE_CHECKING:
    from tests.simulation.world import World

ROUNDING: Final = 1e-6
NOTICED_SECONDS: Final = 12.0
"""So long after a fault began, the answers of the requests that were in flight have come: they time out after 10 s."""
FIRST_PROBES: Final = 4
"""Probes that go out within the first fifteen seconds: intervals of 1, 2, 4 and 8 s, a quarter shorter at most."""
FRESH_SECONDS: Final = 5.0


def keeps_own_rate(world: World) -> Iterator[str]:
    """A process never sends more than `limits.requests_per_second` allows, nor more at once than its burst."""
    rate = world.setup.requests_per_second
    if not rate:
        return
    burst = min(LARGEST_BURST, max(1.0, rate * BURST_SECONDS))
    starts = world.starts
    tokens, filled_at, place = burst, -math.inf, -1
    for sent_at in sorted(each.sent_at for each in world.api.requests):
        if (now := bisect_right(starts, sent_at)) != place:
            tokens, place = burst, now  # another process: what the last one has sent is not kept
        else:
            tokens = min(burst, tokens + rate * (sent_at - filled_at))
        filled_at = sent_at
        tokens -= 1
        if tokens < -ROUNDING:
            yield f"at {sent_at:.3f} it sent more than {rate:g} requests a second allow"
            return


def obeys_the_server(world: World) -> Iterator[str]:
    """While the server has told it to send nothing, it sends nothing: the process as a whole (promise 3)."""
    broken = [each for each in world.api.violations_of_limits if not each.is_across]
    yield from (f"it sent a request although it had been told to wait: {each}" for each in broken[:1])


def spares_a_refused_key(world: World) -> Iterator[str]:
    """While the key is refused, only probes are sent, at growing intervals.

    Another fault may hide from the worker that the key is refused, or make an answer look like one to a good key. Then
    nothing is judged.
    """
    for trouble in world.troubles:
        fault = trouble.fault
        if not isinstance(fault, Failing) or (fault.status, fault.code) not in KEY_CODES or fault.page != "json":
            continue
        if fault.share < 1 or fault.where != "everywhere":
            continue
        begun_anew = [each for each in (*world.starts, *world.key_changes) if trouble.begins <= each < trouble.ends]
        sent = [each for each in world.api.requests if trouble.begins <= each.sent_at < trouble.ends]
        requests = [each for each in sent if each.arrived_at is None or each.arrived_at < trouble.ends]
        if begun_anew or any(each.status != fault.status or each.error is not None for each in requests):
            continue
        begins = trouble.begins + NOTICED_SECONDS
        found = [each for each in requests if each.sent_at >= begins]
        if found and len(found) > (most := _most_probes(trouble.ends - begins)):
            yield f"{len(found)} requests in {trouble.ends - begins:.1f} s with a refused key, and {most} are probes"


def _most_probes(seconds: float) -> int:
    """Return how many probes may be sent in so many seconds.

    The intervals begin at a second and double. Besides, an asset that was not tried yet is tried every five seconds.
    """
    return FIRST_PROBES + math.ceil(seconds / FRESH_SECONDS)
