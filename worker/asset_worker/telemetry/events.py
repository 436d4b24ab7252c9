"""The table of log events that the program writes, for docs/reference.md.

Names, levels and fields are public: programs read them. A unit test checks that they agree with the calls in the code.
"""

from __future__ import annotations

from typing import Final

from asset_worker.telemetry.api_events import API_EVENTS
from asset_worker.telemetry.fleet_events import FLEET_EVENTS
from asset_worker.telemetry.log_event import LogEvent
from asset_worker.telemetry.sink_events import SINK_EVENTS
from asset_worker.telemetry.snapshot import DECLARATIONS

_FILE: Final = ("path", "what", "detail")

EVENTS: Final = (
    LogEvent(
        "worker.started",
        "info",
        "The worker has opened its queue and starts work. `pending`: assets left by an earlier run.",
        ("version", "base_url", "queue_file", "stdin", "account", "http", "sinks", "state_dir", "strategy", "pending"),
    ),
    LogEvent(
        "worker.heartbeat",
        "info, warning",
        "Every minute. The fields are listed above. It is a warning while there is a problem.",
        tuple(name for name, declared in DECLARATIONS.items() if declared.in_heartbeat),
    ),
    LogEvent(
        "traces.off",
        "warning",
        "The environment asks for traces, but they are off. `reason`: why, and what to do.",
        ("reason",),
    ),
    LogEvent(
        "traces.failed",
        "warning",
        "Spans can't be sent to the collector. It is tried again, and nothing else waits for it. While it fails and "
        "works in turn, this is logged once.",
        ("error",),
    ),
    LogEvent(
        "traces.recovered",
        "info",
        "Spans are sent again, after `failed_for` seconds. `dropped`: how many were given up since the start.",
        ("failed_for", "dropped"),
    ),
    LogEvent(
        "traces.dropped",
        "warning",
        "Spans are given up, because the collector refuses them, or too many wait for it. It is logged once, and again "
        "after a minute in which none were. `dropped`: how many since the start.",
        ("reason", "dropped"),
    ),
    LogEvent(
        "worker.lagging",
        "warning",
        "The event loop was blocked for `lag` seconds (more than 0.25), so everything was late by that much.",
        ("lag",),
    ),
    LogEvent(
        "worker.reloaded",
        "info",
        "At SIGHUP, settings, key file and TLS roots were read again. `changed`: the settings that have changed and "
        "are in force now; `needs_restart`: those that have changed and are not in force until a restart.",
        ("changed", "needs_restart"),
    ),
    LogEvent(
        "worker.reload_failed",
        "warning",
        "At SIGHUP, the settings or the TLS roots could not be read. What was in force stays in force.",
        ("error",),
    ),
    LogEvent(
        "worker.signal_ignored",
        "warning",
        "SIGUSR1 or SIGUSR2 has no effect. `detail`: which signals have one.",
        ("signal", "detail"),
    ),
    LogEvent(
        "worker.notify_failed",
        "warning",
        "What the service manager is to know can't be sent to its socket (NOTIFY_SOCKET). It is tried again every "
        "second; logged once, until it works.",
        ("error",),
    ),
    LogEvent(
        "worker.stopping",
        "info",
        "The worker begins to stop. `reason`: `done`, the signal, that the key is refused, or that a `--once` can't "
        "read on because the sinks fail.",
        ("reason", "pending"),
    ),
    LogEvent(
        "worker.stopped",
        "info, warning, error",
        "The worker has stopped. At level error, an error ended it: there are only `exit_code`, and `exception`, the "
        "traceback; or `error`, if the state directory was moved, deleted, replaced or taken. At level warning, it was "
        "asked to stop while it started, and the start took longer than `shutdown.grace`: `exit_code` and `detail`.",
        ("exit_code", "pending", "completions", "outbox_depth", "exception", "error", "detail"),
    ),
    LogEvent(
        "intake.accepted",
        "info",
        "An asset was accepted. Several accepted at once share one line: `count` of them, from the line `first` to the "
        "line `last`, with their `asset_ids` (the first 100); `repeats` is the number of lines that were repeats.",
        ("asset_id", "source", "count", "asset_ids", "first", "last", "repeats"),
    ),
    LogEvent(
        "intake.rejected",
        "warning",
        "A line holds no usable submission. `source`: the input and the line's number. Several that were read at once "
        "share one line: `count` of them, from the line `first` to the line `last`; `reason` is that of the first.",
        ("source", "reason", "count", "first", "last"),
    ),
    LogEvent(
        "intake.zeros",
        "warning",
        "An input holds a run of NUL bytes, as after a power failure: what was there is lost. The line that follows "
        "them is read. `source`: the input and the line's number; `end`: where they end, in bytes. Several that were "
        "read at once share one line: `count` of them, from `first` to `last`, with all their `bytes`.",
        ("source", "bytes", "end", "count", "first", "last"),
    ),
    LogEvent(
        "intake.waiting",
        "warning",
        "The inputs are not read on until the sinks have taken events: `undelivered` of them wait, more than `limit` "
        "(`queue.max_pending`). Reading goes on as soon as there is room. Logged once, until `intake.resumed`.",
        ("undelivered", "limit"),
    ),
    LogEvent(
        "intake.resumed",
        "info",
        "The inputs wait for the sinks no longer, `seconds` after the first wait: half of `limit` events are left.",
        ("seconds",),
    ),
    LogEvent(
        "intake.failed",
        "error",
        "An input can't be read any more (`error`): the lines before that are accepted, and the exit code will be 1.",
        ("source", "error"),
    ),
    LogEvent(
        "intake.not_accepted",
        "error",
        "A line that was read from stdin could not be accepted before the end of the run, and can't be read again: "
        "submit it again. `line` is its text, and `reason` says why. The last such line of the log has only `count`.",
        ("source", "line", "reason", "count"),
    ),
    LogEvent(
        "intake.rotated",
        "info",
        "The queue file was rotated. `what`: `rotated`, `truncated` or `deleted`; or `found`: a file was rotated away "
        "before the worker saw it.",
        _FILE,
    ),
    LogEvent("intake.appeared", "info", "The queue file did not exist, and now does.", _FILE),
    LogEvent("intake.retired", "info", "A rotated file was read to its end and closed.", _FILE),
    LogEvent(
        "intake.gap",
        "warning",
        "Lines may be missing. `detail`: of which file, how far it was read, and what to do.",
        _FILE,
    ),
    LogEvent(
        "intake.reread",
        "warning",
        "The file at the path is read from its start, although one had been read there before. `detail`: why.",
        _FILE,
    ),
    LogEvent("intake.unreadable", "warning", "A file or directory can't be read. `detail`: which, and why.", _FILE),
    LogEvent("intake.readable", "info", "A file or directory that was unreadable can be read again.", _FILE),
    LogEvent(
        "intake.position_unreadable",
        "warning",
        "The stored position in the queue file can't be read, so the file is read from its start.",
        _FILE,
    ),
    LogEvent(
        "account.following",
        "info",
        "The account is followed. `since`: the creation time from which on assets are watched, or `all`; null: from "
        "this first start on. `checkpoint`: the newest asset that an earlier run has seen, null: there was none. Both "
        "times are by the server's clock.",
        ("since", "checkpoint"),
    ),
    LogEvent(
        "account.catching_up",
        "info",
        "There are more new assets than are read at once, as after an outage: those created between `since` and "
        "`until` are read while new ones are watched.",
        ("since", "until"),
    ),
    LogEvent(
        "account.backfilled",
        "info",
        "All older assets that are to be watched have been read, `count` of them by this run.",
        ("count",),
    ),
    LogEvent(
        "account.unreadable",
        "warning",
        "The list of the account's assets can't be read (`error`). It is asked for again after `account.interval`, "
        "30 s at most. Logged once, until `account.readable`.",
        ("error",),
    ),
    LogEvent("account.readable", "info", "The list of the account's assets can be read again."),
    LogEvent(
        "account.position_unreadable",
        "warning",
        "A stored `position` in the account can't be read. So the account is followed as for the first time.",
        ("position",),
    ),
    LogEvent(
        "asset.changed",
        "debug",
        "A status of an asset has changed. `what`: `status`, or the rendition; `from` is null at the first look.",
        ("asset_id", "what", "from", "to"),
    ),
    LogEvent(
        "asset.completed",
        "info",
        "An asset is settled. `elapsed`: seconds since it was accepted; `polls`: looks at it.",
        ("asset_id", "outcome", "reason", "elapsed", "polls"),
    ),
    LogEvent(
        "asset.overdue",
        "info",
        "An asset waits longer than 99 % of its class: its `age` since acceptance, or since `ready` for renditions, is "
        "past `p99`, both in seconds. Logged once for each wait, from 100 completions of the class on, if the schedule "
        "is adaptive.",
        ("asset_id", "waiting_on", "age", "p99"),
    ),
    *API_EVENTS,
    LogEvent(
        "schedule.unreadable",
        "warning",
        "What the adaptive schedule has learned can't be read. The file is renamed, and learning starts again.",
        ("path", "error"),
    ),
    LogEvent(
        "schedule.not_kept",
        "warning",
        "What the adaptive schedule has learned can't be written.",
        ("path", "error"),
    ),
    *SINK_EVENTS,
    LogEvent(
        "admin.serving", "info", "The admin endpoints are served at these addresses, with their ports.", ("addresses",)
    ),
    LogEvent(
        "admin.token_changed",
        "info",
        "The file of tokens (`admin.token_file`) holds other tokens now: they are valid from now on, and no others.",
        ("path",),
    ),
    LogEvent(
        "admin.token_exposed",
        "warning",
        "Others may read the file of tokens: `detail` says who, and what to do.",
        ("path", "detail"),
    ),
    LogEvent(
        "admin.token_unreadable",
        "warning",
        "The file of tokens can't be read again. The tokens that were read last stay valid.",
        ("path", "error"),
    ),
    LogEvent(
        "admin.refused",
        "warning",
        "A client of the admin port was refused. `what`: `malformed request`; `unknown host` (`detail` is its `Host`); "
        "`request of a web page` (`detail` is its `Origin`); `no valid token`; `too slow`: no whole request within "
        "5 s, or 30 s with a token; or `too many connections`: the oldest was closed for a new one. "
        "Logged once a spell for each `what`: after a minute without one it is logged again, and `unlogged` counts "
        "those of the spell before that were not.",
        ("what", "client", "detail", "unlogged"),
    ),
    LogEvent(
        "admin.failed",
        "error",
        "A connection to the admin port could not be accepted, as when the process has no descriptors left; or, with "
        "`exception`, the traceback, a request could not be answered. Logged once a spell, as `admin.refused`.",
        ("error", "unlogged", "exception"),
    ),
    LogEvent(
        "journal.failed",
        "error",
        "The journal can't be written: the disk is full or failing, and the write is retried every `retry_in` seconds; "
        "or the disk does not answer. Work that needs it waits.",
        ("path", "error", "retry_in"),
    ),
    LogEvent("journal.recovered", "info", "The journal can be written again.", ("path",)),
    LogEvent(
        "journal.upgrading",
        "info",
        "An earlier version has written the journal, with the schema `schema`. It is being upgraded to `to`; with a "
        "million pending assets, that takes about a minute.",
        ("path", "schema", "to"),
    ),
    LogEvent("journal.upgraded", "info", "The journal was upgraded.", ("path", "schema", "seconds")),
    LogEvent(
        "clock.skewed",
        "warning",
        "The wall clock is `seconds` ahead of what the API's answers show in `Date`; behind it, if that is negative. "
        "If ours is wrong, so are the times in events and in the log; no age or deadline is. Logged once, until the "
        "two agree.",
        ("seconds",),
    ),
    LogEvent(
        "clock.stepped",
        "info",
        "The wall clock was set: forward by `seconds`, or back if it is negative. No age or deadline changes.",
        ("seconds",),
    ),
    LogEvent(
        "log.dropped",
        "warning",
        "Standard error was not read for a while, or could not be written, so `lines` lines of it were lost.",
        ("lines",),
    ),
    *FLEET_EVENTS,
)
