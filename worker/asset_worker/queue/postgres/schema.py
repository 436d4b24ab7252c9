"""The tables of a fleet, and how they are created and changed: by `fleet init`, never by a worker.

Instants that the workers keep are in steady time, which follows the database's clock (`clock.py`), in seconds since the
epoch. Only `workers.alive_until` is compared with the database's clock by the database itself.
"""

from __future__ import annotations

import re
from typing import Final

VERSION: Final = 1
"""The version of the tables that this program needs."""
OLDEST_COMPATIBLE: Final = 1
"""The oldest program that may use these tables knows this version of them."""

SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
"""What a schema may be called: no name needs quotes, and the names of the roles, which begin with it, fit."""

_TABLES = """
CREATE SCHEMA IF NOT EXISTS {s};

CREATE TABLE {s}.schema (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    oldest_compatible integer NOT NULL
);

-- One row for each life of a worker: its id is the owner of rows elsewhere, and the fence of what it writes.
CREATE TABLE {s}.workers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    alive_until timestamptz NOT NULL,
    owned integer NOT NULL DEFAULT 0,
    portion double precision NOT NULL DEFAULT 0,
    leases_lost integer NOT NULL DEFAULT 0,
    facts jsonb NOT NULL DEFAULT '{{}}'
);

-- The groups of changes that a life has committed: a repeat of one whose answer was lost changes nothing.
CREATE TABLE {s}.groups (
    life bigint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (life, number)
);

CREATE TABLE {s}.pending (
    asset_id text COLLATE "C" PRIMARY KEY,
    owner bigint,
    accepted_at double precision NOT NULL,
    completion integer NOT NULL,
    origin text NOT NULL,
    line bigint NOT NULL,
    options text,
    progress text
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX pending_unowned ON {s}.pending (accepted_at) WHERE owner IS NULL;
CREATE INDEX pending_by_owner ON {s}.pending (owner) WHERE owner IS NOT NULL;

CREATE TABLE {s}.settled (
    asset_id text COLLATE "C" PRIMARY KEY,
    completion integer NOT NULL,
    life bigint NOT NULL,
    outcome text NOT NULL,
    accepted_at double precision NOT NULL,
    completed_at double precision NOT NULL,
    event text
);
CREATE INDEX settled_by_time ON {s}.settled (completed_at);

CREATE TABLE {s}.events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    body text NOT NULL
);

-- A row is what a sink is still owed; it is deleted once the sink has the event.
CREATE TABLE {s}.deliveries (
    position bigint NOT NULL,
    sink text NOT NULL,
    owner bigint,
    asset_id text COLLATE "C",
    is_transition boolean NOT NULL DEFAULT false,
    is_new boolean NOT NULL DEFAULT true,
    gives_way boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    first_at double precision,
    next_at double precision,
    error text,
    PRIMARY KEY (position, sink)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX deliveries_new ON {s}.deliveries (owner, sink, position) WHERE is_new;
CREATE INDEX deliveries_due ON {s}.deliveries (owner, sink, gives_way, next_at, position) WHERE NOT is_new;
CREATE INDEX deliveries_by_asset ON {s}.deliveries (sink, asset_id, position) WHERE asset_id IS NOT NULL;
CREATE INDEX deliveries_old ON {s}.deliveries (owner, sink, position) WHERE NOT is_new;

CREATE TABLE {s}.dead_letters (
    sink text NOT NULL,
    id text NOT NULL,
    position bigint NOT NULL,
    asset_id text COLLATE "C",
    body text NOT NULL,
    attempts integer NOT NULL,
    first_at double precision,
    last_at double precision NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (sink, position)
);
CREATE INDEX dead_letters_by_time ON {s}.dead_letters (last_at);

-- What producers submit. A CHECK refuses what could not be an asset's ID; options are read by a worker.
CREATE TABLE {s}.inbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_id text COLLATE "C" NOT NULL CHECK (asset_id ~ '^[A-Za-z0-9_-]{{1,64}}$'),
    options jsonb,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- How far the intakes of each worker have come, by the worker's name, and where its ordered sinks stand.
CREATE TABLE {s}.checkpoints (
    name text NOT NULL,
    file text NOT NULL,
    position bytea NOT NULL,
    life bigint NOT NULL,
    PRIMARY KEY (name, file)
);

-- What is wrong with the independent sinks of each worker.
CREATE TABLE {s}.conditions (
    name text NOT NULL,
    sink text NOT NULL,
    kind text NOT NULL,
    since double precision NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (name, sink)
);

-- Since when events are kept for sinks that no worker has any more.
CREATE TABLE {s}.absences (
    sink text PRIMARY KEY,
    since double precision NOT NULL
);

-- What each life has learned of durations. That of a retired one is merged into another's, once.
CREATE TABLE {s}.learned (
    life bigint PRIMARY KEY,
    evidence bytea NOT NULL
);

-- What is held by one worker at a time, such as following the account.
CREATE TABLE {s}.holders (
    task text PRIMARY KEY,
    life bigint NOT NULL
);

CREATE FUNCTION {s}.submit(asset_id text, options jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ INSERT INTO {s}.inbox (asset_id, options) VALUES ($1, $2) RETURNING number $$;
REVOKE ALL ON FUNCTION {s}.submit(text, jsonb) FROM PUBLIC;

INSERT INTO {s}.schema (version, oldest_compatible) VALUES (1, 1);
"""

_ROLES = """
-- Producers may submit, and nothing else. Workers may change rows, and no table. Grant these to your users.
-- Whoever may not create roles needs no right to it if they are there. Roles belong to all databases of a server.
DO $$ BEGIN
    IF to_regrole('{s}_producer') IS NULL THEN CREATE ROLE {s}_producer NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN
    IF to_regrole('{s}_worker') IS NULL THEN CREATE ROLE {s}_worker NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT USAGE ON SCHEMA {s} TO {s}_producer, {s}_worker;
GRANT EXECUTE ON FUNCTION {s}.submit(text, jsonb) TO {s}_producer, {s}_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {s} TO {s}_worker;
REVOKE INSERT, UPDATE, DELETE ON {s}.schema FROM {s}_worker;
"""

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('asset-worker fleet init'))"
"""The statement that lets one transaction at a time create or change tables."""

MIGRATIONS: Final = (_TABLES,)
"""What leads from each version to the next; the first creates the tables."""


def checked_schema(name: str) -> str:
    """Return the name of a schema.

    Raises:
        ValueError: it needs quotes, or is too long.
    """
    if SCHEMA_NAME.fullmatch(name) is None:
        raise ValueError("a schema's name has up to 48 lower-case letters, digits and underscores")
    return name


def script(schema: str, version: int = 0) -> str:
    """Return the SQL that leads from `version` (0: there are no tables) to the present one, and grants the roles.

    Raises:
        ValueError: the schema's name can't be used.
    """
    name = checked_schema(schema)
    return "".join(each.format(s=name) for each in (*MIGRATIONS[version:], _ROLES)).lstrip()
