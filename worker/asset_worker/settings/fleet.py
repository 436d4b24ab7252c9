"""The settings of a fleet: several workers that share one queue in PostgreSQL."""

from __future__ import annotations

import platform
import re
import warnings
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from asset_worker.settings.types import NUMBER, File, PositiveSeconds, Section

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
SHORTEST_LEASE: Final = 1.0


def _schema(value: str) -> str:
    if _SCHEMA.fullmatch(value) is None:
        raise ValueError("it has up to 48 small letters, digits and underscores, and begins with no digit")
    return value


def _lease(value: float) -> float:
    if value < SHORTEST_LEASE:
        raise ValueError("it must be at least a second: it is extended three times in that time")
    return value


def _name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it must have no control characters: people read it on their terminals")
    return value


class Postgres(Section):
    """The database of a fleet. It needs the extra `postgres`, and `queue.engine = "postgres"`."""

    url: SecretStr | None = Field(
        default=None, examples=["postgresql://worker@db1,db2/assets?target_session_attrs=read-write"]
    )
    """What to connect to: a URL or a string of keywords, as libpq reads them; several hosts may be named. A password is
    safer in a file (postgres.url_file, or libpq's own PGPASSFILE) than here."""
    url_file: File | None = Field(default=None, examples=["/run/secrets/asset-worker/database"])
    """A file that holds the URL. It is read at each start, and takes precedence over postgres.url."""


with warnings.catch_warnings():
    # pydantic has a deprecated method of this name, which nothing here calls.
    warnings.filterwarnings("ignore", 'Field name "schema"', UserWarning)

    class Fleet(Section):
        """This worker's place among those that share a queue in PostgreSQL."""

        schema: Annotated[str, AfterValidator(_schema)] = "asset_worker"  # type: ignore[assignment]
        """The schema with the fleet's tables. `asset-worker fleet init` creates them. One fleet serves one API key."""
        name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)] = Field(
            default_factory=platform.node, examples=["worker-1"], json_schema_extra={"default": "the host's name"}
        )
        """The worker's name in the fleet, the same after a restart. No two workers may have the same name."""
        lease: Annotated[PositiveSeconds, AfterValidator(_lease), NUMBER] = 10
        """Seconds for which a worker owns its assets without being heard of. After that, the others take them over."""
