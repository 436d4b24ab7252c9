"""The proxy for a URL, as the environment names it."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL

from asset_worker.runtime.hosts import is_loopback


class BadProxyError(Exception):
    """The environment names a proxy that can't be used. The message says what to do."""


def proxy_of_environment(url: URL) -> URL | None:
    """Return the proxy for a URL, with its password: that of `HTTPS_PROXY`, unless `NO_PROXY` excludes the host.

    None: there is no proxy; a blank variable names none. Plain http, which is only used on this machine, has none: a
    proxy would see what it carries.

    Raises:
        BadProxyError: `HTTPS_PROXY` is not a URL, or names another kind of proxy.
    """
    host = url.host or ""
    named = getproxies().get("https", "").strip()
    if not named or url.scheme != "https" or is_loopback(host) or proxy_bypass(host):
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError as error:
        raise BadProxyError("HTTPS_PROXY is not a URL: it should be like http://proxy.example:3128") from error
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise BadProxyError(
            f"HTTPS_PROXY names a proxy of the kind {proxy.scheme!r}, which can't be used: "
            f"give an http:// one, or have NO_PROXY except {host} from it"
        )
    return proxy
