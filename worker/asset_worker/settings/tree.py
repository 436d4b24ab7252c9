"""The settings as one typed tree.

The docstring of a setting says what it means, its unit and why its default is what it is. config/schema.json and
docs/reference.md are made from these docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from asset_worker.domain.assets import WaitFor
from asset_worker.domain.transitions import Transition
from asset_worker.intake.file.names import ROTATED, checked_glob
from asset_worker.runtime.hosts import is_loopback
from asset_worker.runtime.paths import is_same_file
from asset_worker.settings.account import Account
from asset_worker.settings.fleet import Fleet, Postgres
from asset_worker.settings.types import (
    INTEGER,
    NUMBER,
    TABLE,
    TEXT,
    Boolean,
    File,
    PositiveSeconds,
    Seconds,
    Section,
    Unit,
    as_list,
    lower,
)
from asset_worker.settings.webhook import SecretFile, Webhook
from asset_worker.sinks.registry import WEBHOOK, Target, checked_target, form_of
from asset_worker.sinks.webhook.signing import HOW_TO_MAKE_ONE


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"write it as https://HOST/PATH or https://HOST:PORT/PATH ({error})") from None
    if parts.scheme not in {"http", "https"} or not host or not _NO_BLANKS.fullmatch(value.strip()):
        raise ValueError("write it as https://HOST/PATH, without blanks")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it must hold no user, password, query or fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http would show the key to the network: use https (http is for this machine only)")
    return value.strip().rstrip("/")


_NO_BLANKS = re.compile(r"[!-~]+")


def _target(value: Any) -> Any:
    """Return the table of a webhook for its URL, and anything else as it is."""
    return {"url": value} if isinstance(value, str) and form_of(value) in WEBHOOK else value


def _target_kind(value: Any) -> str | None:
    match value:
        case str():
            return TEXT.tag
        case dict() | Webhook():
            return TABLE.tag
        case _:
            return None


def _distinct(value: tuple[str | Webhook, ...]) -> tuple[str | Webhook, ...]:
    if not value:
        raise ValueError("it must not be empty")
    names = [each.shown_name for each in value if isinstance(each, Webhook)]
    if (repeated := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise ValueError(f"two sinks have the name {repeated!r}: leave one out, or give each a name of its own")
    for one, other in combinations([each for each in value if isinstance(each, str)], 2):
        if one == other:
            raise ValueError("the same target is listed twice")
        if "-" not in {one, other} and is_same_file(one, other):
            raise ValueError(f"{one!r} and {other!r} are one file, which would get each event twice: leave one out")
    return value


SinkSetting = Annotated[
    Annotated[str, AfterValidator(checked_target), TEXT] | Annotated[Webhook, TABLE],
    Discriminator(
        _target_kind,
        custom_error_type="sink",
        custom_error_message="it must be -, a path, a URL, or a table with a url",
    ),
    BeforeValidator(_target),
]


class Api(Section):
    """The assets API."""

    base_url: Annotated[str, AfterValidator(_base_url)] = "https://api.twelvelabs.io/v1.3"
    """The URL of the API. It must be https, unless the host is this machine: plain http would show the key."""
    key: SecretStr | None = Field(default=None, examples=["tlk_…"])
    """The API key. It is safer in the environment (TWELVE_LABS_API_KEY) or in a file (api.key_file) than here."""
    key_file: File | None = Field(default=None, examples=["/run/secrets/twelvelabs/key"])
    """A file that holds the API key. It is read again when it changes, and takes precedence over api.key."""
    timeout: PositiveSeconds = 10
    """Seconds for one request, including the answer. The API usually answers within one second."""

    @property
    def key_value(self) -> str | None:
        """The key as plain text; None: it is not set."""
        return None if self.key is None else self.key.get_secret_value()


class Poll(Section):
    """When to look at an asset, and for how long."""

    strategy: Literal["adaptive", "exponential", "fixed"] = "adaptive"
    """How the delay between two looks is chosen. `adaptive`: learned from how long assets take. `exponential`: each
    delay is longer than the one before. `fixed`: always poll.initial."""
    initial: PositiveSeconds = 2
    """Seconds from the first look to the second. The first look comes at once."""
    multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False), NUMBER] = 1.5
    """How many times longer each delay is than the one before. Assets take seconds to minutes, and 1.5 keeps the delay
    at about a third of the asset's age. Not used by `fixed`."""
    max: PositiveSeconds = 30
    """The longest delay in seconds. Even the end of a long video is then noticed soon. When the rate limit allows fewer
    looks than are due, `adaptive` makes delays longer than this, up to an hour. Not used by `fixed`."""
    deadline: PositiveSeconds = 14400
    """Seconds from acceptance to the outcome `timed_out`. Four hours are far longer than any successful asset takes."""
    rendition_deadline: PositiveSeconds = 3600
    """Seconds from the status `ready` to the outcome `degraded`, for renditions that don't finish."""
    not_found_grace: Seconds = 60
    """Seconds from acceptance in which a 404 doesn't end the wait: an upload may become visible only after a while."""
    looks: Annotated[float, Field(gt=1, allow_inf_nan=False), NUMBER, Unit("looks")] | None = Field(
        default=None, examples=[12]
    )
    """How many looks an asset may take on average with `adaptive`. More looks notice the end sooner. Not set: as many
    as `exponential` would take for an asset that is polled alone, made when the end is most likely; more when looks
    share lists, which makes them cheaper."""
    batch: Literal["auto", "confirm", "off"] = "auto"
    """`auto`: assets that are due together share a list request, up to 50 in one, and lists that have proved right
    settle assets. `confirm`: the same, but a retrieve confirms each asset before it is settled. `off`: one request for
    each look."""

    @model_validator(mode="after")
    def _max_is_the_longest(self) -> Poll:
        if self.strategy != "fixed" and self.max < self.initial:
            raise ValueError(f"poll.max ({self.max:g}) is less than poll.initial ({self.initial:g}): make it as long")
        return self


class Limits(Section):
    """How many requests may be sent. Rate limits that the server reports are obeyed as well."""

    requests_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER, Unit("requests per second")] = 10
    """The largest number of requests per second. 0: only the server's limits apply."""
    concurrency: Annotated[int, Field(ge=1, le=1000), INTEGER, Unit("requests")] = 20
    """The largest number of requests in flight at once."""
    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), NUMBER] = 0.8
    """The share of a quota reported by the server that this worker may use. The rest is left to other callers of the
    organisation."""


class Waits(Section):
    """Which renditions are awaited. `if_requested`: when the API shows them. `required`: always. `ignore`: never."""

    hls: WaitFor = WaitFor.IF_REQUESTED
    """The HLS stream."""
    thumbnail: WaitFor = WaitFor.IF_REQUESTED
    """The thumbnail."""


class Queue(Section):
    """Where assets come from, and where those that are pending are kept."""

    engine: Literal["local", "postgres"] = "local"
    """Where pending assets and undelivered events are kept. `local`: in the state directory of this worker. `postgres`:
    in a database that several workers share. `wait`, `demo`, `run --once` and a stdin that ends use `local`."""
    file: File | None = Field(default=None, examples=["/var/spool/assets/queue"])
    """The queue file: it is followed, and each line names an asset."""
    rotated: Annotated[
        tuple[Annotated[str, AfterValidator(checked_glob)], ...],
        BeforeValidator(as_list),
    ] = ROTATED
    """The names that rotation gives to the queue file, as globs. NAME stands for the file's name, STEM and SUFFIX for
    its parts before and from the last dot on, DATE for eight digits. A file that was rotated away unseen, such as while
    the worker was down, is read only if one of them matches. An empty list: no such file is read."""
    stdin: Boolean = False
    """Whether to read assets from stdin, one on each line."""
    dedupe_window: Seconds = 86400
    """For this many seconds after an asset's completion, submitting it again is ignored as a repeat."""
    partial_wait: Seconds = 5
    """With --once, a last line without a newline is taken for a whole one when it has not grown for this many seconds,
    unless it looks like a part of an asset ID. Slow writers need more."""
    max_pending: Annotated[int, Field(ge=1), INTEGER, Unit("assets")] = 1_000_000
    """The number of pending assets at which reading pauses; it pauses, too, while more events than this are
    undelivered, those of rejected lines included. A million pending assets take about half a gigabyte of memory, and a
    million undelivered events of short lines that were rejected somewhat less than a gigabyte of disk."""


class Events(Section):
    """Which events there are, and where they go."""

    # These two come before `sinks`, whose checks need them.
    transitions: Boolean = False
    """Whether each step of an asset is reported, too, with an event before its completion: `processed`, `playable`,
    `thumbnail_ready` and `overdue`."""
    secret_file: SecretFile | None = Field(default=None, examples=["/run/secrets/webhook-secrets"])
    """A file of secrets that sign the requests of all webhooks, unless their tables name another: one `whsec_…` on each
    line, such as the output of `echo "whsec_$(openssl rand -base64 32)"`. It is read again when it changes. Without a
    secret, only webhooks on this machine can be used."""
    sinks: Annotated[
        tuple[SinkSetting, ...],
        BeforeValidator(as_list),
        AfterValidator(_distinct),
        Field(
            json_schema_extra={"minItems": 1},
            examples=[["-", {"url": "https://app.example/hooks", "outcomes": ["ready"], "timeout": "5s"}]],
        ),
    ] = ("-",)
    """The targets, each of which gets every event. A target is a file, a URL, or - for stdout. A table with a `url`
    holds other settings of a webhook as well."""
    dead_letter_retention: PositiveSeconds = 2_592_000
    """Seconds for which an event that a webhook refused for good is kept after its last attempt, to be sent again with
    `asset-worker dead-letters retry`. Thirty days leave time to notice, and to repair the receiver."""

    @field_validator("sinks")
    @classmethod
    def _webhooks_sign(cls, value: tuple[str | Webhook, ...], info: ValidationInfo) -> tuple[str | Webhook, ...]:
        for each in value:
            if isinstance(each, str) or each.secret_file or each.is_for_this_machine:
                continue
            if info.data.get("secret_file", ...) is None:  # it is missing in `data` if it is wrong by itself
                raise ValueError(
                    f"requests to {each.shown_name} would not be signed, so its receiver could not distinguish them "
                    "from forged ones: set events.secret_file, or secret_file in the table of this sink, to a file "
                    f"with a line whsec_… ({HOW_TO_MAKE_ONE})"
                )
        return value

    @field_validator("sinks")
    @classmethod
    def _each_gets_events(cls, value: tuple[str | Webhook, ...], info: ValidationInfo) -> tuple[str | Webhook, ...]:
        for each in value:
            if isinstance(each, str) or not each.outcomes or info.data.get("transitions") is not False:
                continue
            if all(isinstance(name, Transition) for name in each.outcomes):
                raise ValueError(
                    f"{each.shown_name} would get no events: all of its outcomes are steps, which are reported only "
                    "with events.transitions = true"
                )
        return value

    @property
    def targets(self) -> tuple[Target, ...]:
        """The sinks as they are opened, all defaults applied."""
        return tuple(each if isinstance(each, str) else each.target(self.secret_file) for each in self.sinks)

    @property
    def local_targets(self) -> tuple[str, ...]:
        """The sinks on this machine: paths, and - for stdout."""
        return tuple(each for each in self.sinks if isinstance(each, str))


class NoStateDirectoryError(Exception):
    """No state directory is named, and the user has no home directory to keep one in. The message says what to do."""


def _state_dir() -> Path | None:
    try:
        path = Path(platformdirs.user_state_dir("asset-worker", appauthor=False))
    except RuntimeError:  # HOME is not set, and nobody knows the user's number
        return None
    return path if path.is_absolute() else None


class State(Section):
    """Where the worker keeps its state."""

    dir: File | None = Field(
        default_factory=_state_dir,
        examples=["/var/lib/asset-worker"],
        json_schema_extra={"default": "$STATE_DIRECTORY"},
    )
    """The state directory; each worker needs its own. Default: $STATE_DIRECTORY (set by systemd), else the state
    directory of the user. Not set: the user has no home directory; only commands that keep no state then work."""

    @property
    def directory(self) -> Path:
        """The state directory.

        Raises:
            NoStateDirectoryError: there is none.
        """
        if self.dir is None:
            raise NoStateDirectoryError(
                "there is no state directory: HOME is not set, and this user has no home directory; name one with "
                "--state-dir or STATE_DIRECTORY"
            )
        return self.dir


class Log(Section):
    """Logs, which go to stderr."""

    format: Literal["json", "console"] | None = Field(default=None, examples=["json"])
    """The format of the lines. Not set: `console` on a terminal, else `json`."""
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = "info"
    """The lowest level that is logged."""


class Admin(Section):
    """The HTTP endpoints /metrics, /healthz and /readyz, the status page at /, and /submissions."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on. /metrics, /healthz and /readyz ask for no token: everyone on that network can read
    them. If it is a name, requests for that name are answered, too."""
    port: Annotated[int, Field(ge=0, le=65535), INTEGER] | None = Field(default=None, examples=[9090])
    """The port. Not set: the endpoints are off. 0: any free port; the log says which (`admin.serving`)."""
    token_file: File | None = Field(default=None, examples=["/run/secrets/asset-worker/token"])
    """A file of tokens for clients that submit assets over HTTP (`POST /submissions`), and for people who look at the
    status page: one on each line, of at least 16 visible characters, such as the output of `openssl rand -hex 32`. It
    is read again when it changes. Not set: nothing can be submitted over HTTP, and the status page is shown on this
    machine alone."""

    @property
    def accepts_submissions(self) -> bool:
        """Whether assets may be submitted over HTTP."""
        return self.port is not None and self.token_file is not None


class Shutdown(Section):
    """How the worker stops."""

    grace: Seconds = 25
    """Seconds that work in flight may take when the worker is asked to stop. Kubernetes kills a process after 30."""


class Settings(Section):
    """asset-worker's settings."""

    api: Api = Api()
    poll: Poll = Poll()
    limits: Limits = Limits()
    wait_for: Waits = Waits()
    queue: Queue = Queue()
    postgres: Postgres = Postgres()
    fleet: Fleet = Field(default_factory=Fleet)
    account: Account = Account()
    events: Events = Events()
    state: State = Field(default_factory=State)
    log: Log = Log()
    admin: Admin = Admin()
    shutdown: Shutdown = Shutdown()

    @model_validator(mode="after")
    def _database_is_named(self) -> Settings:
        if self.queue.engine == "postgres" and self.postgres.url is None and self.postgres.url_file is None:
            raise ValueError("queue.engine is postgres: set postgres.url or postgres.url_file to the database")
        return self


def known_keys() -> Iterator[str]:
    """Yield the key of every setting, as in `poll.max`."""
    for section, kind in sections():
        yield from (f"{section}.{name}" for name in kind.model_fields)


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yield the name and the type of every section."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        yield name, kind
