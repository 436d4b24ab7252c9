"""One typed tree of settings: a TOML file, then the environment, then flags; the later wins.

Each setting's meaning, its unit and the reason of its default stand here, and come from here into `config/schema.json`.
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
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from asset_worker.domain.assets import WaitFor
from asset_worker.runtime.hosts import is_loopback
from asset_worker.runtime.paths import is_same_file, path_of
from asset_worker.sinks.registry import checked_target


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


def _targets(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _path(value: Any) -> Any:
    return path_of(value) if isinstance(value, (str, Path)) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    for one, other in combinations(value, 2):
        if one == other:
            raise ValueError("the same target stands there twice")
        if "-" not in {one, other} and is_same_file(one, other):
            raise ValueError(f"{one!r} and {other!r} are one file, which would get each event twice: leave one out")
    return value


class Text(str):
    """A value from the environment: a text that may stand for a number or a switch. A file has types of its own."""

    __slots__ = ()


def _typed(*types: type, words: str) -> BeforeValidator:
    """Takes a text only from where there is nothing else, and a boolean, which Python counts as a number, for none."""

    def check(value: Any) -> Any:
        if not isinstance(value, (Text, *types)) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"it must be {words}")
        return value

    return BeforeValidator(check)


Number = Annotated[float, _typed(int, float, words="a number"), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Integer = Annotated[int, _typed(int, words="a whole number")]
Boolean = Annotated[bool, _typed(bool, words="true or false")]
Port = Annotated[Integer, Field(ge=0, le=65535)]
File = Annotated[Path, BeforeValidator(_path)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class Api(Section):
    """The assets API."""

    base_url: Annotated[str, AfterValidator(_base_url)] = "https://api.twelvelabs.io/v1.3"
    """Where the API is. https, unless the host is this machine: plain http would show the key."""
    key: SecretStr | None = None
    """The API key. Better in the environment (TWELVE_LABS_API_KEY) or in a file (api.key_file) than here."""
    key_file: File | None = None
    """A file that holds the key; it is read again when it changes, and outweighs api.key."""
    timeout: Positive = 10
    """Seconds for one request, its answer included. The API answers in well under one."""

    @property
    def key_value(self) -> str | None:
        """The key itself."""
        return None if self.key is None else self.key.get_secret_value()


class Poll(Section):
    """When to look, and for how long."""

    strategy: Literal["adaptive", "exponential", "fixed"] = "adaptive"
    """How the delay between two looks is chosen: learned from how long assets take, growing, or always the same."""
    initial: Positive = 2
    """Seconds from the first look to the second. The first look comes at once."""
    multiplier: Annotated[Number, Field(ge=1)] = 1.5
    """How much longer each delay is than the one before. Assets take seconds to minutes, and 1.5 keeps the delay at
    about a third of the age."""
    max: Positive = 30
    """Seconds: the longest delay, so that even a long video is known to be done soon after it is. Where requests are
    scarcer than looks, `adaptive` stretches it, to an hour at most."""
    deadline: Positive = 14400
    """Seconds from acceptance to `timed_out`. Four hours: far longer than any asset takes that will be done."""
    rendition_deadline: Positive = 3600
    """Seconds from `ready` seen to `degraded`, for renditions that don't end."""
    not_found_grace: NotNegative = 60
    """Seconds from acceptance in which a 404 is no outcome yet: uploads race ahead of reads."""
    looks: Annotated[Number, Field(gt=1)] | None = None
    """For `adaptive`: how many looks an asset may cost on average. More looks, less lag. Not set: as many as
    `exponential` would take, spent where they tell most."""
    batch: Literal["auto", "off"] = "auto"
    """`auto`: assets that are due together share list requests (50 for the price of one); `off`: single retrieves."""

    @model_validator(mode="after")
    def _max_is_the_longest(self) -> Poll:
        if self.strategy != "fixed" and self.max < self.initial:
            raise ValueError(f"poll.max ({self.max:g}) is less than poll.initial ({self.initial:g}): make it as long")
        return self


class Limits(Section):
    """How many requests at the most. What the server tells is obeyed besides."""

    requests_per_second: NotNegative = 10
    """Requests in a second; 0: no rate of our own."""
    concurrency: Annotated[Integer, Field(ge=1, le=1000)] = 20
    """Requests in flight at once."""
    share: Annotated[Number, Field(gt=0, le=1)] = 0.8
    """The share of a quota told by the server that is used; the rest is left to the organisation's other callers."""


class Waits(Section):
    """Which renditions are awaited: `if_requested` (when the API shows them), `required`, or `ignore`."""

    hls: WaitFor = WaitFor.IF_REQUESTED
    """The HLS stream."""
    thumbnail: WaitFor = WaitFor.IF_REQUESTED
    """The thumbnail."""


class Queue(Section):
    """Where assets come from."""

    file: File | None = None
    """Follow this file: one asset a line."""
    stdin: Boolean = False
    """Read assets from stdin, one a line."""
    dedupe_window: NotNegative = 86400
    """Seconds after its completion in which an asset submitted again is a repeat."""
    max_pending: Annotated[Integer, Field(ge=1)] = 1_000_000
    """Pending assets at which intake waits. A million take about half a gigabyte."""


class Events(Section):
    """Where completion events go."""

    sinks: Annotated[
        tuple[Annotated[str, AfterValidator(checked_target)], ...],
        BeforeValidator(_targets),
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = ("-",)
    """Each a file, or - for stdout."""


def _state_dir() -> Path:
    return Path(platformdirs.user_state_dir("asset-worker", appauthor=False))


class State(Section):
    """What must survive."""

    dir: File = Field(default_factory=_state_dir, json_schema_extra={"default": "$STATE_DIRECTORY"})
    """One worker to a directory. Default: $STATE_DIRECTORY (systemd sets it), else the user's state directory."""


class Log(Section):
    """Logs go to stderr."""

    format: Literal["json", "console"] | None = None
    """Default: json, unless stderr is a terminal."""
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """The least level that is logged."""


class Admin(Section):
    """/metrics, /healthz and /readyz."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on. The endpoints have no password: open them to a network that may read them."""
    port: Port | None = None
    """The port; not set: off. 0: any free port."""


class Shutdown(Section):
    """The end."""

    grace: NotNegative = 25
    """Seconds for what is in flight when a stop is asked for. Kubernetes kills after 30."""


class Settings(Section):
    """asset-worker's settings."""

    api: Api = Api()
    poll: Poll = Poll()
    limits: Limits = Limits()
    wait_for: Waits = Waits()
    queue: Queue = Queue()
    events: Events = Events()
    state: State = Field(default_factory=State)
    log: Log = Log()
    admin: Admin = Admin()
    shutdown: Shutdown = Shutdown()


def known_keys() -> Iterator[str]:
    """The path of every setting."""
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        yield from (f"{section}.{name}" for name in kind.model_fields)
