"""What a webhook's settings are worth: which URLs, names and headers can be used, and the name it has by default."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from asset_worker.runtime.hosts import is_loopback

if TYPE_CHECKING:
    from yarl import URL

Mode = Literal["structured", "binary"]
"""The content mode of the CloudEvents HTTP binding: the event as the body, or its attributes as headers."""

LONGEST_NAME: Final = 200
LONGEST_PATH: Final = 100
"""Characters of a path that a default name shows. The hash after it stands for the whole URL."""
HASH_DIGITS: Final = 8
OUR_HEADERS: Final = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
OUR_PREFIXES: Final = ("ce-", "webhook-")
"""The headers that the sink sets itself."""
FRAMING_HEADERS: Final = frozenset({"content-encoding", "expect", "keep-alive", "te", "trailer", "upgrade"})
"""Headers that say how a message is sent (RFC 9110, sections 7.6, 8.4 and 10.1): it would not be sent that way."""
_VISIBLE: Final = re.compile(r"[!-~]+")
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""The name of a header field (RFC 9110, section 5.6.2)."""
_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header value may hold (RFC 9110, section 5.5)."""


class WebhookTarget(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A webhook as its sink needs it, all defaults applied."""

    url: str
    name: str
    secret_file: Path | None = None
    """The file of the secrets that sign; None: requests are not signed."""
    outcomes: frozenset[str] | None = None
    """The last words of the types that are sent; None: all."""
    headers: Mapping[str, str | Path] = {}
    """More headers: a value, or the file that holds it."""
    timeout: float
    """Seconds of one request, the answer included."""
    concurrency: int
    mode: Mode
    retry: tuple[float, ...]
    allow_private: bool = False
    """Whether addresses may be connected to that are not public."""

    def __repr__(self) -> str:
        """Return the name alone: a URL or a header may hold a secret."""
        return f"WebhookTarget({self.name!r})"


def checked_url(text: str) -> str:
    """Return the URL of a webhook without blanks around it. `check_transport` decides whether plain http is allowed.

    Raises:
        ValueError: it can't be used; the message says what to do, and shows nothing of the URL but its host.
    """
    written = text.strip()
    if not _VISIBLE.fullmatch(written) or "\\" in written:
        raise ValueError(
            "write the URL as https://HOST/PATH in ASCII, without blanks or backslashes (%20 stands for a blank)"
        )
    try:
        url = parsed(written)
    except ValueError:
        raise ValueError("write the URL as https://HOST/PATH or https://HOST:PORT/PATH") from None
    host = url.raw_host or ""
    if url.scheme not in {"http", "https"} or not host:
        raise ValueError("write the URL as https://HOST/PATH")
    _check_host(host)
    if url.explicit_port == 0:
        raise ValueError("there is no port 0: leave it out, or name another one")
    if "#" in written:
        raise ValueError("leave out the part from # on: it is never sent")
    return written


def check_transport(url: str, *, allow_private: bool) -> None:
    """Check that requests to a checked URL are encrypted, unless they need not be.

    Raises:
        ValueError: they would not be; the message says what to do.
    """
    found = parsed(url)
    if found.scheme == "http" and not is_for_this_machine(url) and not allow_private:
        raise ValueError(
            "plain http would show the events to the network: use https, or set allow_private = true in the table of "
            f"this sink if {found.raw_host} is in a network that you trust"
        )


def _check_host(host: str) -> None:
    """Check that a host is a name, or an address in its usual form.

    The system takes `0x7f.1` and `127.1` for addresses, too. The text of a URL should show where it leads.
    """
    if ":" in host:
        if "%" in host:
            raise ValueError("the address names a network interface (%), which no other machine knows: leave that out")
        ip_address(host)
        return
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither a name nor an address: check the URL")
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        try:
            IPv4Address(host)
        except ValueError:
            raise ValueError("the host is a number: write an address as four numbers, as in 192.0.2.1") from None


def parsed(url: str) -> URL:
    """Return a URL as the HTTP client reads it.

    Raises:
        ValueError: it is not a URL.
    """
    from yarl import URL  # noqa: PLC0415 - settings without a webhook need not load it

    return URL(url)


def is_for_this_machine(url: str) -> bool:
    """Return whether the URL names this machine, so that requests need no signature."""
    return is_loopback(parsed(url).raw_host or "")


def has_user(url: str) -> bool:
    """Return whether a URL has user-info, which is sent as Basic authentication."""
    found = parsed(url)
    return bool(found.raw_user or found.raw_password)


def credentials_of(url: str) -> str | None:
    """Return the user-info of a URL as Basic authentication sends it, in UTF-8 (RFC 7617); None: there is none."""
    found = parsed(url)
    return b64encode(f"{found.user or ''}:{found.password or ''}".encode()).decode() if has_user(url) else None


def has_secret(url: str) -> bool:
    """Return whether a URL has a part that may be a secret: user-info or a query."""
    return has_user(url) or bool(parsed(url).raw_query_string)


def default_name(url: str) -> str:
    """Return scheme, host, port and path of a URL, and the beginning of a hash of all of it.

    User-info and query are not shown. Two URLs that differ in them alone have different names.
    """
    found = parsed(url)
    host = found.raw_host or ""
    shown = f"[{host}]" if ":" in host else host
    port = "" if found.explicit_port is None else f":{found.explicit_port}"
    digest = sha256(url.encode()).hexdigest()[:HASH_DIGITS]
    return f"{found.scheme}://{shown}{port}{found.raw_path[:LONGEST_PATH]}#{digest}"


def masked(url: str, mask: str) -> str:
    """Return a URL for people, with user-info and query replaced by `mask`."""
    found = parsed(url)
    user = f"{mask}@" if found.raw_user or found.raw_password else ""
    query = f"?{mask}" if found.raw_query_string else ""
    host = found.host_subcomponent or ""
    port = "" if found.explicit_port is None else f":{found.explicit_port}"
    return f"{found.scheme}://{user}{host}{port}{found.raw_path}{query}"


def checked_name(name: str) -> str:
    """Return the name of a sink.

    Raises:
        ValueError: it can't be used; the message says why.
    """
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} printable characters, without blanks around them")
    if name in {"-", "stdout"} or name.startswith("file:"):
        raise ValueError("- and stdout are names of standard output, and file:… of files: choose another name")
    if "://" in name and ("@" in name or "?" in name):
        raise ValueError("the name is in every log line: leave user and query out of it")
    return name


def checked_headers(names: list[str]) -> None:
    """Check the names of the headers of one webhook.

    Raises:
        ValueError: one can't be used; the message says which, and why.
    """
    seen: set[str] = set()
    for name in names:
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header: it has letters, digits and - alone")
        if lower in OUR_HEADERS or lower.startswith(OUR_PREFIXES):
            raise ValueError(f"the header {name} is set by the worker itself: leave it out")
        if lower in FRAMING_HEADERS:
            raise ValueError(f"the header {name} says how a request is sent, and it is not sent that way: leave it out")
        if lower in seen:
            raise ValueError(f"the header {name} is named twice: leave one out")
        seen.add(lower)


def checked_header_value(value: str) -> str:
    """Return the value of a header without blanks around it.

    Raises:
        ValueError: it holds characters that no header may; the message does not show it.
    """
    text = value.strip()
    if not text:
        raise ValueError("the value of the header is empty: give one, or leave the header out")
    if _UNFIT.search(text):
        raise ValueError("the value of the header holds a line break or a control character: leave it out")
    if not text.isascii():
        raise ValueError("the value of the header is not ASCII: encode it")
    return text
