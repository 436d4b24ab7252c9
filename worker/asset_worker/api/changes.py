"""Logs when the API begins to be unavailable or to refuse the key, and when it works again."""

from __future__ import annotations

import math
from typing import Final, assert_never

from asset_worker.api.breaker import Change, Closed, Opened, Reason
from asset_worker.api.key import KeySource
from asset_worker.runtime.log import get_logger

_log = get_logger()

UNAVAILABLE_HINT: Final = (
    "nothing is lost, and the work goes on by itself once the API answers: see `error`, and check the network, the "
    "proxy and api.base_url"
)


def log_change(change: Change, error: str | None, *, delay: float, key: KeySource) -> None:
    """Log a change.

    Args:
        change: what has changed.
        error: the text of the error that an attempt ended with; None: it succeeded.
        delay: seconds until the next attempt may go out; infinite: that is not known.
        key: where the key comes from.
    """
    retry_in = None if delay == math.inf else round(delay, 3)
    match change:
        case Closed(seconds):
            _log.info("api.recovered", seconds=round(seconds, 3))
        case Opened(reason) if reason is Reason.UNAVAILABLE:
            _log.error("api.unavailable", error=error, retry_in=retry_in, key_source=key.name, hint=UNAVAILABLE_HINT)
        case Opened():
            _log.error("api.key_refused", error=error, retry_in=retry_in, key_source=key.name, hint=key.hint)
        case _:
            assert_never(change)
