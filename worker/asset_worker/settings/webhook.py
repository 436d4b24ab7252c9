"""The settings of a webhook: a table in `events.sinks`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SecretStr, model_validator

from asset_worker.domain.assets import Outcome
from asset_worker.domain.deliveries import LONGEST_RETRY_DELAY
from asset_worker.domain.transitions import Transition
from asset_worker.runtime.durations import seconds_of
from asset_worker.settings.types import (
    DURATION,
    INTEGER,
    NUMBER_OR_TEXT,
    TABLE,
    TEXT,
    Boolean,
    File,
    PositiveSeconds,
    Section,
    Unit,
    as_list,
)
from asset_worker.sinks.webhook.signing import PREFIX
from asset_worker.sinks.webhook.target import (
    Mode,
    WebhookTarget,
    check_transport,
    checked_header_value,
    checked_headers,
    checked_name,
    checked_url,
    default_name,
    has_user,
    is_for_this_machine,
)

RETRY: Final = ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h")
"""The plan that the Standard Webhooks specification recommends: more than three days in all."""


Word = Outcome | Transition
"""What the type of an event ends in."""


def _outcome(value: Any) -> Any:
    words = [each.value for each in (*Outcome, *Transition)]
    if value in words:
        return value
    nearest = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
    hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(words)}"
    raise ValueError(f"there is no such outcome: {hint}")


def _some(value: tuple[Word, ...]) -> tuple[Word, ...]:
    if not value:
        raise ValueError("it must not be empty: leave it out to send all outcomes")
    return value


def _no_secret(value: Path) -> Path:
    if str(value).startswith(PREFIX):
        raise ValueError("it must be the path of a file, and not a secret: put the secret into a file")
    return value


SecretFile = Annotated[File, AfterValidator(_no_secret)]
"""A file of secrets. A secret in its place would be shown in messages, as paths are."""
Delay = Annotated[
    float, Field(gt=0, le=LONGEST_RETRY_DELAY, allow_inf_nan=False), DURATION, NUMBER_OR_TEXT, Unit("seconds")
]


class HeaderFile(Section):
    """A file that holds the value of a header."""

    file: File
    """The file. It is read again when it changes."""


def _header_kind(value: Any) -> str | None:
    match value:
        case str() | SecretStr():
            return TEXT.tag
        case dict() | HeaderFile():
            return TABLE.tag
        case _:
            return None


def _checked_secret(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda value: SecretStr(check(value.get_secret_value())))


def _checked_names(value: dict[str, Any]) -> dict[str, Any]:
    checked_headers([*value])
    return value


Header = Annotated[
    Annotated[SecretStr, _checked_secret(checked_header_value), TEXT] | Annotated[HeaderFile, TABLE],
    Discriminator(
        _header_kind, custom_error_type="header", custom_error_message='it must be text, or a table {file = "PATH"}'
    ),
]


class Webhook(Section):
    """A webhook in `events.sinks`, as a table. A URL alone is the same as a table with nothing else."""

    url: Annotated[SecretStr, _checked_secret(checked_url)]
    """Where each event is sent, with POST. It must be https, unless the host is this machine or `allow_private` is
    true. A user and a password in it are sent as Basic authentication, and shown nowhere; nor is a query."""
    name: Annotated[str, AfterValidator(checked_name)] | None = None
    """The name in logs, metrics and status. The events that are still to be sent are kept under it. Not set: scheme,
    host and path of the URL, and a short hash of all of it."""
    secret_file: SecretFile | None = None
    """A file of secrets that sign the requests, one `whsec_…` on each line. The first signs first, and all of them
    sign: so one can be replaced by another. It is read again when it changes. Not set: `events.secret_file`."""
    outcomes: (
        Annotated[
            tuple[Annotated[Word, BeforeValidator(_outcome)], ...], BeforeValidator(as_list), AfterValidator(_some)
        ]
        | None
    ) = None
    """The outcomes whose events are sent, and the steps, if `events.transitions` is true. Not set: all."""
    headers: Annotated[dict[str, Header], AfterValidator(_checked_names)] = Field(default_factory=dict)
    """More headers, each a text, or a table with the `file` that holds it."""
    timeout: PositiveSeconds = 15
    """How long a request may take, with its answer. Receivers should answer before they process the event."""
    concurrency: Annotated[int, Field(ge=1, le=1000), INTEGER, Unit("requests")] = 8
    """The largest number of requests in flight at once. Events of one asset are never sent at once."""
    mode: Mode = "structured"
    """The content mode of the CloudEvents HTTP binding. `structured`: the whole event is the body. `binary`: the body
    is its `data`, and the rest are `ce-…` headers."""
    retry: Annotated[
        tuple[Delay, ...],
        BeforeValidator(as_list),
        Field(json_schema_extra={"default": [*RETRY]}),
    ] = tuple(map(seconds_of, RETRY))
    """How long to wait after each failed attempt, a month at most. After the last attempt, the event is a dead letter.
    An empty list: there is only one attempt."""
    allow_private: Boolean = False
    """Whether addresses may be connected to that are not public, and plain http may be used."""

    @model_validator(mode="after")
    def _url_fits(self) -> Webhook:
        url = self.url.get_secret_value()
        check_transport(url, allow_private=self.allow_private)
        if has_user(url) and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("the URL has a user, and there is a header Authorization: leave one of them out")
        return self

    @property
    def shown_name(self) -> str:
        """The name; the default one if none is set."""
        return self.name or default_name(self.url.get_secret_value())

    @property
    def is_for_this_machine(self) -> bool:
        """Whether the URL names this machine, so that no other can send requests in its place."""
        return is_for_this_machine(self.url.get_secret_value())

    def target(self, secret_file: Path | None) -> WebhookTarget:
        """Return the webhook as its sink needs it. `secret_file`: that of all webhooks."""
        return WebhookTarget(
            url=self.url.get_secret_value(),
            name=self.shown_name,
            secret_file=self.secret_file or secret_file,
            outcomes=None if self.outcomes is None else frozenset(each.value for each in self.outcomes),
            headers={
                name: value.file if isinstance(value, HeaderFile) else value.get_secret_value()
                for name, value in self.headers.items()
            },
            timeout=self.timeout,
            concurrency=self.concurrency,
            mode=self.mode,
            retry=self.retry,
            allow_private=self.allow_private,
        )
