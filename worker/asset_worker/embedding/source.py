"""From the arguments of a client, and the environment, to what its engine needs."""

from __future__ import annotations

import os
from contextvars import copy_context
from typing import Final

from asset_worker import policies
from asset_worker.api.key import BadKeyError
from asset_worker.credentials import make_key, redact_proxy_password
from asset_worker.domain.assets import Expectations
from asset_worker.domain.run_plan import RunPlan
from asset_worker.embedding.background import SECRETS, Source
from asset_worker.embedding.errors import BadSettings, KeyMissing
from asset_worker.embedding.terms import Seconds, What, renditions_awaited, seconds_in
from asset_worker.runtime.log import log_to_host
from asset_worker.runtime.proxy import BadProxyError
from asset_worker.settings.loading import SettingsError, load

_ARGUMENTS: Final = {"--api-key": "api_key", "--api-base_url": "base_url", "--state-dir": "state_dir"}
"""The arguments, by the flags that the loader of settings takes them for."""


def source_of(*, api_key: str | None, base_url: str | None, state_dir: str | os.PathLike[str] | None) -> Source:
    """Return whose assets are watched, and how: as the arguments say, else the environment.

    Raises:
        BadSettings: an argument or a variable can't be used.
        KeyMissing: there is no key, or it can't be used.
    """
    # This is the caller's thread: its context must not change, and what is logged on the way must not be printed.
    context = copy_context()
    context.run(log_to_host, SECRETS.redact_text)
    return context.run(_source_of, api_key, base_url, state_dir)


def _source_of(api_key: str | None, base_url: str | None, state_dir: str | os.PathLike[str] | None) -> Source:
    directory = None if state_dir is None else os.fspath(state_dir)
    flags = {"api": {"key": api_key, "base_url": base_url}, "state": {"dir": directory}}
    try:
        settings = load(config=None, environ=os.environ, overrides=flags)
        if api_key is not None:
            api = settings.api.model_copy(update={"key_file": None})  # the variable's file would take precedence
            settings = settings.model_copy(update={"api": api})
        key = make_key(settings.api, SECRETS)
        redact_proxy_password(settings.api, SECRETS)
    except BadKeyError as error:
        is_ours = api_key is not None
        raise KeyMissing(
            str(error).replace("api.key", "api_key", 1) if is_ours else f"{error}; or pass api_key"
        ) from None
    except SettingsError as error:
        raise BadSettings("\n".join(map(_with_argument, error.problems))) from None
    except BadProxyError as error:
        raise BadSettings(str(error)) from None
    return Source(settings, key, None if directory is None else settings.state.directory.absolute())


def _with_argument(problem: str) -> str:
    """Return a problem of the settings with the name of the argument, where it names a flag of the command."""
    for flag, argument in _ARGUMENTS.items():
        if problem.startswith(f"{flag}: "):
            return argument + problem.removeprefix(flag)
    return problem


def defaults_of(
    source: Source, *, timeout: Seconds | None, wait_for: What | None, not_found_grace: Seconds | None
) -> Expectations:
    """Return what a client asks for where a wait says nothing else: its arguments, else the settings.

    Raises:
        ValueError: an argument can't be used.
    """
    usual = policies.expectations(source.settings, RunPlan(keeps_state=False))
    grace = not_found_grace
    return Expectations(
        wait_for={**usual.wait_for, **({} if wait_for is None else renditions_awaited(wait_for))},
        deadline=usual.deadline if timeout is None else seconds_in(timeout, "timeout"),
        not_found_grace=usual.not_found_grace if grace is None else seconds_in(grace, "not_found_grace", zero=True),
    )
