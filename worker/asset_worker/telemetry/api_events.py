"""The log events of requests to the API, and of its answers; see `events`."""

from __future__ import annotations

from typing import Final

from asset_worker.telemetry.log_event import LogEvent

API_EVENTS: Final = (
    LogEvent(
        "api.retry",
        "info",
        "A request failed and is sent again in `wait` seconds. A list request has `assets`, the number of its assets, "
        "instead of `asset_id`.",
        ("asset_id", "assets", "attempt", "wait", "error"),
    ),
    LogEvent(
        "api.rate_limited",
        "warning",
        "The API refused a request with 429: no request is sent for `seconds`. `requested_by_server`: whether the API "
        "asked for that wait. `only`: `list` or `retrieve` if these requests alone are limited, and the others go on.",
        ("seconds", "requested_by_server", "only"),
    ),
    LogEvent(
        "api.unavailable",
        "error",
        "Many requests in a row have failed: only single probes are sent until one succeeds. Logged once in an outage, "
        "and when another problem of the API turns into one. `retry_in`: seconds until the next probe; `key_source`: "
        "where the key comes from; `hint`: what to do.",
        ("error", "retry_in", "key_source", "hint"),
    ),
    LogEvent(
        "api.proxy_or_key",
        "error",
        "For a minute, every answer was a 401 or 403 without the API's code: a proxy, a filter or a login page refuses "
        "the requests, or the key is refused in a form that this version doesn't know. Logged once, until it is over.",
        ("error",),
    ),
    LogEvent(
        "api.key_refused",
        "error",
        "The API refuses the key: only single probes are sent until one succeeds. Logged once, until it recovers or "
        "turns into another problem. `key_source`: where the key comes from; `retry_in`: seconds until the next probe; "
        "`hint`: what to do.",
        ("error", "retry_in", "key_source", "hint"),
    ),
    LogEvent(
        "api.recovered", "info", "The API answers again, or accepts the key again, after `seconds`.", ("seconds",)
    ),
    LogEvent(
        "api.unknown_status",
        "warning",
        "The API reported a status that this version doesn't know; the wait goes on. Logged once for each value (64 "
        "characters at most), and for 1,000 values at most.",
        ("asset_id", "what", "value"),
    ),
    LogEvent("api.key_changed", "info", "The file of `api.key_file` has changed, and the new key is used.", ("path",)),
    LogEvent(
        "api.key_unreadable",
        "warning",
        "The file of `api.key_file` can't be read, or holds no key; the previous key stays in use.",
        ("path", "error"),
    ),
    LogEvent(
        "api.key_exposed",
        "warning",
        "At the start, or when the key file was replaced: other users may read the file of `api.key_file`. `detail`: "
        "who, and what to do.",
        ("path", "detail"),
    ),
    LogEvent(
        "api.proxy",
        "info",
        "At the start: the proxy that the environment names, without user and password.",
        ("proxy",),
    ),
    LogEvent(
        "api.connections_replaced",
        "info",
        "New requests use new connections. `why`: a kept connection is dead, as all are after a change of the network "
        "path; or the TLS roots were reloaded.",
        ("why",),
    ),
    LogEvent(
        "api.odd_answer",
        "warning",
        "An answer is not as documented, but can be read: `what` is odd in it. The status decides, and the event holds "
        "the field as it came. Logged once for each value of `what` (100 at most), with the first asset.",
        ("asset_id", "what"),
    ),
    LogEvent(
        "api.list_doubted",
        "warning",
        "List requests are refused, leave assets out, show earlier states or lag too far behind: single requests "
        "replace them for `seconds`.",
        ("why", "seconds"),
    ),
    LogEvent("api.list_trusted", "info", "List requests work again."),
    LogEvent(
        "api.list_proven",
        "info",
        "So many `confirmations` in a row have agreed with lists that showed assets done in this `shape`: such assets "
        "are settled from lists now, and some of them are still confirmed first.",
        ("shape", "confirmations"),
    ),
    LogEvent(
        "api.list_disagreed",
        "warning",
        "A retrieve disagreed with a list that showed the asset done, before lists were trusted with its `shape`. No "
        "asset is settled from lists until `needed` confirmations in a row agree. Not logged again while nothing "
        "changes.",
        ("asset_id", "why", "shape", "needed"),
    ),
    LogEvent(
        "api.list_contradicted",
        "error",
        "The same, but lists were trusted with this `shape`. `asset_ids` are the assets that were settled from lists "
        "in this shape since a retrieve last agreed: check them.",
        ("asset_id", "why", "shape", "needed", "asset_ids"),
    ),
)
