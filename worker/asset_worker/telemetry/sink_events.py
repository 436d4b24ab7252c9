"""The log events of the sinks, and of the events that they refused; see `events`."""

from __future__ import annotations

from typing import Final

from asset_worker.telemetry.log_event import LogEvent

SINK_EVENTS: Final = (
    LogEvent(
        "sink.failed",
        "error",
        "A sink fails, and the events wait in the outbox. `trouble`: `failing` (a file or stdout), or `down` (a "
        "webhook: many attempts for several events failed in a row). Logged once, until it recovers; `retry_in` is in "
        "seconds.",
        ("sink", "trouble", "error", "retry_in"),
    ),
    LogEvent(
        "sink.recovered",
        "info",
        "A sink works again after `failed_for` seconds, or was resumed after a pause.",
        ("sink", "failed_for"),
    ),
    LogEvent(
        "sink.paused",
        "error",
        "A webhook's receiver answered 410: it wants no more events. They are kept, and sent after a restart, a SIGHUP "
        "or `dead-letters retry --sink`.",
        ("sink", "error"),
    ),
    LogEvent(
        "sink.attempt_failed",
        "info",
        "A webhook did not accept the event `id`, which is sent again in `retry_in` seconds. `attempts`: how often it "
        "was sent so far.",
        ("sink", "id", "attempts", "error", "retry_in"),
    ),
    LogEvent(
        "sink.dead_letter",
        "error",
        "A webhook did not accept the event `id` in any attempt of its retry plan. The event is a dead letter now: "
        "`asset-worker dead-letters` shows it and sends it again.",
        ("sink", "id", "attempts", "reason"),
    ),
    LogEvent(
        "sink.superseded",
        "info",
        "A webhook did not accept the event `id` of a step before its asset was done. The event is a dead letter with "
        "the reason `superseded`, so that it does not delay the completion; it is not sent again.",
        ("sink", "id"),
    ),
    LogEvent(
        "sink.file_changed",
        "info",
        "A file of a webhook has changed, and what it holds now is used: secrets that sign, or the value of a header.",
        ("sink", "path"),
    ),
    LogEvent(
        "sink.file_exposed",
        "warning",
        "Other users may read a file of secrets. `detail`: which, and what to do. Logged when the file is read.",
        ("sink", "path", "detail"),
    ),
    LogEvent(
        "sink.file_unreadable",
        "warning",
        "A file of a webhook can't be used since it has changed. What was read last stays in use. Logged once, until "
        "it can be read again.",
        ("sink", "path", "error"),
    ),
    LogEvent(
        "sink.reload_failed",
        "warning",
        "At SIGHUP, the TLS roots could not be read. Those in use stay in use.",
        ("sink", "error"),
    ),
    LogEvent(
        "sink.secret_short",
        "warning",
        "A secret that signs is shorter than the Standard Webhooks specification asks for. It is used all the same.",
        ("sink", "path", "detail"),
    ),
    LogEvent(
        "sink.url_exposed",
        "warning",
        "A URL on the command line has a user or a query, which every user of the machine can read. `detail`: what to "
        "do.",
        ("sink", "detail"),
    ),
    LogEvent(
        "dead_letters.retried",
        "info",
        "A command asked for dead letters to be sent again: `count` events are due again for the sink. 0: it had none, "
        "and was resumed. `request`: the request's ID.",
        ("sink", "count", "request"),
    ),
    LogEvent(
        "dead_letters.dropped",
        "info",
        "A command asked for dead letters to be dropped: `count` events of the sink are gone. `request`: the request's "
        "ID.",
        ("sink", "count", "request"),
    ),
    LogEvent(
        "dead_letters.pruned",
        "warning",
        "`count` dead letters were deleted, because their last attempt was longer ago than "
        "`events.dead_letter_retention`: `kept_for`, in seconds.",
        ("count", "kept_for"),
    ),
    LogEvent(
        "dead_letters.request_refused",
        "warning",
        "A file in the directory `requests` was not carried out, for this reason. If it was not a request, it was "
        "renamed to `*.refused`.",
        ("file", "reason"),
    ),
    LogEvent(
        "dead_letters.requests_unusable",
        "warning",
        "The directory `requests` in the state directory `path` can't be used, so no command is carried out. Logged "
        "once per problem.",
        ("path", "error"),
    ),
    LogEvent(
        "sink.absent",
        "warning",
        "At the start: a sink that was owed events is not in the settings any more. `events`: how many are kept for "
        "it; `kept_for`: for how many seconds; `advice`: what to do.",
        ("sink", "events", "kept_for", "advice"),
    ),
    LogEvent(
        "sink.dropped",
        "warning",
        "A sink has been absent from the settings for `queue.dedupe_window`: the `events` kept for it are dropped.",
        ("sink", "events"),
    ),
)
