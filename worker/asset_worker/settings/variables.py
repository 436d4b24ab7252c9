"""The names of settings in the environment, and what a misspelt name was meant to be: pure functions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

ENV_PREFIX: Final = "ASSET_WORKER_"
KEY_VARIABLE: Final = "TWELVE_LABS_API_KEY"
VENDOR_VARIABLES: Final = {KEY_VARIABLE: "api.key", "TWELVELABS_BASE_URL": "api.base_url"}
"""The names that the vendor's SDK uses. Our own variables take precedence over them."""
_SERVICE_LINK: Final = re.compile(
    r"(?!\w*__)ASSET_WORKER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_[A-Z]+(_PROTO|_PORT|_ADDR)?)"
)
_SERVICE_URL: Final = re.compile(r"(?!\w*__)ASSET_?WORKER_(\w+_)?PORT")
"""Kubernetes sets these variables in all pods of a namespace for each Service named asset-worker or asset-worker-…
They are ignored. Variables for settings have two underscores in a row. A `…_PORT` of Kubernetes holds a URL, which a
misspelt `admin.port` does not."""
_MARKS: Final = re.compile(r"[-_.]")


def variable_of(key: str) -> str:
    """Return the variable of a setting: `ASSET_WORKER_POLL__MAX` for `poll.max`."""
    return ENV_PREFIX + key.replace(".", "__").upper()


def key_of(name: str, text: str) -> str | None:
    """Return the key that a variable sets, perhaps an unknown one; None: it is not meant for the settings.

    `text` is its value.
    """
    if not name.upper().startswith(ENV_PREFIX) or _is_service_link(name, text):
        return None
    return name[len(ENV_PREFIX) :].lower().replace("__", ".")


def nearest_key(key: str, known: Collection[str]) -> str | None:
    """Return the known key that an unknown one was probably meant to be; None: none is near."""
    if found := difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return found[0]
    # Perhaps the right name in the wrong section.
    names = [each.split(".")[1] for each in known]
    found = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1, cutoff=0.8)
    return next((each for each in sorted(known) if found and each.endswith(f".{found[0]}")), None)


def misnamed_variables(environ: Mapping[str, str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that has the letters of one that is read, but not its marks, with the one that is read.

    Such as `ASSETWORKER_POLL_MAX` or `TWELVE_LABS_BASE_URL`: nobody else would call a variable so. That of the API key
    is left out: another program's may be set beside a key file (`misnamed_key`).
    """
    meant = {_letters(name): name for name in [*map(variable_of, known), *VENDOR_VARIABLES]}
    for name, text in environ.items():
        found = meant.get(_letters(name))
        if found in {None, name, KEY_VARIABLE} or not text.strip() or name.upper().startswith(ENV_PREFIX):
            continue
        if not _is_service_link(name, text):
            assert found is not None
            yield name, found


def misnamed_key(environ: Mapping[str, str]) -> str | None:
    """Return the variable that holds the API key under another name than `TWELVE_LABS_API_KEY`; None: there is none."""
    for name, text in environ.items():
        if name != KEY_VARIABLE and _letters(name) == _letters(KEY_VARIABLE) and text.strip():
            return name
    return None


def _is_service_link(name: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (_SERVICE_URL.fullmatch(name) and "://" in text))


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in small letters."""
    return _MARKS.sub("", name).lower()
