"""The credentials of a run: its key, the tokens of its clients, the passwords of its proxy and of its database.

All are redacted.
"""

from __future__ import annotations

import os
from contextlib import suppress

from yarl import URL

from asset_worker.api.key import ApiKey
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.proxy import proxy_of_environment
from asset_worker.runtime.redaction import SHORTEST_KEY, Secrets
from asset_worker.settings import tree
from asset_worker.settings.fleet import Postgres
from asset_worker.telemetry.bearer import BearerTokens


def make_key(api: tree.Api, secrets: Secrets) -> ApiKey:
    """Return the API key, and redact it from now on.

    Raises:
        BadKeyError: there is no usable key.
    """
    if api.key_value is not None:
        secrets.add(api.key_value.strip())  # also if the file takes precedence: it may be a key that works
    return ApiKey(value=api.key_value, file=api.key_file, on_read=secrets.add)


def make_tokens(admin: tree.Admin, secrets: Secrets, clock: Clock) -> BearerTokens | None:
    """Return the tokens of clients that submit over HTTP, and redact them from now on; None: nobody can.

    Raises:
        TokenNotThereError, TokenFileError: the file of tokens can't be used.
    """
    if admin.token_file is None or not admin.accepts_submissions:
        return None
    return BearerTokens(admin.token_file, now=clock.monotonic, on_read=secrets.add)


def redact_proxy_password(api: tree.Api, secrets: Secrets) -> None:
    """Redact the password of the proxy that the environment names, unless it may be an ordinary word.

    Raises:
        BadProxyError: the environment names a proxy that can't be used.
    """
    proxy = proxy_of_environment(URL(api.base_url))
    if proxy is not None and proxy.password is not None and len(proxy.password) >= SHORTEST_KEY:
        secrets.add(proxy.password)


def redact_database_password(postgres: Postgres, secrets: Secrets) -> None:
    """Redact the passwords for the database, unless they may be ordinary words.

    Raises:
        DatabaseError: see `database_url`.
    """
    address = database_url(postgres)
    with suppress(ImportError):  # whoever connects says that there is no driver
        from asset_worker.queue.postgres.address import passwords_in  # noqa: PLC0415 - an optional dependency

        for password in [*passwords_in(address), os.environ.get("PGPASSWORD", "")]:
            if len(password) >= SHORTEST_KEY:
                secrets.add(password)


def database_url(postgres: Postgres) -> str:
    """Return what to connect to.

    Raises:
        DatabaseError: the file of the URL can't be used.
        DatabaseUnavailableError: it is not there yet, or is empty.
    """
    if postgres.url_file is None:
        assert postgres.url is not None, "the settings have one of the two"
        return postgres.url.get_secret_value()
    try:
        url = postgres.url_file.read_text("utf-8").strip()
    except FileNotFoundError:
        raise DatabaseUnavailableError(f"postgres.url_file {postgres.url_file} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError(f"postgres.url_file {postgres.url_file} can't be read: {error}") from error
    if not url:
        raise DatabaseUnavailableError(f"postgres.url_file {postgres.url_file} is empty: put the URL there")
    return url
